"""A channel of each kind, new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.approvals.channels import Channel, Embedded, OnDevops


@pytest.fixture
def embedded() -> Channel:
    return Embedded()


@pytest.fixture(scope="session")
def one_devops() -> Iterator[OnDevops]:
    channel = OnDevops()
    with channel.azure:
        channel.renew()
        yield channel


@pytest.fixture
def devops(one_devops: OnDevops) -> OnDevops:
    one_devops.renew()
    return one_devops


@pytest.fixture(params=["embedded", "devops"])
def channel(request: pytest.FixtureRequest) -> Channel:
    found: Channel = request.getfixturevalue(request.param)
    return found
