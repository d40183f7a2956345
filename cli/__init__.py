"""The command line `fleet`: what the API offers, in tables for people and JSON for programs."""
