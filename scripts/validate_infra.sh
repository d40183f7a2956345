#!/usr/bin/env bash
# What should be there, and what is: an environment as Azure has it, held against this checkout.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/infra.sh
source "$here/infra.sh"

usage() {
    cat <<TEXT
Usage: scripts/validate_infra.sh ENVIRONMENT [--subscription ID] [--from FOLDER]

Asks Azure for every resource that the last deployment of ENVIRONMENT ($(known_environments)) made, and what another one
would change, and lists each as there, missing or different; then whether the app's functions are there, whether it may
use Synapse, and whether it is well. Changes nothing.

  --subscription ID  where to look (default: Azure CLI's)
  --from FOLDER      judge answers that were kept: recorded.json, main.json and events.json of what-if, functions.json,
                     roles.json
  --help             this text

Standard output: one JSON object {environment, ok, there, missing, different, unseen, functions, synapse, well}; unseen are
modules that what-if did not look into, so that nothing in them shows as different. Exit code: 0 all as it should be, 1
something is missing or different (named on standard error), 2 wrong use or a missing tool.
TEXT
}

environment="" wanted_subscription="" from=""
while (($#)); do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --subscription) require_value $# "$1"; wanted_subscription=$2; shift 2 ;;
        --from) require_value $# "$1"; from=$2; shift 2 ;;
        -*) wrong "unknown option $1" ;;
        *)
            [[ -z $environment ]] || wrong "one environment at a time: $environment, $1"
            environment=$1
            shift
            ;;
    esac
done
choose_environment "$environment"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

recorded() { # DEPLOYMENTS... -> [{id, there}] of what they made
    local name id there
    for name in "$@"; do
        for id in $(az deployment sub show --name "$name" --query 'properties.outputResources[].id' --output tsv); do
            there=true
            az resource show --ids "$id" --output none 2>/dev/null || there=false
            jq --null-input --arg id "$id" --argjson there "$there" '{id: $id, there: $there}'
        done
    done | jq --slurp .
}

ask_azure() { # -> answers in $work
    require_tools az curl
    no_placeholders
    require_subscription "$wanted_subscription"
    local outputs app
    outputs=$(az deployment sub show --name "$deployment" --query properties.outputs --output json) ||
        { say "$deployment was not deployed yet: run scripts/deploy.sh $environment"; exit 1; }
    recorded "$deployment" "$deployment-events" >"$work/recorded.json"
    az deployment sub what-if --name "$deployment" --location "$location" --no-pretty-print \
        --template-file "$infra_root/infra/main.bicep" --parameters "@$parameters" \
        --parameters "budgetStart=$(budget_start)" --output json >"$work/main.json"
    events_parameters "$outputs" |
        jq '{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
             contentVersion: "1.0.0.0", parameters: .}' >"$work/parameters.json"
    az deployment sub what-if --name "$deployment-events" --location "$location" --no-pretty-print \
        --template-file "$infra_root/infra/events.bicep" --parameters "@$work/parameters.json" \
        --output json >"$work/events.json"
    app=$(jq --raw-output .appName.value <<<"$outputs")
    az functionapp function list --resource-group "$prefix-core" --name "$app" \
        --query '[].name' --output json >"$work/functions.json"
    az synapse role assignment list --workspace-name "$(jq --raw-output .synapseName.value <<<"$outputs")" \
        --role "Synapse Compute Operator" --assignee-object-id "$(jq --raw-output .appPrincipal.value <<<"$outputs")" \
        --output json >"$work/roles.json"
    if [[ $(parameter privateNetwork false) == true ]]; then
        echo '"not asked: the app has no public address"' >"$work/well.json"
    elif curl --fail --silent --max-time 30 --output /dev/null \
        "https://$(jq --raw-output .appHost.value <<<"$outputs")/api/health"; then
        echo '"yes"' >"$work/well.json"
    else
        echo '"no"' >"$work/well.json"
    fi
}

if [[ -n $from ]]; then
    for file in recorded main events functions roles; do
        [[ -f $from/$file.json ]] || wrong "$from has no $file.json"
        cp "$from/$file.json" "$work/$file.json"
    done
    echo '"not asked"' >"$work/well.json"
else
    ask_azure
fi

report=$(jq --null-input --arg environment "$environment" \
    --slurpfile recorded "$work/recorded.json" --slurpfile main "$work/main.json" --slurpfile events "$work/events.json" \
    --slurpfile functions "$work/functions.json" --slurpfile roles "$work/roles.json" \
    --slurpfile well "$work/well.json" \
    --slurpfile subscriptions "$infra_root/infra/generated/event_subscriptions.json" '
    ($main[0].changes + $events[0].changes) as $changes
    | def ids(kinds): [$changes[] | select(.changeType as $kind | kinds | index($kind)) | .resourceId] | sort;
    ($functions[0] | map(split("/") | last)) as $there
    | {
        environment: $environment,
        there: (ids(["NoChange", "NoEffect", "Unsupported"]) + [$recorded[0][] | select(.there) | .id] | unique),
        missing: (ids(["Create"]) + [$recorded[0][] | select(.there | not) | .id] | unique),
        different: [$changes[] | select(.changeType == "Modify" or .changeType == "Deploy" or .changeType == "Delete")
            | {id: .resourceId, paths: [(.delta // [])[].path]}] | sort_by(.id),
        unseen: [($main[0].diagnostics // [])[], ($events[0].diagnostics // [])[] | .target] | unique,
        functions: {missing: ([$subscriptions[0][].function] - $there), there: ($there | length)},
        synapse: (($roles[0] | length) > 0),
        well: $well[0]
      }
    | .ok = (.missing == [] and .different == [] and .functions.missing == [] and .functions.there > 0
        and .synapse and .well != "no")')
jq . <<<"$report"
jq --raw-output '(.missing[] | "missing: \(.)"), (.different[] | "different: \(.id) \(.paths | join(", "))"),
    (.functions.missing[] | "no function: \(.)"), (select(.functions.there == 0) | "the app has no functions"),
    (select(.synapse | not) | "the app may not use Synapse"), (select(.well == "no") | "the app is not well")' \
    <<<"$report" >&2
[[ $(jq .ok <<<"$report") == true ]]
