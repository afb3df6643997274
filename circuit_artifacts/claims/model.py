"""What a claim is, which numbers a printed one stands for, and what can be said of a claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from circuit_artifacts.claims.data import Data

__all__ = [
    "Check",
    "Claim",
    "Interval",
    "Kind",
    "NoDataError",
    "Outcome",
    "Quantifier",
    "Status",
    "Verdict",
    "few",
    "no_data_if",
]

Kind = Literal["published", "structural", "arithmetic"]
Quantifier = Literal["all", "every", "some", "first"]
Status = Literal["holds", "fails", "no data"]


@dataclass(frozen=True)
class Interval:
    """The numbers that a printed one may stand for, rounded half up: "97.9" is any from 97.85 on and below 97.95.

    Attributes:
        text: as printed.
        least: the printed number, or the smaller of two that bound a range.
        greatest: the printed number, or the larger one.
        low: the smallest number that rounds to `least`.
        high: the smallest number that rounds to more than `greatest`.
    """

    text: str
    least: Decimal
    greatest: Decimal
    low: Decimal
    high: Decimal

    @classmethod
    def printed(cls, text: str, *, decimals: int | None = None) -> Interval:
        """The interval of one number.

        Args:
            text: such as "97.9" or "63,800".
            decimals: digits after the point that count; negative if the last digits before it do not. None counts the
                digits that are printed, so that an integer is itself and nothing else.
        """
        return cls.between(text, text, decimals=decimals, text=text)

    @classmethod
    def between(cls, least: str, greatest: str, *, decimals: int | None = None, text: str | None = None) -> Interval:
        """The interval of a range, "4 to 9": from what rounds to its lower end to what rounds to its upper one."""
        ends = [Decimal(end.replace(",", "")) for end in (least, greatest)]
        shown = [max(-int(end.as_tuple().exponent), 0) if decimals is None else decimals for end in ends]
        halves = [Decimal(5).scaleb(-digits - 1) for digits in shown]
        return cls(text or f"{least} to {greatest}", ends[0], ends[1], ends[0] - halves[0], ends[1] + halves[1])

    def __contains__(self, number: float) -> bool:
        return not math.isnan(number) and self.low <= Decimal(number) < self.high

    def distance(self, number: float) -> float:
        """The number less the printed one; of a range, less its nearest end, and 0 inside."""
        exact = Decimal(number)
        return float(exact - min(max(exact, self.least), self.greatest))

    def farthest(self, numbers: Iterable[float]) -> float:
        """Of numbers that should all be printed like this one, the one that is least like it."""
        return max(map(float, numbers), key=lambda number: abs(self.distance(number)))


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        sentence: what is there, without a full stop.
        measured: the number that speaks for or against the claim, if there is one.
        holds: whether the claim holds; None leaves it to the measured number and the claim's interval.
    """

    sentence: str
    measured: float | None = None
    holds: bool | None = None


Check = Callable[["Data", Sequence[str]], Outcome]
"""Called with the data and the configs of the claim that are there; may raise `NoDataError`."""


class NoDataError(Exception):
    """The files are there, but do not hold what a claim is about; the message says what they lack."""


def no_data_if(condition: bool, lacking: str) -> None:  # noqa: FBT001 - it reads as a sentence
    """Raise `NoDataError` with what the files lack."""
    if condition:
        raise NoDataError(lacking)


def few(names: Sequence[str]) -> str:
    """Some names for a sentence: the first three, and how many there are beside them."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published statement.

    Attributes:
        name: short name.
        statement: what is claimed, in our words.
        source: where it is published.
        check: decides it.
        kind: "published" is about the numbers in the published files, which files of another run can neither confirm
            nor refute; "structural" is about any run of the experiment; "arithmetic" needs published numbers only.
        published: the number or text as printed, if the claim is one.
        needs: configs, or families for all of their configs.
        quantifier: "all" of them are needed; or it is a claim about "every" one, which a single one refutes, or about
            "some", which a single one confirms; or the "first" one that is there serves.
    """

    name: str
    statement: str
    source: str
    check: Check
    kind: Kind = "published"
    published: Interval | str | None = None
    needs: tuple[str, ...] = ()
    quantifier: Quantifier = "all"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What can be said of a claim here.

    Attributes:
        claim: the claim.
        status: "holds", "fails", or "no data" if what is on this machine does not tell.
        sentence: why.
        measured: the number behind it, if there is one.
        distance: of a number that another run gave, how far it is from the published one.
        regenerated: whether it was measured on files of another run than the published one; None without files.
    """

    claim: Claim
    status: Status
    sentence: str
    measured: float | None = None
    distance: float | None = None
    regenerated: bool | None = None

    @property
    def row(self) -> dict[str, Any]:
        """As one JSON object: what counts first, then the claim."""
        claim, printed = self.claim, self.claim.published
        interval = printed if isinstance(printed, Interval) else None
        return {
            "claim": claim.name,
            "verdict": self.status,
            "published": printed.text if isinstance(printed, Interval) else printed,
            "measured": self.measured,
            "why": self.sentence,
            "statement": claim.statement,
            "source": claim.source,
            "kind": claim.kind,
            "regenerated": self.regenerated,
            "distance": self.distance,
            "low": float(interval.low) if interval else None,
            "high": float(interval.high) if interval else None,
            "needs": list(claim.needs),
        }
