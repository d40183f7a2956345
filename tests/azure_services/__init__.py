"""Azure's services on this machine, for what is to be proven against the real clients without a subscription."""
