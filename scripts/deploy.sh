#!/usr/bin/env bash
# Deploy one environment: infrastructure, the app, the ETL's files, the event subscriptions. Safe to run again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/infra.sh
source "$here/infra.sh"

OPERATOR_ROLE=Fleet-Operators
GRAPH=https://graph.microsoft.com/v1.0

usage() {
    cat <<TEXT
Usage: scripts/deploy.sh ENVIRONMENT [--what-if | --dry-run | --yes] [--only PART] [--subscription ID]

Brings an environment of infra/parameters ($(known_environments)) to what this checkout says:

  1 compile     az bicep build of both files
  2 infra       what would change, a confirmation, and the deployment of infra/main.bicep
  3 grants      what Azure Resource Manager cannot give: the app's role in Synapse; the state table's shard mark
  4 app         its package (scripts/package.py), published without a remote build
  5 etl         the Spark jobs' files, into the lake's container "code"
  6 events      infra/events.bicep, once Azure lists the app's functions; then the app is asked whether it is well

  --what-if          compile, show what would change, change nothing
  --dry-run          print the steps and their commands; Azure is not asked
  --yes              no confirmation: for pipelines, whose environment has an approval of its own
  --only PART        one of infra, grants, app, etl, events; the environment must have been deployed before. Or
                     registration, which no other run does: it needs the directory role Application Administrator, and
                     makes of the app registration tokenAudience what the app expects: sign-in to the dashboard, the app
                     role $OPERATOR_ROLE, and that role for the pipelines' identities
  --subscription ID  where to deploy (default: Azure CLI's)
  --help             this text

Standard output: one JSON object, the deployment's outputs. Exit code: 0 done, 1 something failed (run it again when it
is mended), 2 wrong use or a missing tool.
TEXT
}

PARTS="infra grants app etl events registration"
environment="" mode=ask only="" wanted_subscription=""
while (($#)); do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --what-if | --dry-run | --yes)
            [[ $mode == ask ]] || wrong "--what-if, --dry-run and --yes exclude each other"
            mode=${1#--}
            shift
            ;;
        --only)
            require_value $# "$1"
            [[ " $PARTS " == *" $2 "* ]] || wrong "--only is '$2', not one of: $PARTS"
            only=$2
            shift 2
            ;;
        --subscription) require_value $# "$1"; wanted_subscription=$2; shift 2 ;;
        -*) wrong "unknown option $1" ;;
        *)
            [[ -z $environment ]] || wrong "one environment at a time: $environment, $1"
            environment=$1
            shift
            ;;
    esac
done
choose_environment "$environment"
[[ $mode != what-if || -z $only || $only == infra ]] || wrong "--what-if shows infra and nothing of $only"
python="$infra_root/.venv/bin/python"
[[ -x $python ]] || wrong "$python is not there: run make setup first, packages are made with it"

run() { # COMMAND... -> run, or only shown
    if [[ $mode == dry-run ]]; then
        printf '  %q' "$1" >&2
        printf ' %q' "${@:2}" >&2
        echo >&2
        return
    fi
    "$@"
}

is_wanted() { # PART
    [[ $only == "$1" || (-z $only && $1 != registration) ]]
}

output() { # NAME -> an output of main.bicep
    if [[ $mode == dry-run ]]; then
        echo "<$1>"
        return
    fi
    jq --exit-status --raw-output --arg name "$1" '.[$name].value' <<<"$outputs"
}

compile() {
    local file
    for file in main events; do
        run az bicep build --file "$infra_root/infra/$file.bicep" --stdout >/dev/null
    done
}

main_arguments() { # -> the arguments of every command on main.bicep
    arguments=(--name "$deployment" --location "$location" --template-file "$infra_root/infra/main.bicep"
        --parameters "@$parameters" --parameters "budgetStart=$start")
}

confirm() {
    [[ $mode == ask ]] || return 0
    [[ -t 0 ]] || wrong "nobody can confirm here: give --yes"
    local answer
    read -r -p "Deploy this to $prefix in subscription $subscription? [y/N] " answer
    [[ $answer == [yY]* ]] || { say "nothing was changed"; exit 1; }
}

deploy_infra() {
    say "2 infra: what would change in $prefix"
    main_arguments
    run az deployment sub what-if "${arguments[@]}" --exclude-change-types NoChange Ignore >&2
    [[ $mode != what-if ]] || exit 0
    confirm
    run az deployment sub create "${arguments[@]}" --output none
}

grant() {
    say "3 grants"
    grant_in_synapse "Synapse Compute Operator" "$(output appPrincipal)"
    grant_in_synapse "Synapse Administrator" "$(output deployPrincipal)"
    mark_shards
}

grant_in_synapse() { # ROLE, PRINCIPAL
    local workspace held=0
    workspace=$(output synapseName)
    if [[ $mode != dry-run ]]; then
        held=$(az synapse role assignment list --workspace-name "$workspace" --role "$1" \
            --assignee-object-id "$2" --query 'length(@)' --output tsv)
    fi
    if ((held == 0)); then
        run az synapse role assignment create --workspace-name "$workspace" --role "$1" \
            --assignee-object-id "$2" --assignee-principal-type ServicePrincipal --output none
    fi
}

mark_shards() { # the number of partitions is fixed for the life of the table: shared/wiring.py refuses another one
    local shards known storage
    shards=$(parameter stateShards 4) storage=$(output storageName)
    local table=(--account-name "$storage" --table-name fleetstate --auth-mode login)
    if [[ $mode != dry-run ]]; then
        known=$(az storage entity show "${table[@]}" --partition-key meta --row-key shards \
            --query shards --output tsv 2>/dev/null || true)
        if [[ -n $known && $known != "$shards" ]]; then
            say "stateShards is $shards, but the table was made with $known: set it to $known, or begin a new table"
            exit 1
        fi
        [[ -z $known ]] || return 0
    fi
    run az storage entity insert "${table[@]}" --if-exists fail --output none \
        --entity PartitionKey=meta RowKey=shards "shards=$shards" shards@odata.type=Edm.Int32
}

publish_app() {
    say "4 app"
    run "$python" "$here/package.py" app "$work/app.zip" >&2
    run az functionapp deployment source config-zip --resource-group "$prefix-core" --name "$(output appName)" \
        --src "$work/app.zip" --build-remote false --output none
}

upload_etl() {
    say "5 etl"
    run "$python" "$here/package.py" etl "$work/etl" >&2
    run az storage blob upload-batch --account-name "$(output lakeName)" --auth-mode login --destination code \
        --destination-path etl --source "$work/etl" --overwrite --output none
}

subscribe() {
    say "6 events"
    local function listed
    if [[ $mode != dry-run && $(parameter privateNetwork false) != true ]]; then
        for function in $(jq --raw-output '.[].function' "$infra_root/infra/generated/event_subscriptions.json"); do
            for _ in $(seq 30); do
                listed=$(az functionapp function list --resource-group "$prefix-core" --name "$(output appName)" \
                    --query "[?ends_with(name, '/$function')] | length(@)" --output tsv)
                ((listed == 0)) || break
                sleep 10
            done
            ((listed > 0)) || { say "Azure lists no function $function: look at the app's log"; exit 1; }
        done
    fi
    [[ $mode == dry-run ]] || events_parameters "$outputs" |
        jq '{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
             contentVersion: "1.0.0.0", parameters: .}' >"$work/events.json"
    run az deployment sub create --name "$deployment-events" --location "$location" --output none \
        --template-file "$infra_root/infra/events.bicep" --parameters "@$work/events.json"
}

is_well() {
    [[ $(parameter privateNetwork false) != true ]] || { say "the app has no public address: ask it from inside"; return; }
    run curl --fail --silent --show-error --retry 10 --retry-delay 6 --retry-all-errors --output /dev/null \
        "https://$(output appHost)/api/health"
}

registration() { # HOST -> what Microsoft Graph is to make of the app registration; its ids never change
    jq --null-input --compact-output --arg host "$1" --arg audience "$(parameter tokenAudience)" --arg role "$OPERATOR_ROLE" '{
        identifierUris: ["api://\($audience)"],
        groupMembershipClaims: "SecurityGroup",
        spa: {redirectUris: ["https://\($host)/api/dashboard"]},
        api: {requestedAccessTokenVersion: 2, oauth2PermissionScopes: [{
            id: "5b8f1d2a-0f5d-4f0e-9d6c-3a8e6f1f7c01", value: "access", type: "User", isEnabled: true,
            adminConsentDisplayName: "Use the fleet", adminConsentDescription: "Use the fleet as the person who is signed in"}]},
        appRoles: [{
            id: "5b8f1d2a-0f5d-4f0e-9d6c-3a8e6f1f7c02", value: $role, isEnabled: true, allowedMemberTypes: ["Application"],
            displayName: "Operate the fleet", description: "Orders what OPERATOR_GROUPS may; approves nothing"}]}'
}

register() {
    say "registration"
    local audience resource principal held
    audience=$(parameter tokenAudience)
    run az rest --method PATCH --url "$GRAPH/applications(appId='$audience')" --body "$(registration "$(output appHost)")"
    if [[ $mode == dry-run ]]; then
        resource="<its service principal>"
    else
        resource=$(az ad sp list --filter "appId eq '$audience'" --query '[0].id' --output tsv)
        [[ -n $resource ]] || resource=$(az ad sp create --id "$audience" --query id --output tsv)
    fi
    for principal in "$(output operatePrincipal)" "$(output breakGlassPrincipal)"; do
        held=0
        if [[ $mode != dry-run ]]; then
            held=$(az rest --method GET --url "$GRAPH/servicePrincipals/$resource/appRoleAssignedTo" \
                --query "length(value[?principalId=='$principal'])" --output tsv)
        fi
        ((held > 0)) || run az rest --method POST --url "$GRAPH/servicePrincipals/$resource/appRoleAssignedTo" --output none \
            --body "$(jq --null-input --compact-output --arg resource "$resource" --arg principal "$principal" \
                '{resourceId: $resource, principalId: $principal, appRoleId: "5b8f1d2a-0f5d-4f0e-9d6c-3a8e6f1f7c02"}')"
    done
}

remind() {
    say "once, and after the app's name changed, by an Application Administrator: scripts/deploy.sh $environment --only registration"
    if [[ $(parameter approvalChannel product) == devops ]]; then
        say "approvals come from Azure DevOps: the secret devops-hook must be in $(output vaultUri) (docs/approvals.md)"
    fi
}

[[ $mode == dry-run ]] || require_tools az curl
subscription="" outputs="{}" start="<first of the month>"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ $mode != dry-run ]]; then
    no_placeholders
    require_subscription "$wanted_subscription"
    start=$(budget_start)
fi

if is_wanted infra; then
    say "1 compile"
    compile
    deploy_infra
fi
if [[ $mode != dry-run ]]; then
    outputs=$(az deployment sub show --name "$deployment" --query properties.outputs --output json) ||
        { say "$deployment was not deployed yet: run scripts/deploy.sh $environment first"; exit 1; }
fi
! is_wanted grants || grant
! is_wanted app || publish_app
! is_wanted etl || upload_etl
! is_wanted registration || register
if is_wanted events; then
    subscribe
    is_well
    remind
fi
jq 'map_values(.value)' <<<"$outputs"
