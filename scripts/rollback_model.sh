#!/usr/bin/env bash
# Roll a circuit back through the app, which records who did it and why.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/fleet_api.sh
source "$here/fleet_api.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/rollback_model.sh CIRCUIT --reason TEXT [--version N] [--wait SECONDS] [--dry-run]
       scripts/rollback_model.sh CIRCUIT --break-glass REASON [--record FOLDER] [--dry-run]

Puts the circuit (P001_C001) back on the last pair of model and environment that proved itself there, or on model
version N. No hold, freeze or stop keeps it; a hold that names what was rolled back follows.

  --reason TEXT    why; kept in the history, shown with the next approval
  --version N      the model version to go back to (default: the last verified pair)
  --wait SECONDS   wait until the rollback has ended; fails when it takes longer or ends errored
  --dry-run        show what serves and what could be gone back to, and order nothing
  --break-glass REASON  AzureML directly, when the app cannot be had: back to the pair that the deployment's own tags
                   record as the one before; reported to the app, or recorded for it
  --record FOLDER  where a report is kept that the app did not take (default: .local/break_glass)
  --help           this text

FLEET_URL    where the app is (default: http://127.0.0.1:7071)
FLEET_TOKEN  your access token; without it, Azure CLI is asked for one for TOKEN_AUDIENCE, or whom the app names

Prints one JSON object. Exit code: 0 ordered (or ended well, with --wait), 1 not possible, 2 wrong use, 3 done
past the app, and still to be reported.
TEXT
}

circuit="" version=""
while (($#)); do
    case "$1" in
        --reason) require_value $# "$1"; reason=$2; shift 2 ;;
        --version) require_value $# "$1"; version=$2; shift 2 ;;
        -*) shared_option "$@"; shift "$taken" ;;
        *)
            [[ -z $circuit ]] || wrong "one circuit at a time: $circuit, $1"
            circuit=$1
            shift
            ;;
    esac
done
[[ $circuit =~ ^$CIRCUIT_PATTERN$ ]] || wrong "CIRCUIT is '$circuit', not like P001_C001"
[[ -z $version || $version =~ ^[1-9][0-9]{0,8}$ ]] || wrong "--version is '$version', not a model version"
$dry_run || [[ ${#reason} -ge 3 ]] || wrong "--reason is missing or too short"

if $glass; then
    [[ -z $version ]] || wrong "--version belongs to the app; past it, name a pair with scripts/deploy_batch_endpoint.sh"
    past_the_app roll-back "$circuit"
fi
sign_in
if $dry_run; then
    call GET "circuits/$circuit" | jq '{circuit: .id, serving, desired, production_owner,
        possible: [.proved[].pair as $pair | select($pair != (.desired // .serving)) | $pair], condemned,
        dry_run: true}'
    exit
fi

body=$(jq --null-input --arg reason "$reason" --arg version "$version" \
    '{reason: $reason} + if $version == "" then {} else {version: ($version | tonumber)} end')
ordered=$(call POST "circuits/$circuit/rollback" "$body")
rollback=$(jq --raw-output 'first(.recorded[] | select(.item | contains("!rollback.")) | .item)' <<<"$ordered")
until_time=$((SECONDS + wait_seconds))
while true; do
    shown=$(call GET "circuits/$circuit/orders" | jq --arg id "$rollback" '.orders[] | select(.id == $id)
        | {circuit, rollback: .id, phase, from: .bad, to: .target, by, reason, ended: (.phase != "rolling back")}')
    if ((wait_seconds == 0)) || [[ $(jq .ended <<<"$shown") == true ]]; then
        break
    fi
    if ((SECONDS >= until_time)); then
        echo "$shown"
        echo "$rollback has not ended within $wait_seconds seconds; it goes on" >&2
        exit 1
    fi
    sleep 1
done
echo "$shown"
[[ $(jq --raw-output .phase <<<"$shown") != errored ]]
