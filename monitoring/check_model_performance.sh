#!/usr/bin/env bash
# Hold published forecasts against what came, now, and say what was found.
set -euo pipefail
# shellcheck source=monitoring/check.sh
source "$(dirname "${BASH_SOURCE[0]}")/check.sh"
check performance check_model_performance.sh \
    "Holds the published forecasts of a period against what was measured: by each circuit's limits, and by its model's own
backtest." "warnings or critical errors" "$@"
