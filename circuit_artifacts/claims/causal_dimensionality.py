"""Causal dimensionality: its published numbers, held against results and against each other (spec 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from circuit_artifacts.causal_dimensionality import consistency
from circuit_artifacts.causal_dimensionality.facts import published_facts
from circuit_artifacts.causal_dimensionality.statements import STATEMENTS
from circuit_artifacts.claims import causal_dimensionality_checks as checks
from circuit_artifacts.claims.arithmetic import arithmetic
from circuit_artifacts.claims.model import Check, Claim, Interval, Outcome
from circuit_artifacts.schemas.causal_dimensionality import Headline

__all__ = ["claims"]

_SOURCES = {"card": "dataset card", "abstract": "abstract of arXiv:2605.08740v1"}
_STRUCTURAL_STATEMENTS = {
    "wedge": "from the narrowest autoencoder to the widest, firing features grow more than causal ones",
    "encoder_filters": "with a random encoder more features are causal than with the trained one",
    "atp_follows_exact": "attribution patching ranks features much as exact ablation does (correlation above 0.5)",
    "recall_grows": "the recall of an agreement circuit grows as the threshold is lowered",
    "participation_below_rank": "the participation ratio is at most the effective rank of the same spectrum",
}


def claims() -> tuple[Claim, ...]:
    """Published numbers, what holds in any run, words on the dictionaries, and the checks of consistency."""
    return (*_numbers(), *_structural(), *_WORDS, *_consistency())


def _numbers() -> Iterator[Claim]:
    for fact in published_facts().values():
        if fact.source in _SOURCES:  # widths and sizes of the models concerned are no claims
            published = _interval(fact)
            needs, check = _measure(fact.id, published)
            yield Claim(
                name=fact.id,
                statement=fact.quantity,
                source=_SOURCES[fact.source],
                published=published,
                needs=needs,
                check=check,
            )


def _measure(number: str, published: Interval) -> tuple[tuple[str, ...], Check]:
    """The configs that have a number, and how."""
    if number in checks.RESULTS:
        return ("results",), checks.in_some_result(checks.RESULTS[number], published)
    if number in checks.DICTIONARIES:
        return ("sae_inventory",), checks.DICTIONARIES[number]
    return (), checks.not_in_files


def _interval(fact: Headline) -> Interval:
    """Where the digits that count are not known, as in "about 1,990", the last zero does not (ours)."""
    if fact.decimals is None:
        return Interval.printed(f"{fact.published:,.0f}", decimals=-1)
    return Interval.printed(f"{fact.published:,.{fact.decimals}f}")


def _structural() -> Iterator[Claim]:
    for name, check in checks.STRUCTURAL.items():
        yield Claim(
            name=name,
            statement=_STRUCTURAL_STATEMENTS[name],
            source="dataset card and definitions, without their numbers",
            kind="structural",
            needs=("results",),
            check=check,
        )


_WORDS = (
    Claim(
        name="jumprelu_style",
        statement="the dictionaries are JumpReLU autoencoders in style",
        source="dataset card, weights",
        needs=("sae_inventory",),
        check=checks.plain_relu,
    ),
    arithmetic(
        "random_orthonormal_encoder",
        "the encoder of 16,384 features is replaced by a random orthonormal matrix",
        "dataset card",
        Outcome(STATEMENTS["orthonormal_impossible"].sentence, holds=False),
    ),
)


def _consistency() -> Iterator[Claim]:
    facts = published_facts()
    for verdict in consistency.evaluate():
        sources = {_SOURCES[facts[name].source] for name in verdict.values if facts[name].source in _SOURCES}
        yield arithmetic(
            f"consistency_{verdict.name}",
            f"these agree: {_listed(verdict.values)}",
            " and ".join(sorted(sources, reverse=True)),
            Outcome(verdict.sentence, holds=verdict.holds),
        )


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.12g}" for name, value in values.items())
