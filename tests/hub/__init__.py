"""A small Hub on the loopback interface, for the real and unmodified `huggingface_hub` and `datasets` clients.

It speaks the part of the Hub's HTTP interface that those clients use (hub_and_viewer spec 3), counts every request and
every byte, and misbehaves on demand.
"""

from __future__ import annotations

from hub.clients import forget_connections, point_clients_at
from hub.faults import Fault
from hub.log import Request
from hub.loopback import LoopbackHub

__all__ = ["Fault", "LoopbackHub", "Request", "forget_connections", "point_clients_at"]
