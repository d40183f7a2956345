#!/usr/bin/env bash
# Roll a circuit back through the app, which records who did it and why.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/rollback_model.sh CIRCUIT --reason TEXT [--version N] [--wait SECONDS] [--dry-run]

Puts the circuit (P001_C001) back on the last pair of model and environment that proved itself there, or on model
version N. No hold, freeze or stop keeps it; a hold that names what was rolled back follows.

  --reason TEXT    why; kept in the history, shown with the next approval
  --version N      the model version to go back to (default: the last verified pair)
  --wait SECONDS   wait until the rollback has ended; fails when it takes longer or ends errored
  --dry-run        show what serves and what could be gone back to, and order nothing
  --help           this text

FLEET_URL    where the app is (default: http://127.0.0.1:7071)
FLEET_TOKEN  your access token; without it, Azure CLI is asked for one for TOKEN_AUDIENCE

Prints one JSON object. Exit code: 0 ordered (or ended well, with --wait), 1 not possible, 2 wrong use.
TEXT
}

wrong() {
    echo "$1; see --help" >&2
    exit 2
}

circuit="" reason="" version="" wait_seconds=0 dry_run=false
while (($#)); do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --dry-run) dry_run=true; shift ;;
        --reason | --version | --wait)
            (($# > 1)) || wrong "$1 needs a value"
            case "$1" in
                --reason) reason=$2 ;;
                --version) version=$2 ;;
                --wait) wait_seconds=$2 ;;
            esac
            shift 2
            ;;
        -*) wrong "unknown option $1" ;;
        *)
            [[ -z $circuit ]] || wrong "one circuit at a time: $circuit, $1"
            circuit=$1
            shift
            ;;
    esac
done
[[ $circuit =~ ^[A-Za-z][A-Za-z0-9]{0,6}_[A-Za-z][A-Za-z0-9]{0,12}$ ]] || wrong "CIRCUIT is '$circuit', not like P001_C001"
[[ -z $version || $version =~ ^[1-9][0-9]{0,8}$ ]] || wrong "--version is '$version', not a model version"
[[ $wait_seconds =~ ^[0-9]{1,5}$ ]] || wrong "--wait is '$wait_seconds', not a number of seconds"
$dry_run || [[ ${#reason} -ge 3 ]] || wrong "--reason is missing or too short"
for tool in curl jq; do
    command -v "$tool" >/dev/null || wrong "this needs $tool"
done

token=${FLEET_TOKEN:-}
if [[ -z $token && -n ${TOKEN_AUDIENCE:-} ]] && command -v az >/dev/null; then
    token=$(az account get-access-token --resource "$TOKEN_AUDIENCE" --query accessToken --output tsv)
fi
[[ -n $token ]] || wrong "set FLEET_TOKEN, or sign in with Azure CLI and set TOKEN_AUDIENCE"

# The token goes in by standard input: arguments can be read by everybody on the machine.
call() { # METHOD PATH [BODY] -> the answer's body; fails with the problem's text
    local answer status
    answer=$(printf 'header = "Authorization: Bearer %s"\n' "$token" | curl --silent --show-error --config - \
        --request "$1" ${3:+--header "Content-Type: application/json" --data "$3"} --max-time 60 \
        --write-out '\n%{http_code}' "${FLEET_URL:-http://127.0.0.1:7071}/api/$2")
    status=${answer##*$'\n'}
    if ((status >= 400)); then
        jq --raw-output '.detail // .' <<<"${answer%$'\n'*}" >&2 || echo "the app answered $status" >&2
        return 1
    fi
    echo "${answer%$'\n'*}"
}

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
