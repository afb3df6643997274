"""What a path of the SAE-locality repository names (sae_locality spec 1.2).

The grammar is two tables: folders that tell the strand, and per strand the files in them. A path that neither knows is
``unknown``; nothing is guessed from a name that merely looks alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from circuit_artifacts.schemas.sae_locality_mirror import PRESETS

__all__ = ["UNKNOWN", "Place", "classify", "is_link"]

UNKNOWN = "unknown"
_LEGACY = "legacy/"
_FIRST_CORPUS = "wikitext"  # of folders from the time before there was a dataset level

_TIME = r"\d{8}_\d{6}"
_RUN = rf"(?P<timestamp>{_TIME})(?:_(?P<variant>[^/]+))?/"
_ANY_PRESET = "|".join(map(re.escape, PRESETS))  # folders of other presets are known by their dataset level
_SITE = r"(?P<site>[a-z][a-z0-9_]*?)_layer(?P<layer>\d+)"
_TIER = r"(?:_(?P<tier>token|phrase|concept|abstract|all))?"
_PNG = r"[^/]+\.png"
_BATCH = r"batch_(?P<batch_idx>\d+)\.png"
# Folders of later cards, whose files have schemas that nobody has described (spec 1.3), and those of other strands.
_NO_PRESET = (
    "legacy|figures|_readme_assets|neuronpedia_cache|corpora|topact_all_features|autocorr_vs_entropy"
    "|feature_[^/]*|cherry_picked_[^/]*|ctxlen_[^/]*"
)

_FOLDERS: tuple[tuple[str, str], ...] = (
    ("depth", rf"(?P<preset>{_ANY_PRESET})/(?P<timestamp>{_TIME})/"),
    ("depth", rf"(?P<preset>(?!(?:{_NO_PRESET})/)[^/]+)/(?P<dataset>[^/]+)/(?P<timestamp>{_TIME})/"),
    ("context_length", rf"ctxlen_xmodel(?:_(?P<dataset>[^/]+))?/{_RUN}"),
    ("events", rf"cherry_picked_feature_entropy/{_RUN}"),
    ("case_studies", rf"feature_case_studies/{_RUN}"),
    ("geometry", rf"feature_geometry_vs_entropy/{_RUN}"),
    ("autocorrelation", rf"feature_activation_autocorr/{_RUN}"),
    ("neuronpedia", r"neuronpedia_cache/(?P<model>[^/]+)/(?P<sae>[^/]+)/"),
    ("figures", r"figures/"),
    ("assets", r"_readme_assets/"),
    ("curation", rf"(?P<preset>{_ANY_PRESET})/(?=[^/]+\.md$)"),
    ("flat", rf"(?:(?P<preset>{_ANY_PRESET})/)?(?=[^/]+$)"),
)
_FILES: Mapping[str, Mapping[str, str]] = {
    "depth": {
        "run_config": r"run_config\.json",
        "bench": r"bench\.json",
        "depth": rf"entropy_comparison_{_SITE}\.pt",
        "batch_plot": rf"entropy_plots_{_SITE}/{_BATCH}",
        "batch_index": rf"entropy_plots_{_SITE}/batch_index\.json",
    },
    "context_length": {
        "run_config": r"run_config\.json",
        "prompt": r"prompt\.txt",
        "prompt_meta": r"prompt\.txt\.meta\.json",
        "sweep": rf"(?P<preset>[^/]+)/entropy_vs_(?:context_len|batch_size)_{_SITE}_(?P<started>{_TIME})\.pt",
        "figure": rf"(?P<preset>[^/]+)/entropy_vs_(?:context_len|batch_size)_{_SITE}_(?P<started>{_TIME})/{_PNG}",
        "script": r"(?P<preset>[^/]+)/run\.sh",
    },
    "events": {
        "manifest": r"manifest\.json",
        "corpus_tokens": r"corpus_tokens\.pt",
        "top_contexts": r"top_contexts_layer(?P<layer>\d+)\.json",
        "top_contexts_text": r"top_contexts_layer(?P<layer>\d+)\.txt",
        "events": rf"ctx(?P<ctx>\d+){_TIER}\.csv",
        "influences": rf"influences(?:_ctx(?P<ctx>\d+))?{_TIER}\.npz",
        "adapter_log": r"adapter_log\.json",
        "quality": r"feature_quality_stats\.csv",
        "figure": rf"figures/(?:[^/]*_ctx(?P<ctx>\d+)[^/]*\.png|{_PNG})",
        "page": r"figures/[^/]+\.html",
    },
    "case_studies": {"manifest": r"manifest\.json", "page": r"feature_case_studies\.html"},
    "geometry": {
        "manifest": r"manifest\.json",
        "geometry_features": r"per_feature\.csv",
        "decoder_vectors": r"decoder_vectors\.pt",
        "cosine_matrix": r"cosine_matrix\.pt",
        "geometry_pairs": r"pairwise\.csv",
        "geometry_neighbours": r"feature_neighbour_summary\.csv",
        "neuronpedia_xcheck": r"neuronpedia_xcheck\.csv",
        "figure": rf"figures/{_PNG}",
        "page": r"figures/clusters3d(?:_tsne)?\.html",
    },
    "autocorrelation": {
        "run_config": r"run_config\.json",
        "selected_features": r"selected_features\.csv",
        "top_examples": r"top_examples\.csv",
        "traces": r"activation_traces\.npz",
        "curves": r"autocorr_curves\.csv",
        "entropy_targets": r"entropy_targets\.csv",
        "feature_summary": r"feature_summary\.csv",
        "corpus_meta": r"fineweb_corpus_meta\.json",
        "categories": r"corner_categories\.json",
        "contexts_text": r"sanity_contexts\.md",
        "figure": rf"figures/{_PNG}",
        "page": r"corner_features(?:_neuronpedia)?\.html",
    },
    "neuronpedia": {"neuronpedia": r"(?P<feature_id>\d+)\.json"},
    "figures": {
        "figure": r"entropy_vs_depth_(?:_(?P<preset>[^/]+?)__(?P<dataset>[^/]+)|crossmodel_grid[^/]*?"
        r"(?:__(?P<grid_dataset>[^/]+))?)\.png",
        "batch_plot": rf"entropy_plots_{_SITE}_(?P<timestamp>{_TIME})/{_BATCH}",
        "batch_index": rf"entropy_plots_{_SITE}_(?P<timestamp>{_TIME})/batch_index\.json",
    },
    "assets": {"figure": _PNG},
    "curation": {
        "candidates": r"candidate_features_l(?P<layer>\d+)\.md",
        "pilot_picks": r"pilot_picks_l(?P<layer>\d+)\.md",
    },
    "flat": {"depth": rf"entropy_comparison_{_SITE}_(?P<timestamp>{_TIME})\.pt"},
}
_LINK = re.compile(r"latest(?:_\w+)?")
_NUMBERS = frozenset({"layer", "ctx", "batch_idx", "feature_id"})


@dataclass(frozen=True, kw_only=True)
class Place:
    """What one path names; None where the path does not say.

    Attributes:
        path: relative to the repository's root.
        strand: the experiment it belongs to, or "unknown".
        kind: what file of the strand it is, or "unknown".
        run: the run's folder. A flat file of the first runs is given the folder that its timestamp would have named.
        dataset: the corpus; "wikitext" where the layout has no level for it yet.
        timestamp: of the run, ``YYYYMMDD_HHMMSS``.
        variant: what follows the timestamp in the folder's name.
        site: hookpoint, without the layer.
        ctx: context length in tokens.
        tier: of retired event tables.
        started: when the process that wrote a sweep file began.
        legacy: below ``legacy/``: superseded, and kept for provenance.
    """

    path: str
    strand: str = UNKNOWN
    kind: str = UNKNOWN
    run: str
    preset: str | None = None
    dataset: str | None = None
    timestamp: str | None = None
    variant: str | None = None
    site: str | None = None
    layer: int | None = None
    ctx: int | None = None
    tier: str | None = None
    batch_idx: int | None = None
    started: str | None = None
    model: str | None = None
    sae: str | None = None
    feature_id: int | None = None
    legacy: bool = False


def is_link(path: str) -> bool:
    """Whether a path is, or goes through, a link such as ``latest_neuronpedia``.

    They were symbolic links on the authors' machine; in copies they can be folders, or text files that name the target.
    """
    return any(map(_LINK.fullmatch, path.split("/")))


@lru_cache(maxsize=1 << 17)  # every config picks its files from the list of all of them
def classify(path: str) -> Place:
    """What a path names.

    Args:
        path: relative to the repository's root, with forward slashes.
    """
    legacy = path.startswith(_LEGACY)
    inner = path.removeprefix(_LEGACY)
    for strand, folder, files in _grammar():
        if not (outer := folder.match(inner)):
            continue
        for kind, pattern in files.items():
            if found := pattern.fullmatch(inner, outer.end()):
                captured = {name: text for name, text in (outer.groupdict() | found.groupdict()).items() if text}
                return _place(path, strand, kind, inner[: outer.end()], captured, legacy=legacy)
    return Place(path=path, run=path, legacy=legacy)


def _place(path: str, strand: str, kind: str, folder: str, captured: dict[str, str], *, legacy: bool) -> Place:
    if "grid_dataset" in captured:
        captured["dataset"] = captured.pop("grid_dataset")
    timestamp = captured.get("timestamp")
    # Not every run had a folder of its own, but every one has a timestamp.
    run = folder if timestamp is None or timestamp in folder else f"{folder}{timestamp}"
    strand = "depth" if strand == "flat" else strand
    if strand in {"depth", "context_length"}:
        captured.setdefault("dataset", _FIRST_CORPUS)
    values = {name: int(text) if name in _NUMBERS else text for name, text in captured.items()}
    run = (_LEGACY * legacy + run).rstrip("/")
    return Place(path=path, strand=strand, kind=kind, run=run, legacy=legacy, **values)  # type: ignore[arg-type]


@cache
def _grammar() -> tuple[tuple[str, re.Pattern[str], Mapping[str, re.Pattern[str]]], ...]:
    files = {strand: {kind: re.compile(file) for kind, file in kinds.items()} for strand, kinds in _FILES.items()}
    return tuple((strand, re.compile(folder), files[strand]) for strand, folder in _FOLDERS)
