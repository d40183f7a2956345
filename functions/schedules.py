"""Schedules: ETL every three hours, upkeep once a day, sweeps, missed scorings, monitoring, retention."""

from __future__ import annotations

import logging

import azure.functions as func

from shared.wiring import wired

bp = func.Blueprint()
log = logging.getLogger("fleet.schedules")


@bp.timer_trigger(arg_name="timer", schedule="%ETL_SCHEDULE%")
def run_etl(timer: func.TimerRequest) -> None:
    application = wired().application
    application.start_etl(application.ports.clock.now().replace(microsecond=0))


@bp.timer_trigger(arg_name="timer", schedule="%UPKEEP_SCHEDULE%")
def run_upkeep(timer: func.TimerRequest) -> None:
    application = wired().application
    application.start_upkeep(application.ports.clock.now().replace(microsecond=0))


@bp.timer_trigger(arg_name="timer", schedule="%SWEEP_SCHEDULE%")
def sweep(timer: func.TimerRequest) -> None:
    sent = wired().application.sweep()
    if sent:
        log.info("the sweep sent %d commands", sent)


@bp.timer_trigger(arg_name="timer", schedule="%DAILY_SCORING_SCHEDULE%")
def check_daily_scoring(timer: func.TimerRequest) -> None:
    wired().application.check_daily_scoring()


@bp.timer_trigger(arg_name="timer", schedule="%MONITORING_SCHEDULE%")
def monitor_fleet(timer: func.TimerRequest) -> None:
    """A tick only asks: which period is looked at, and how often, is the policy's."""
    wired().application.monitor()


@bp.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def look_at_gates(timer: func.TimerRequest) -> None:
    """Hooks are hints and may be lost: gates that are asked outside are looked at whatever was told."""
    wired().application.look_at_gates()


@bp.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def reconcile_production(timer: func.TimerRequest) -> None:
    """What is recorded against what is really deployed, of every circuit."""
    wired().application.reconcile_production()


@bp.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def read_newest_commit(timer: func.TimerRequest) -> None:
    """Events are hints and may be lost: the newest commit is looked at whatever was told."""
    application = wired().application
    source = f"timer.{application.ports.clock.now():%Y%m%dT%H%M}"
    application.read_delta_log(None, source)


@bp.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def look_for_environments(timer: func.TimerRequest) -> None:
    """No event tells of an environment but the build's own, which may be lost or forgotten."""
    application = wired().application
    application.look_for_environments(f"timer.{application.ports.clock.now():%Y%m%dT%H%M}")


@bp.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def watch_fleet(timer: func.TimerRequest) -> None:
    """What no event tells of and no circuit can see: failing trainings, dead letters, Event Grid's among them."""
    wired().undelivered.collect()
    wired().application.watch()


@bp.timer_trigger(arg_name="timer", schedule="%RETENTION_SCHEDULE%")
def retain(timer: func.TimerRequest) -> None:
    """What is over leaves the state, once it has been kept for as long as the policy says."""
    went = wired().application.retain()
    if went:
        log.info("%d rows and items were kept for their time, and went", went)
