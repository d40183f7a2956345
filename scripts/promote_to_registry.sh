#!/usr/bin/env bash
# Take a model version into the registry: by approving its gate as yourself, or past the app when there is no other way.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/fleet_api.sh
source "$here/fleet_api.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/promote_to_registry.sh RELEASE --digest DIGEST [--comment TEXT] [--wait SECONDS]
       scripts/promote_to_registry.sh RELEASE --dry-run
       scripts/promote_to_registry.sh RELEASE --break-glass REASON [--record FOLDER] [--dry-run]

RELEASE is a circuit with a model version (P001_C001:3). Its registry gate is approved as you, and the app copies the
model. A release that is further already is left as it is.

  --dry-run             show the evidence and its digest, and approve nothing
  --digest DIGEST       the digest of the evidence that you looked at; if it has changed since, nothing is approved
  --comment TEXT        kept with your answer
  --wait SECONDS        wait until the model is in the registry
  --break-glass REASON  AzureML directly, when the app cannot be had; reported to the app, or recorded for it
  --record FOLDER       where a report is kept that the app did not take (default: .local/break_glass)
  --help                this text

FLEET_URL    where the app is (default: http://127.0.0.1:7071)
FLEET_TOKEN  your access token; without it, Azure CLI is asked for one for TOKEN_AUDIENCE, or whom the app names

Prints one JSON object. Exit code: 0 approved (or in the registry, with --wait), 1 not possible, 2 wrong use, 3 done past
the app, and still to be reported.
TEXT
}

release="" digest="" comment=""
while (($#)); do
    case "$1" in
        --digest) require_value $# "$1"; digest=$2; shift 2 ;;
        --comment) require_value $# "$1"; comment=$2; shift 2 ;;
        -*) shared_option "$@"; shift "$taken" ;;
        *)
            [[ -z $release ]] || wrong "one release at a time: $release, $1"
            release=$1
            shift
            ;;
    esac
done
[[ $release =~ ^$CIRCUIT_PATTERN:[1-9][0-9]{0,8}$ ]] || wrong "RELEASE is '$release', not like P001_C001:3"
[[ -z $digest || $digest =~ ^[0-9a-f]{64}$ ]] || wrong "--digest is '$digest', not the digest of evidence"

if $glass; then
    past_the_app promote "${release%%:*}" --model "${release##*:}"
fi
sign_in
if $dry_run; then
    show_gate "$release" registry
    exit
fi
approve_gate "$release" registry "$digest" "$comment"
follow_release "$release" "$wait_seconds" registered "awaiting registry approval" promoting "promoting environment"
