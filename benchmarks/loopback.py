"""The tests' loopback Hub, for benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hub import LoopbackHub, point_clients_at

__all__ = ["LoopbackHub", "point_clients_at"]
