#!/usr/bin/env bash
# What the check scripts share: ask the app for a monitoring run, wait for its end, print what it found. Sourced, not run.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/fleet_api.sh
source "$here/../scripts/fleet_api.sh"

usage() { # SCRIPT WHAT FOUND
    cat <<TEXT
Usage: monitoring/$1 (--all | --plant PLANT | --circuit CIRCUIT)
           [--period PERIOD] [--comment TEXT] [--wait SECONDS] [--dry-run]

$2

  --all              every circuit
  --plant PLANT      the circuits of one plant (P001)
  --circuit CIRCUIT  one circuit (P001_C001)
  --period PERIOD    a day, week, month or quarter that is over: 2026-01-31, 2026-W05, 2026-01, 2026-Q1
                     (default: the newest)
  --comment TEXT     why; kept with the run
  --wait SECONDS     wait for the end at most so long (default: 900; 0: only ask for it)
  --dry-run          show the newest verdicts that there are, and ask for nothing
  --help             this text

FLEET_URL    where the app is (default: http://127.0.0.1:7071)
FLEET_TOKEN  your access token; without it, Azure CLI is asked for one for TOKEN_AUDIENCE, or whom the app names

Prints one JSON object. Exit code: 0 nothing found, 1 not possible or not ended in time, 2 wrong use, 3 $3 found,
4 nothing found, and nothing could be said of some circuits.
TEXT
}

check() { # MONITORING SCRIPT WHAT FOUND ARGUMENT...
    local monitoring=$1 script=$2 what=$3 found=$4
    shift 4
    local circuit="" plant="" all=false period="" comment="" wait_seconds=900 dry_run=false
    while (($#)); do
        case "$1" in
            --help | -h) usage "$script" "$what" "$found"; exit 0 ;;
            --all) all=true; shift ;;
            --dry-run) dry_run=true; shift ;;
            --plant) require_value $# "$1"; plant=$2; shift 2 ;;
            --circuit) require_value $# "$1"; circuit=$2; shift 2 ;;
            --period) require_value $# "$1"; period=$2; shift 2 ;;
            --comment) require_value $# "$1"; comment=$2; shift 2 ;;
            --wait) require_value $# "$1"; wait_seconds=$2; shift 2 ;;
            *) wrong "unknown argument $1" ;;
        esac
    done
    local named=0
    ! $all || named=$((named + 1))
    [[ -z $plant ]] || named=$((named + 1))
    [[ -z $circuit ]] || named=$((named + 1))
    ((named == 1)) || wrong "give one of --all, --plant and --circuit"
    [[ -z $circuit || $circuit =~ ^$CIRCUIT_PATTERN$ ]] || wrong "--circuit is '$circuit', not like P001_C001"
    [[ -z $plant || $plant =~ ^[A-Za-z][A-Za-z0-9]{0,6}$ ]] || wrong "--plant is '$plant', not like P001"
    [[ -z $period || $period =~ ^[0-9]{4}-(W[0-9]{2}|Q[1-4]|[0-9]{2}(-[0-9]{2})?)$ ]] ||
        wrong "--period is '$period', not like 2026-01-31, 2026-W05, 2026-01 or 2026-Q1"
    [[ $wait_seconds =~ ^[0-9]{1,5}$ ]] || wrong "--wait is '$wait_seconds', not a number of seconds"
    sign_in
    if $dry_run; then
        newest_verdicts "$monitoring" "$circuit$plant"
        return
    fi

    local asked run until_time shown
    asked=$(call POST "monitoring/$monitoring" "$(jq --null-input --arg circuit "$circuit" --arg plant "$plant" \
        --arg period "$period" --arg comment "$comment" \
        '{circuit: $circuit, plant: $plant, period: $period, comment: $comment} | with_entries(select(.value != ""))')")
    run=$(jq --raw-output .run <<<"$asked")
    until_time=$((SECONDS + wait_seconds))
    while true; do
        shown=$(call GET "monitoring/runs/$run")
        case "$(jq --raw-output .phase <<<"$shown")" in completed | errored) break ;; esac
        ((SECONDS < until_time)) || break
        sleep 1
    done
    conclude "$run" "$shown" "$wait_seconds"
}

# The run as it stands, with its verdicts once it has ended, as one object; the exit code says what was found.
conclude() { # RUN SHOWN WAIT
    local run=$1 shown=$2 phase verdicts
    phase=$(jq --raw-output .phase <<<"$shown")
    verdicts=$([[ $phase != completed ]] || all_verdicts "$run")
    # By a file: a fleet's verdicts are longer than an argument may be.
    jq --slurpfile verdicts <(echo "$verdicts") '{run: .id, monitoring, among, period: .period.name, phase, reason,
        counts, verdicts: $verdicts, report: (if .report == "" then null else "api/monitoring/runs/\(.id)/report" end)}' \
        <<<"$shown"
    if [[ $phase == errored ]]; then
        echo "$run has ended errored: $(jq --raw-output .reason <<<"$shown")" >&2
        return 1
    elif [[ $phase != completed ]]; then
        (($3 == 0)) && return 0
        echo "$run has not ended within $3 seconds; it goes on" >&2
        return 1
    elif jq --exit-status '.counts | (.warning // 0) + (.critical // 0) + (.drifted // 0) > 0' <<<"$shown" >/dev/null; then
        return 3
    elif jq --exit-status '(.counts["cannot say"] // 0) > 0 or .counts == {}' <<<"$shown" >/dev/null; then
        return 4
    fi
}

all_verdicts() { # RUN -> one verdict a line
    local continuation="" page
    while true; do
        page=$(call GET "monitoring/runs/$1/verdicts?size=200${continuation:+&continuation=$continuation}")
        jq --compact-output '.verdicts[]' <<<"$page"
        continuation=$(jq --raw-output '.continuation // empty' <<<"$page")
        [[ -n $continuation ]] || break
    done
}

# What is known already: of a circuit its newest verdicts, of a plant or the fleet the newest runs.
newest_verdicts() { # MONITORING AMONG
    if [[ $2 == *_* ]]; then
        call GET "circuits/$2/monitoring" | jq --arg monitoring "$1" \
            '{circuit, verdicts: .[$monitoring], standing, dry_run: true}'
    else
        call GET "monitoring/runs?monitoring=$1&size=20" | jq --arg among "$2" \
            '{runs: [.runs[] | select(.among == "" or .among == $among) | {id, among, period: .period.name, phase, counts}],
            dry_run: true}'
    fi
}
