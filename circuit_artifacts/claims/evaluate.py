"""Verdicts: each claim of a mirror against what is on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Claim, Interval, NoDataError, Outcome, Status, Verdict
from circuit_artifacts.errors import CircuitArtifactsError, UnknownNameError
from circuit_artifacts.extras import extras_named
from circuit_artifacts.progress import track
from circuit_artifacts.schemas.declaration import Mirror, import_string
from circuit_artifacts.sources import Sources

__all__ = ["claims_of", "evaluate"]


def claims_of(mirror: Mirror) -> tuple[Claim, ...]:
    """The published claims that a mirror's files can be held against.

    Raises:
        UnknownNameError: none are known.
    """
    if mirror.claims is None:
        problem = f"no published claims of {mirror.name} are known"
        raise UnknownNameError(problem)
    claims: tuple[Claim, ...] = import_string(mirror.claims)()
    return claims


def evaluate(sources: Sources, claims: Sequence[Claim] | None = None) -> list[Verdict]:
    """Hold claims against the files that are on this machine, or can be derived there without a model.

    Args:
        sources: of the mirror; nothing is downloaded.
        claims: in place of all of the mirror's.

    Returns:
        A verdict for each claim, in their order.

    Raises:
        UnknownNameError: no claims are known.
        SourceError: the sources name a folder that is none.
    """
    chosen = claims_of(sources.mirror) if claims is None else claims
    data = Data(sources, dict.fromkeys(name for claim in chosen for name in _wanted(claim, sources.mirror)))
    return [_verdict(claim, data) for claim in track(chosen, "checking claims", total=len(chosen))]


def _wanted(claim: Claim, mirror: Mirror) -> Iterator[str]:
    """Names of configs: what a claim needs, families taken apart."""
    for name in claim.needs:
        family = mirror.family_by_name.get(name)
        yield from [name] if family is None else [config.name for config in family.configs]


def _verdict(claim: Claim, data: Data) -> Verdict:
    wanted = list(_wanted(claim, data.mirror))
    here = [name for name in wanted if name in data.files]
    missing = [name for name in wanted if name not in data.files]
    if wanted and (not here or (missing and claim.quantifier == "all")):
        return Verdict(claim=claim, status="no data", sentence=_what_is_missing(missing, data))
    here = here[:1] if claim.quantifier == "first" else here
    try:
        with extras_named():
            regenerated = data.regenerated(here) if wanted else None
            outcome = claim.check(data, here)
    except (NoDataError, CircuitArtifactsError) as reason:
        return Verdict(claim=claim, status="no data", sentence=str(reason))
    lacking = _what_is_missing(missing, data) if missing and claim.quantifier != "first" else None
    return _judged(claim, outcome, regenerated=regenerated, lacking=lacking)


def _judged(claim: Claim, outcome: Outcome, *, regenerated: bool | None, lacking: str | None) -> Verdict:
    interval = claim.published if isinstance(claim.published, Interval) else None
    measured = None if outcome.measured is None else float(outcome.measured)
    if outcome.holds is not None:
        holds = outcome.holds
    else:
        assert interval is not None
        assert measured is not None
        holds = measured in interval
    status: Status = "holds" if holds else "fails"
    sentence, distance = outcome.sentence, None
    if regenerated and claim.kind == "published":
        status = "no data"
        distance = interval.distance(measured) if interval is not None and measured is not None else None
        sentence = f"{sentence}; regenerated{_apart(distance)}, which settles nothing"
    else:
        sentence += ", in regenerated data" if regenerated else ""
        if lacking and holds == (claim.quantifier == "every"):  # what is missing may speak against it, or for it
            status, sentence = "no data", f"{sentence}; {lacking}"
    return Verdict(
        claim=claim, status=status, sentence=sentence, measured=measured, distance=distance, regenerated=regenerated
    )


def _apart(distance: float | None) -> str:
    if distance is None:
        return ""
    return f": differs by {distance:+.4g}" if distance else ": the published number"


def _what_is_missing(missing: Sequence[str], data: Data) -> str:
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{data.missing[missing[0]]}{more}"
