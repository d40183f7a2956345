"""The embedded runtime: everything Azure gives the app, on one machine. Never imported by the deployed Function App."""
