"""Reference pages written from the code itself, so that they cannot say anything else than the code does."""
