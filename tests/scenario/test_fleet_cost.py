"""What an environment release costs for each circuit does not grow with the fleet, however long the slots are taken."""

from __future__ import annotations

from tests.bench.environment_release import SLOTS, cost


def test_a_larger_fleet_costs_no_more_operations_a_circuit() -> None:
    small, large = cost(SLOTS), cost(4 * SLOTS)
    for kind, count in small.operations.items():
        assert large.operations[kind] / large.circuits <= count / small.circuits, kind
    # Some ask for a slot once or twice before they get one; that would be some hundred times if all were told at once.
    assert large.commands / large.circuits <= 1.2 * small.commands / small.circuits
