"""Approvals in the embedded mode: people answer the product's own HTTP endpoint; who is asked is told on the topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.ports import Ask, Asked, Topic


class TopicApprovals:
    """Announces that a gate is open, or no longer; the open gates themselves are in the state."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic

    def request(self, approval_id: str, instructions: Mapping[str, Any]) -> Asked:
        payload = {"approval": approval_id, **instructions}
        self._topic.publish("SensorForecast.ApprovalRequested", f"approvals/{approval_id}", payload)
        return Asked()

    def withdraw(self, approval_id: str, reason: str) -> None:
        payload = {"approval": approval_id, "reason": reason}
        self._topic.publish("SensorForecast.ApprovalWithdrawn", f"approvals/{approval_id}", payload)

    def look(self, approval_id: str, digest: str) -> Sequence[Ask]:
        return ()
