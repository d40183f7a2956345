"""The table's upkeep, told as histories: what it must spare, when it must wait, and what happens when it breaks."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from shared.domain.lake import EtlPhase, EtlRun, UpkeepPhase, UpkeepRun
from shared.domain.machine import Item, Verdict
from shared.domain.messages import EtlDue, UpkeepDue
from shared.references import KEPT_DAYS
from tests.simulated import ETL, FAILS, HANGS, SCORING, UPKEEP, Fate
from tests.world import Fleet, World


def of(world: World, kind: type[Item]) -> list[str]:
    """The phases of every run of one kind, oldest first."""
    found = [item for item in world.items("lake").values() if isinstance(item, kind)]
    return [item.phase for item in sorted(found, key=lambda item: item.id)]


def upkeep_due(world: World) -> None:
    world.told(UpkeepDue(root="lake", slot=world.now()))


def etl_due(world: World) -> None:
    world.told(EtlDue(root="lake", slot=world.now()))


def begun(world: World, purpose: str) -> list[datetime]:
    return [o.started_at for o in world.operations.started.values() if o.purpose == purpose]


def spared(world: World) -> set[int]:
    """What the newest upkeep was told to spare."""
    return set(world.lake.orders[max(world.lake.orders)][1])


def test_an_upkeep_ends_with_a_commit_that_starts_nothing(world: World) -> None:
    world.commit()
    world.run(minutes=5)
    upkeep_due(world)
    world.run(minutes=30)
    assert of(world, UpkeepRun) == [UpkeepPhase.COMPLETED]
    (run,) = [item for item in world.items("lake").values() if isinstance(item, UpkeepRun)]
    assert (run.version, run.deleted_files) == (1, 3)
    world.tell(lambda app: app.read_delta_log(1, "event"))
    world.run(minutes=10)
    assert [item.id for item in world.items("lake").values() if "commit" in item.id] == ["commit-table-1-0"]


def test_an_upkeep_spares_what_data_assets_and_recent_scorings_refer_to_of_this_table(world: World) -> None:
    world.commit()
    world.go_live()
    scored = [world.scoring()]
    for _ in range(KEPT_DAYS + 3):
        world.run_until(world.at(hour=6, day=1))
        world.commit()
        world.run(minutes=30)
        scored.append(world.scoring())
    world.data_assets.versions = {"table-1": {0, 3}, "table-0": {1}}
    upkeep_due(world)
    world.run(minutes=30)
    recent = {run.delta_version for run in scored[-KEPT_DAYS - 1 :] if run}
    old = {run.delta_version for run in scored[: -KEPT_DAYS - 1] if run}
    assert len(recent) == KEPT_DAYS + 1 and len(old - recent) >= 2
    assert spared(world) == recent | {0, 3}, "of older days only what a data asset reads"


def test_a_scoring_under_way_and_the_newest_readings_are_spared(world: World) -> None:
    world.commit()
    world.go_live()
    world.run_until(world.at(hour=6, day=1))
    world.fate(SCORING, Fate(minutes=300))
    asked = world.commit()
    world.run(minutes=10)
    newest = world.commit(newest=world.at(hour=6))
    world.run(minutes=10)
    upkeep_due(world)
    world.run(minutes=30)
    assert {asked, newest} <= spared(world)


def test_a_circuit_that_left_the_configuration_keeps_what_its_ledger_refers_to(world: World) -> None:
    version = world.commit()
    world.go_live()
    world.app.directory = Fleet(names=())
    upkeep_due(world)
    world.run(minutes=30)
    assert version in spared(world)


def test_without_the_data_assets_nothing_is_ordered_and_people_hear_of_it(world: World) -> None:
    world.commit()
    world.data_assets.down = True
    upkeep_due(world)
    world.run(hours=1)
    assert not world.lake.orders and not begun(world, UPKEEP)
    world.run(hours=2)
    assert of(world, UpkeepRun) == [UpkeepPhase.FAILED]
    assert len(world.topic.alerts()) == 1
    world.data_assets.down = False
    upkeep_due(world)
    world.run(hours=1)
    assert of(world, UpkeepRun) == [UpkeepPhase.FAILED, UpkeepPhase.COMPLETED]


def test_a_lake_without_a_table_has_nothing_to_keep_up(world: World) -> None:
    upkeep_due(world)
    world.run(minutes=10)
    assert of(world, UpkeepRun) == [UpkeepPhase.COMPLETED] and not begun(world, UPKEEP)


def test_an_upkeep_waits_for_the_etl_run_and_begins_at_its_end(world: World) -> None:
    world.fate(ETL, Fate(minutes=40), Fate(minutes=90))
    etl_due(world)
    world.run(minutes=1)
    etl_due(world)
    world.run(minutes=5)
    upkeep_due(world)
    world.run(minutes=60)
    assert of(world, UpkeepRun) == [UpkeepPhase.WAITING_FOR_ETL], "one of two ETL runs is still under way"
    world.run(hours=1)
    assert of(world, UpkeepRun) == [UpkeepPhase.COMPLETED]
    assert world.lake.beside == []


def test_etl_runs_wait_for_the_upkeep_and_begin_at_its_end(world: World) -> None:
    world.commit()
    world.fate(UPKEEP, Fate(minutes=30))
    upkeep_due(world)
    world.run(minutes=5)
    etl_due(world)
    world.run(minutes=10)
    assert of(world, EtlRun) == [EtlPhase.WAITING_FOR_UPKEEP] and not begun(world, ETL)
    world.run(minutes=30)
    assert of(world, EtlRun) == [EtlPhase.COMPLETED]
    assert world.lake.beside == []


@pytest.mark.parametrize("fate", [FAILS, HANGS])
def test_an_upkeep_that_breaks_or_hangs_ends_people_hear_of_it_and_the_etl_goes_on(world: World, fate: Fate) -> None:
    world.commit()
    world.fate(UPKEEP, fate)
    upkeep_due(world)
    world.run(minutes=5)
    etl_due(world)
    world.run(hours=4)
    assert of(world, UpkeepRun) == [UpkeepPhase.FAILED]
    assert of(world, EtlRun) == [EtlPhase.COMPLETED]
    assert len(world.topic.alerts()) == 1
    assert not world.operations.running(UPKEEP)


def test_an_upkeep_that_is_due_again_before_the_last_one_is_over_is_left_out(world: World) -> None:
    world.commit()
    world.fate(UPKEEP, Fate(minutes=90))
    upkeep_due(world)
    world.run(minutes=30)
    again = world.app.start_upkeep(world.now())
    assert (again.verdict, again.reason) == (Verdict.IGNORED, "upkeep-20260130T060000Z is not over")
    assert world.now() - world.at(hour=6) == timedelta(minutes=30)
