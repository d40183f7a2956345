#!/usr/bin/env bash
# The storage emulator needs Node 20 or newer; say what is missing and what to do.
set -euo pipefail

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "Node.js 20 or newer with npm is needed for the storage emulator (Azurite). Install it, then try again." >&2
    exit 1
fi
version=$(node --version)
major=${version#v}
major=${major%%.*}
if [ "$major" -lt 20 ]; then
    echo "Node.js 20 or newer is needed for the storage emulator (Azurite). Found: ${version}." >&2
    exit 1
fi
