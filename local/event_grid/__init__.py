"""A local Event Grid: topics the real publisher client can send to, subscriptions, durable delivery and faults.

`EventGridService` is the whole of it; what it delivers and how often follows the published behaviour of the service.
"""

from local.event_grid.chaos import Chaos, ChaosRule
from local.event_grid.delivery import HandshakeFailed
from local.event_grid.schema import InputSchema
from local.event_grid.service import EventGridService
from local.event_grid.store import Delivery, DeliveryState, Topic
from local.event_grid.subscriptions import AdvancedFilter, DeadLetterDestination, Subscription

__all__ = [
    "AdvancedFilter",
    "Chaos",
    "ChaosRule",
    "DeadLetterDestination",
    "Delivery",
    "DeliveryState",
    "EventGridService",
    "HandshakeFailed",
    "InputSchema",
    "Subscription",
    "Topic",
]
