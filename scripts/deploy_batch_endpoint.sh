#!/usr/bin/env bash
# Bring a model version to a circuit's batch deployment: through the app's gates, or past the app when there is no other way.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/fleet_api.sh
source "$here/fleet_api.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/deploy_batch_endpoint.sh CIRCUIT --stage test --version N [--wait SECONDS] [--dry-run]
       scripts/deploy_batch_endpoint.sh CIRCUIT --stage production --version N --digest DIGEST [--comment TEXT]
           [--wait SECONDS]
       scripts/deploy_batch_endpoint.sh CIRCUIT --stage STAGE --version N --environment VERSION --break-glass REASON
           [--record FOLDER] [--dry-run]

test: the app deploys and tests every promoted version by itself; an errored one is given another attempt. production:
the production gate is approved as you, and the app deploys. What is further already is left as it is.

  --stage STAGE         test or production
  --version N           the model version
  --dry-run             show what would be done: for production the evidence and its digest
  --digest DIGEST       the digest of the evidence that you looked at; if it has changed since, nothing is approved
  --comment TEXT        kept with your answer, or with the new attempt
  --wait SECONDS        wait until the test has ended, or production serves it
  --break-glass REASON  AzureML directly, when the app cannot be had; reported to the app, or recorded for it
  --environment VERSION with --break-glass: the environment version of the pair
  --record FOLDER       where a report is kept that the app did not take (default: .local/break_glass)
  --help                this text

FLEET_URL    where the app is (default: http://127.0.0.1:7071)
FLEET_TOKEN  your access token; without it, Azure CLI is asked for one for TOKEN_AUDIENCE, or whom the app names

Prints one JSON object. Exit code: 0 ordered (or there, with --wait), 1 not possible, 2 wrong use, 3 done past the app,
and still to be reported.
TEXT
}

circuit="" stage="" version="" digest="" comment="" environment=""
while (($#)); do
    case "$1" in
        --stage) require_value $# "$1"; stage=$2; shift 2 ;;
        --version) require_value $# "$1"; version=$2; shift 2 ;;
        --digest) require_value $# "$1"; digest=$2; shift 2 ;;
        --comment) require_value $# "$1"; comment=$2; shift 2 ;;
        --environment) require_value $# "$1"; environment=$2; shift 2 ;;
        -*) shared_option "$@"; shift "$taken" ;;
        *)
            [[ -z $circuit ]] || wrong "one circuit at a time: $circuit, $1"
            circuit=$1
            shift
            ;;
    esac
done
[[ $circuit =~ ^$CIRCUIT_PATTERN$ ]] || wrong "CIRCUIT is '$circuit', not like P001_C001"
[[ $stage == test || $stage == production ]] || wrong "--stage is '$stage', not test or production"
[[ $version =~ ^[1-9][0-9]{0,8}$ ]] || wrong "--version is '$version', not a model version"
[[ -z $digest || $digest =~ ^[0-9a-f]{64}$ ]] || wrong "--digest is '$digest', not the digest of evidence"

if $glass; then
    [[ -n $environment ]] || wrong "--environment is missing: past the app, the pair has to be named whole"
    past_the_app deploy "$circuit" --stage "$stage" --model "$version" --environment "$environment"
fi
[[ -z $environment ]] || wrong "--environment belongs to --break-glass: a release has the one that it was trained with"
release="$circuit:$version"
sign_in
if [[ $stage == production ]]; then
    if $dry_run; then
        show_gate "$release" production
        exit
    fi
    approve_gate "$release" production "$digest" "$comment"
    follow_release "$release" "$wait_seconds" "awaiting production approval" ready "deploying to production"
    exit
fi
shown=$(call GET "releases/$release")
if $dry_run; then
    jq '{release: .id, phase, reason, would_retry: (.phase == "errored"), dry_run: true}' <<<"$shown"
    exit
fi
if [[ $(jq --raw-output .phase <<<"$shown") == errored ]]; then
    body=$(jq --null-input --arg reason "${comment:-deployed to test again}" '{reason: $reason}')
    call POST "releases/$release/retry" "$body" >/dev/null
fi
follow_release "$release" "$wait_seconds" registered promoting "promoting environment" "waiting for test" "deploying to test" testing
