#!/usr/bin/env bash
# Hold the newest readings against those that the models learned from, now, and say what was found.
set -euo pipefail
# shellcheck source=monitoring/check.sh
source "$(dirname "${BASH_SOURCE[0]}")/check.sh"
check drift check_data_drift.sh \
    "Holds the readings of a window, which ends with the period, against those that each circuit's model learned from. Asked
for by hand, it decides as the schedule does." "drift" "$@"
