"""What is really deployed, circuit by circuit."""

from __future__ import annotations

from scripts.get_all_deployments import deployments
from shared.domain.values import Deployment, Pair, Stage
from tests.builders import circuits
from tests.world import Fleet, World


def test_every_circuit_is_listed_with_its_pair_or_nothing_and_one_environment_can_be_asked_for() -> None:
    names = circuits(3)
    platform = World(Fleet(names)).platform
    for circuit, environment in zip(names[:2], ("1.0.0", "1.1.0"), strict=True):
        pair = Pair(model=4, environment=environment)
        platform.serve(Deployment(circuit=circuit, stage=Stage.PRODUCTION, pair=pair, tags={"deployed_at": "now"}))
    found = deployments(platform, names, Stage.PRODUCTION)
    assert list(found) == list(names) and found[names[2]] is None
    assert found[names[0]] == {"model": 4, "environment": "1.0.0", "tags": {"deployed_at": "now"}}
    assert list(deployments(platform, names, Stage.PRODUCTION, "1.1.0")) == [names[1]]
    assert set(deployments(platform, names, Stage.TEST).values()) == {None}
