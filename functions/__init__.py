"""Triggers: each parses what comes in, hands it to the application and answers. No decision is made here."""
