"""What the workers' fork server imports once for all of them."""

from __future__ import annotations

import gc

import local.platform.work

# Collections in a worker would otherwise write to, and so copy, every page shared with the fork server.
gc.collect()
gc.freeze()

__all__ = ["local"]
