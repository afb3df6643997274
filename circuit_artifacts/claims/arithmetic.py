"""Claims that published numbers settle among themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuit_artifacts.claims.model import Claim, Interval, Outcome

if TYPE_CHECKING:
    from circuit_artifacts.claims.data import Data

__all__ = ["arithmetic", "result"]


def arithmetic(name: str, statement: str, source: str, outcome: Outcome, printed: str | None = None) -> Claim:
    """A claim whose outcome is known.

    Args:
        name: as of any claim.
        statement: as of any claim.
        source: as of any claim.
        outcome: what follows from other published numbers.
        printed: the number that it is to be, if the claim is one.
    """

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        del data, configs
        return outcome

    published = None if printed is None else Interval.printed(printed)
    return Claim(name=name, statement=statement, source=source, check=check, kind="arithmetic", published=published)


def result(number: float, expression: str) -> Outcome:
    """What an expression comes to, for comparison with a printed number."""
    return Outcome(f"{expression} is {number:,.6g}", number)
