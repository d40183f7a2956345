"""Proposals: what a degraded circuit is to get. People accept or decline; by policy some need nobody."""
