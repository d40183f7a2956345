#!/usr/bin/env bash
# What deploy.sh and validate_infra.sh share: the environment's parameters, the tools, signing in. Sourced, not run.

# shellcheck disable=SC2034 # for the scripts that source this
infra_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

wrong() { # MESSAGE -> exit 2
    echo "$1; see --help" >&2
    exit 2
}

require_value() { # NUMBER OF ARGUMENTS LEFT, OPTION
    (($1 > 1)) || wrong "$2 needs a value"
}

say() { # MESSAGE, for people: standard output is for what programs read
    echo "$1" >&2
}

known_environments() {
    local file
    for file in "$infra_root"/infra/parameters/*.json; do
        basename "$file" .json
    done | paste -sd' '
}

choose_environment() { # NAME -> parameters, prefix, deployment
    [[ -n $1 ]] || wrong "ENVIRONMENT is missing: $(known_environments)"
    parameters="$infra_root/infra/parameters/$1.json"
    [[ $1 =~ ^[a-z]+$ && -f $parameters ]] || wrong "there is no environment '$1': $(known_environments)"
    require_tools jq
    prefix="$(parameter name)-$(parameter environmentName)"
    location=$(parameter location)
    deployment="$prefix"
}

parameter() { # NAME, OTHERWISE -> its value in the parameter file
    jq --raw-output --arg name "$1" --arg otherwise "${2:-}" '.parameters[$name].value // $otherwise' "$parameters"
}

require_tools() { # NAME... -> exit 2 with what each is for
    local tool missing=()
    declare -A purpose=(
        [az]="Azure CLI, signed in (az login)"
        [jq]="reads what Azure answers"
        [curl]="asks the app whether it is well"
    )
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool: ${purpose[$tool]}")
    done
    if ((${#missing[@]})); then
        printf 'this needs %s\n' "${missing[@]}" >&2
        exit 2
    fi
}

require_subscription() { # SUBSCRIPTION OR NOTHING -> signed in, and at the right one
    if [[ -n $1 ]]; then
        az account set --subscription "$1" || wrong "subscription '$1' cannot be used"
    fi
    subscription=$(az account show --query id --output tsv) || wrong "sign in first: az login"
}

no_placeholders() { # -> exit 2 where the parameter file still has the example's ids
    local found
    found=$(jq --raw-output '.parameters | to_entries[]
        | select(.value.value | tostring | test("00000000-0000-0000-0000-|example\\.com|dev\\.azure\\.com/example")) | .key' \
        "$parameters" | paste -sd' ')
    [[ -z $found ]] || wrong "$parameters still has examples for: $found; put your own there"
}

budget_start() { # -> what the budgets were created with, or the first day of this month; it cannot change
    local known
    known=$(az deployment sub show --name "$deployment" \
        --query properties.parameters.budgetStart.value --output tsv 2>/dev/null || true)
    echo "${known:-$(date -u +%Y-%m-01)}"
}

events_parameters() { # OUTPUTS OF main.bicep -> parameters of events.bicep, for az
    jq --compact-output --slurpfile given "$parameters" '{
        name: $given[0].parameters.name,
        environmentName: $given[0].parameters.environmentName,
        privateNetwork: {value: ($given[0].parameters.privateNetwork.value // false)},
        appId: {value: .appId.value},
        storageId: {value: .storageId.value},
        topics: {value: .topics.value}
    } + ($given[0].parameters | if has("testSubscriptionId") then {testSubscriptionId} else {} end)' <<<"$1"
}
