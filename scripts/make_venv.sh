#!/usr/bin/env bash
# Make the virtual environment with a Python that the packages are pinned for, or say which one is missing.
# Usage: make_venv.sh FOLDER   (PYTHON_BIN names a Python to use)
set -euo pipefail

folder=$1
uv_pin=$(grep -E '^uv==' requirements-dev.txt | tr -d ' \\')

supported() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null
}

if [ -n "${PYTHON_BIN:-}" ]; then
    candidates=("$PYTHON_BIN")
else
    candidates=(python3.12 python3.11 python3 python)
fi

chosen=""
for candidate in "${candidates[@]}"; do
    if command -v "$candidate" >/dev/null && supported "$candidate"; then
        chosen=$candidate
        break
    fi
done

if [ -z "$chosen" ]; then
    found=$( (command -v python3 >/dev/null && python3 --version) || echo "no python3")
    echo "Python 3.11 or 3.12 is needed: the packages are pinned for these. Found: ${found}." >&2
    echo "Install one of them, or name one: make setup PYTHON_BIN=/path/to/python3.12" >&2
    exit 1
fi

if ! "$chosen" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$("$chosen" --version) cannot make virtual environments: install its venv package (Debian: python3-venv)." >&2
    exit 1
fi

echo "Making $folder with $("$chosen" --version) ..."
"$chosen" -m venv --clear "$folder"
"$folder/bin/python" -m pip install -q --disable-pip-version-check "$uv_pin"
