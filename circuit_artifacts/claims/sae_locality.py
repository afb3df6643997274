"""SAE locality: what its card, its paper, its code and its pictures say (sae_locality spec 3, 10 and 11).

The card is mostly about the form of files. No number is published of the corpora beside WikiText, of the sweep on
FineWeb, of geometry or of autocorrelation.
"""

from __future__ import annotations

from circuit_artifacts.claims import sae_locality_checks as checks
from circuit_artifacts.claims import sae_locality_runs as runs
from circuit_artifacts.claims.model import Claim, Interval
from circuit_artifacts.claims.sae_locality_printed import PRINTED, PYTHIA_STARTS
from circuit_artifacts.compute.locality.feature_lists import feature_set
from circuit_artifacts.schemas.sae_locality_mirror import PRESETS

__all__ = ["claims"]

_CARD, _CODE = "dataset card", "the authors' code"
_PYTHIA = "entropy_pythia-70m_wikitext"
_ON_WIKITEXT = tuple(f"entropy_{preset}_wikitext" for preset in PRESETS)
_50, _64 = Interval.printed("50"), Interval.printed("64")
_SIZES = {"pythia-70m": 32_768, "gpt2-small": 32_768, "gemma-2-2b": 16_384, "llama-3-8b": 131_072}
# Read off a picture, in bits by layer.
_TOKEN_VECTOR = (1.824, 2.484, 3.201, 3.537, 3.808, 3.966)
_MEDIANS = (2.037, 2.818, 3.469, 3.816, 3.957, 4.109)
_PILOT = [label.feature_id for label in feature_set("pilot20").features]


def claims() -> tuple[Claim, ...]:
    """Claims about the files, then of printed numbers."""
    return (*_FILES, *_RUNS, *_ENTROPIES, *PRINTED)


def _in_words(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


_FILES = (
    Claim(
        name="depth_weights_only",
        statement="torch.load(weights_only=True) cannot work for the files of depth runs",
        source=f"{_CARD}, format note",
        needs=("entropy",),
        quantifier="first",
        check=checks.weights_only,
    ),
    Claim(
        name="sweep_weights_only",
        statement="nor for the files of the context-length sweep",
        source=f"{_CARD}, format note",
        needs=("ctxlen",),
        quantifier="first",
        check=checks.weights_only,
    ),
    Claim(
        name="activations_are_arrays",
        statement="depth files hold an array of activations per feature",
        source=f"{_CARD}, file schemas",
        needs=("entropy",),
        quantifier="first",
        check=checks.activations_per_token,
    ),
    Claim(
        name="sweep_token_vector",
        statement="sweep files hold the entropy of the token vector at every length",
        source=f"{_CARD}, file schemas",
        needs=("ctxlen",),
        quantifier="first",
        check=checks.sweep_has_token_vector,
    ),
    Claim(
        name="sweep_lengths",
        statement="the context lengths of the sweep are 8, 136, 264, ...",
        source=f"{_CARD}, file schemas",
        published="8, 136, 264",
        needs=("ctxlen",),
        quantifier="every",
        check=checks.sweep_begins((8, 136, 264)),
    ),
    Claim(
        name="event_columns",
        statement="tables of events have the columns event_idx, H_pos, peak_value and sum_J",
        source=f"{_CARD}, file schemas",
        needs=("events",),
        check=checks.column_names,
    ),
    Claim(
        name="influence_keys",
        statement="the arrays of influences are named by the rows of the table of events",
        source=f"{_CARD}, file schemas",
        needs=("influences",),
        check=checks.influence_keys,
    ),
    Claim(
        name="geometry_manifest",
        statement="the manifest of a geometry run has a correlation and quantiles of its null distribution, by name",
        source=f"{_CARD}, file schemas",
        needs=("runs",),
        check=runs.manifest_fields,
    ),
    Claim(
        name="pairs_of_features",
        statement="the table of pairs has one row for every two features",
        source=_CODE,
        kind="structural",
        needs=("geometry_features", "geometry_pairs"),
        check=checks.pairs_of_features,
    ),
    Claim(
        name="traces",
        statement="activation traces are 64 tokens to each side of a peak, which is 1.0",
        source=f"{_CARD}, file schemas",
        kind="structural",
        needs=("autocorr_examples",),
        check=checks.traces,
    ),
)

_RUNS = (
    Claim(
        name="cells",
        statement="there are depth runs of six models on three corpora",
        source=f"{_CARD}, presets and layout",
        published=Interval.printed("18"),
        needs=("runs",),
        check=runs.cells,
    ),
    Claim(
        name="windows",
        statement="a depth run has 50 windows",
        source=f"{_CARD}, file schemas",
        published=_50,
        needs=("runs",),
        check=runs.run_setting("num_batches", _50),
    ),
    Claim(
        name="context_length",
        statement="the windows of depth runs are 64 tokens long",
        source=_CODE,
        published=_64,
        needs=("runs",),
        check=runs.run_setting("context_len", _64),
    ),
    Claim(
        name="latest_run",
        statement="the run with the greatest timestamp is the one to read: no earlier one has more files",
        source=f"{_CARD}, caveats; the other side by the rule of {_CODE}",
        needs=("runs",),
        check=runs.latest_is_largest,
    ),
    Claim(
        name="architecture_hints",
        statement="run_config.json states the architecture of the autoencoders",
        source="run_config.json of depth runs",
        needs=("runs", *_ON_WIKITEXT),
        quantifier="every",
        check=checks.architecture_hints,
    ),
    Claim(
        name="dictionary_sizes",
        statement="the autoencoders of pythia-70m and gpt2-small have 32,768 features, of gemma-2-2b 16,384, of "
        "llama-3-8b 131,072",
        source=f"{_CODE}, notes on pretrained autoencoders",
        published="32,768, 32,768, 16,384, 131,072",
        needs=tuple(f"entropy_{preset}_wikitext" for preset in _SIZES),
        quantifier="every",
        check=checks.dictionary_sizes(_SIZES),
    ),
    Claim(
        name="start_indices",
        statement="the windows of pythia-70m on WikiText are those that seed 0 draws, the third at token 169,792",
        source="log of the authors' cluster; the rule by their code",
        published=Interval.printed("169,792"),
        needs=(_PYTHIA,),
        check=checks.start_indices(PYTHIA_STARTS),
    ),
)

_ENTROPIES = (
    Claim(
        name="entropy_formula",
        statement="an entropy is that of the influences over their sum, to base 2",
        source=f"{_CARD}, meaning of H_pos",
        kind="structural",
        needs=("entropy",),
        quantifier="first",
        check=checks.entropies_from_influences,
    ),
    Claim(
        name="entropy_rises",
        statement="features look back further in deeper layers: their mean entropy rises with depth",
        source="paper",
        kind="structural",
        needs=("entropy",),
        quantifier="first",
        check=checks.entropy_rises("features", "entropy_bits"),
    ),
    Claim(
        name="token_entropy_rises",
        statement="so does that of the token vector",
        source="published figures of entropy by depth",
        kind="structural",
        needs=("entropy",),
        quantifier="first",
        check=checks.entropy_rises("windows", "token_entropy_bits"),
    ),
    Claim(
        name="pythia_token_vector",
        statement="mean entropies of the token vector of pythia-70m by layer, within 0.02 bits",
        source="published figure of entropy by depth, read off its pixels",
        published=_in_words(_TOKEN_VECTOR),
        needs=(_PYTHIA,),
        check=checks.curve("windows", "token_entropy_bits", _TOKEN_VECTOR),
    ),
    Claim(
        name="pythia_medians",
        statement="medians over the features of pythia-70m of their mean entropies by layer, within 0.02 bits",
        source="published figure of entropy by depth, read off its pixels",
        published=_in_words(_MEDIANS),
        needs=(_PYTHIA,),
        check=checks.curve("features", "entropy_bits", _MEDIANS, per_feature=True),
    ),
    Claim(
        name="continuum_extremes",
        statement="of the 20 pilot features 11372 is the most localised and 13603 the most spread, at 128 tokens",
        source=f"{_CODE}, figure of the continuum",
        published="11372, 13603",
        needs=("events",),
        check=checks.extremes(_PILOT, 11_372, 13_603),
    ),
)
