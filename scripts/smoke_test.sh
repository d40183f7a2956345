#!/usr/bin/env bash
# Is the app well after a deployment: does it answer, know its fleet, and find production as it recorded it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/fleet_api.sh
source "$here/fleet_api.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/smoke_test.sh [--wait SECONDS]

Asks the app for its health until it is ready, then for what must answer after a deployment: circuits, the fleet's
standstill, yesterday's and today's forecasts, dead letters.

  --wait SECONDS  how long the app may take to be ready (default: 120)
  --help          this text

FLEET_URL    where the app is (default: http://127.0.0.1:7071)
FLEET_TOKEN  your access token; without it, Azure CLI is asked for one for TOKEN_AUDIENCE, or whom the app names

Prints one JSON object. Exit code: 0 well, 1 not, 2 wrong use.
TEXT
}

wait_seconds=120
while (($#)); do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --wait) require_value $# "$1"; wait_seconds=$2; shift 2 ;;
        *) wrong "unknown option $1" ;;
    esac
done
[[ $wait_seconds =~ ^[0-9]{1,5}$ ]] || wrong "--wait is '$wait_seconds', not a number of seconds"
sign_in

until_time=$((SECONDS + wait_seconds))
until health=$(curl --silent --show-error --fail --max-time 30 "$FLEET_URL/api/health" 2>/dev/null); do
    if ((SECONDS >= until_time)); then
        echo "$FLEET_URL is not ready after $wait_seconds seconds: its log names settings that are missing" >&2
        exit 1
    fi
    sleep 2
done
circuits=$(call GET "circuits?size=1")
fleet=$(call GET fleet)
today=$(date --utc +%F)
days=$(call GET "ledger/days?from=$(date --utc --date yesterday +%F)&to=$today")
letters=$(call GET "dead-letters?size=1")
jq --null-input --argjson health "$health" --argjson circuits "$circuits" --argjson fleet "$fleet" \
    --argjson days "$days" --argjson letters "$letters" '{health: $health.status, knows_circuits: ($circuits.circuits | length > 0),
    standstill: $fleet.standstill, days: $days.days, newest_dead_letter: ($letters.dead_letters[0] // null)}'
