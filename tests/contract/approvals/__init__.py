"""Both approval channels: what they promise in common, and what only Azure DevOps can do wrong."""
