"""Measurements, for `make bench`. Nothing here is collected as a test: tests are never timed."""
