#!/usr/bin/env bash
# What the shell scripts share: signing in, calling the app's HTTP API, and gates. Sourced, not run.
#
#   FLEET_URL    where the app is (default: http://127.0.0.1:7071)
#   FLEET_TOKEN  your access token; without it, Azure CLI is asked for one
#   FLEET_USER   who you are, where the embedded mode signs people in
#   TOKEN_AUDIENCE  whom that is for, where it is not the api:// address that the app names

# shellcheck disable=SC2034 # for the scripts that source this
CIRCUIT_PATTERN='[A-Za-z][A-Za-z0-9]{0,6}_[A-Za-z][A-Za-z0-9]{0,12}'
fleet_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FLEET_URL=${FLEET_URL:-http://127.0.0.1:7071}
fleet_token=""

wrong() { # MESSAGE -> exit 2
    echo "$1; see --help" >&2
    exit 2
}

require_value() { # NUMBER OF ARGUMENTS LEFT, OPTION
    (($1 > 1)) || wrong "$2 needs a value"
}

# What scripts that order something share. In their loop over arguments: `-*) shared_option "$@"; shift "$taken" ;;`
wait_seconds=0 dry_run=false glass=false reason="" record="" taken=0

shared_option() { # ARGUMENTS LEFT... -> takes the first, and says in `taken` how many arguments it was
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --dry-run) dry_run=true; taken=1; return ;;
        --wait | --break-glass | --record) require_value $# "$1" ;;
        *) wrong "unknown option $1" ;;
    esac
    case "$1" in
        --wait)
            [[ $2 =~ ^[0-9]{1,5}$ ]] || wrong "--wait is '$2', not a number of seconds"
            wait_seconds=$2
            ;;
        --break-glass) glass=true reason=$2 ;;
        --record) record=$2 ;;
    esac
    taken=2
}

past_the_app() { # ARGUMENTS... -> becomes scripts/break_glass.py, with the options that it shares
    local python="$fleet_scripts/../.venv/bin/python" arguments=("$@" --reason "$reason")
    [[ -x $python ]] || python=python3
    [[ -z $record ]] || arguments+=(--record "$record")
    ! $dry_run || arguments+=(--dry-run)
    exec "$python" "$fleet_scripts/break_glass.py" "${arguments[@]}"
}

sign_in() {
    local tool
    for tool in curl jq; do
        command -v "$tool" >/dev/null || wrong "this needs $tool"
    done
    fleet_token=${FLEET_TOKEN:-}
    if [[ -z $fleet_token && -n ${FLEET_USER:-} ]]; then
        fleet_token=$(embedded_token)
    elif [[ -z $fleet_token ]] && command -v az >/dev/null; then
        local audience
        audience=$(token_audience)
        fleet_token=$(az account get-access-token --resource "$audience" --query accessToken --output tsv)
    fi
    [[ -n $fleet_token ]] || wrong "set FLEET_TOKEN (FLEET_USER on this machine), or install Azure CLI and sign in with az login"
}

embedded_token() { # -> a token of FLEET_USER's, whom the embedded issuer of this machine believes
    local issuer
    issuer=$(curl --silent --fail --max-time 60 "$FLEET_URL/api/sign-in" | jq --raw-output .token) \
        || wrong "$FLEET_URL does not answer; set FLEET_URL to where the app is"
    [[ $issuer =~ ^http://(127\.0\.0\.1|localhost)[:/] ]] \
        || wrong "FLEET_USER is for the embedded mode, and $FLEET_URL is not; set FLEET_TOKEN, or use az login"
    curl --silent --fail --max-time 60 --data-urlencode "username=$FLEET_USER" "$issuer" | jq --raw-output .access_token \
        || wrong "$FLEET_USER is nobody whom $FLEET_URL knows"
}

# As scripts/fleet_api.py has it: what an app names is believed only where it can be no service of Azure's.
token_audience() { # -> whom the token is for
    local named=${TOKEN_AUDIENCE:-}
    if [[ -z $named ]]; then
        named=$(curl --silent --fail --max-time 60 "$FLEET_URL/api/sign-in" | jq --raw-output .scope) \
            || wrong "$FLEET_URL does not answer; set FLEET_URL to where the app is"
        named=${named%%/.default*}
        [[ $named == api://* ]] \
            || wrong "set TOKEN_AUDIENCE, after making sure that it is your app's ($named), or FLEET_TOKEN"
    fi
    echo "$named"
}

# The token goes in by standard input: arguments can be read by everybody on the machine.
call() { # METHOD PATH [BODY] -> the answer's body; fails with the problem's text
    local answer status
    answer=$(printf 'header = "Authorization: Bearer %s"\n' "$fleet_token" | curl --silent --show-error --config - \
        --request "$1" ${3:+--header "Content-Type: application/json" --data "$3"} --max-time 60 \
        --write-out '\n%{http_code}' "$FLEET_URL/api/$2") || {
        echo "$FLEET_URL does not answer; set FLEET_URL to where the app is, or see --break-glass" >&2
        return 1
    }
    status=${answer##*$'\n'}
    if ((status >= 400)); then
        jq --raw-output '.detail // .' <<<"${answer%$'\n'*}" >&2 || echo "the app answered $status" >&2
        return 1
    fi
    echo "${answer%$'\n'*}"
}

# Answers a release's open gate as the caller. People answer what they saw: the digest is that of --dry-run.
approve_gate() { # RELEASE GATE DIGEST COMMENT
    local release=$1 gate=$2 digest=$3 comment=$4 approval body
    approval=$(open_gate "$release" "$gate")
    [[ -n $approval ]] || return 0
    [[ -n $digest ]] || wrong "--digest is missing: look at the evidence with --dry-run, and give the digest it shows"
    body=$(jq --null-input --arg digest "$digest" --arg comment "$comment" \
        '{decision: "approve", digest: $digest, comment: $comment}')
    call POST "approvals/$approval" "$body" >/dev/null
}

open_gate() { # RELEASE GATE -> the id of its open approval; nothing where the gate is not open
    call GET "releases/$1" | jq --raw-output --arg gate "$2" \
        'if .phase == "awaiting \($gate) approval" then .approval.id else empty end'
}

# A gate is shown with everything that its approver should see.
show_gate() { # RELEASE GATE
    local approval shown
    shown=$(call GET "releases/$1")
    approval=$(open_gate "$1" "$2")
    if [[ -n $approval ]]; then
        call GET "approvals/$approval" | jq --argjson release "$shown" \
            '{release: $release.id, phase: $release.phase, would_approve: .id, digest, shown: ., dry_run: true}'
    else
        jq '{release: .id, phase, reason, would_approve: null, dry_run: true}' <<<"$shown"
    fi
}

# Waits while the release is in one of the phases, at most so many seconds, and prints where it stands.
# Fails when it has ended badly, or is not yet further.
follow_release() { # RELEASE SECONDS PHASE...
    local release=$1 until_time=$((SECONDS + $2)) shown phase
    shift 2
    while true; do
        shown=$(call GET "releases/$release")
        phase=$(jq --raw-output .phase <<<"$shown")
        if [[ " ${*// /_} " != *" ${phase// /_} "* ]] || ((SECONDS >= until_time)); then
            break
        fi
        sleep 2
    done
    jq '{release: .id, phase, since, deadline, reason}' <<<"$shown"
    case "$phase" in
        rejected | expired | failed | errored | superseded | cancelled | "rolled back")
            echo "$release has ended $phase: $(jq --raw-output .reason <<<"$shown")" >&2
            return 1
            ;;
    esac
}
