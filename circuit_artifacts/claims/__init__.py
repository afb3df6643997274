"""Published claims as data, and verdicts on them from the files and from each other."""

from __future__ import annotations

from circuit_artifacts.claims.evaluate import evaluate
from circuit_artifacts.claims.model import Claim, Interval, Outcome, Verdict

__all__ = ["Claim", "Interval", "Outcome", "Verdict", "evaluate"]
