"""The loaders of the paper's code, with its keywords and return types (csp_atlas spec 1.9), and arrays.

Behind them are the sources of `load_dataset`: a missing file is downloaded or derived. ``stage="checker"`` works.
Unlike the originals they never leave out an absent layer silently: that is a `SchemaError`.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts import catalog
from circuit_artifacts.csp_atlas.tables import read_target_checker
from circuit_artifacts.errors import UnknownNameError, located
from circuit_artifacts.formats.hdf5 import open_dataset, open_group, open_hdf5, read_strings
from circuit_artifacts.formats.hdf5.leaves import read_layers, true_positions
from circuit_artifacts.formats.reader import Shape, read_table
from circuit_artifacts.schemas.csp_vocabulary import split_pair
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.sources import Sources

__all__ = [
    "LabelledMasks",
    "load_concept_inventory",
    "load_modularity_scores",
    "load_pair_masks",
    "load_prompts",
    "load_summary",
    "load_target_checker",
    "load_token_independence",
    "load_universal_masks",
    "load_universal_masks_as_arrays",
    "masks_array",
]

Which = Literal["universal", "pair", "checker", "token_checker"]
Stage = Literal["object", "checker"]
PathLike = str | Path
Key = TypeVar("Key")

_MASKS: dict[Which, tuple[str, str]] = {
    "universal": ("masks", "universal_masks"),
    "pair": ("masks", "pair_masks"),
    "checker": ("checker_masks", "token_checker_masks"),
    "token_checker": ("token_checker_masks", "token_checker_masks"),
}
_STAGES: dict[str, Which] = {"object": "universal", "checker": "checker"}


class LabelledMasks(NamedTuple):
    """Masks as one array.

    Attributes:
        masks: bool (concept, layer, dimension).
        labels: concept keys, or for pairs ``<Node>__<builtin>`` keys, in ASCII order: one per first index.
    """

    masks: npt.NDArray[np.bool_]
    labels: list[str]


def masks_array(
    eps: float = 0.5,
    cons: float = 0.8,
    which: Which = "universal",
    *,
    data_root: PathLike | None = None,
    mirror: str = "csp-atlas",
) -> LabelledMasks:
    """All masks of one file as one array: the fast way.

    Args:
        eps: threshold on the mean |activation|.
        cons: threshold on the firing rate.
        which: "universal", "pair", "checker", or "token_checker" (whose file has one setting: eps and cons are unused).
        data_root: a folder in the published layout.
        mirror: "csp-atlas" or "csp-atlas-mini".

    Raises:
        UnknownNameError: no such setting or kind of mask.
        MissingArtifactError: the file could not be had.
        FormatError: it is truncated.
        SchemaError: it is not what the schema declares.
    """
    return _masks(which, eps, cons, data_root, mirror)[1]


def load_universal_masks(
    *,
    eps: float = 0.5,
    cons: float = 0.8,
    stage: Stage = "object",
    data_root: PathLike | None = None,
    mirror: str = "csp-atlas",
) -> dict[str, dict[int, set[int]]]:
    """Active dimensions per concept and layer: ``{concept: {layer: {dimension, ...}}}``."""
    masks, labels = masks_array(eps, cons, _stage(stage), data_root=data_root, mirror=mirror)
    return _as_sets(masks, labels)


def load_universal_masks_as_arrays(
    *,
    eps: float = 0.5,
    cons: float = 0.8,
    stage: Stage = "object",
    data_root: PathLike | None = None,
    mirror: str = "csp-atlas",
) -> dict[str, dict[int, npt.NDArray[np.bool_]]]:
    """Masks per concept and layer: ``{concept: {layer: bool (dimension,)}}``."""
    masks, labels = masks_array(eps, cons, _stage(stage), data_root=data_root, mirror=mirror)
    return {label: dict(enumerate(rows)) for label, rows in zip(labels, masks, strict=True)}


def load_pair_masks(
    *,
    eps: float = 0.5,
    cons: float = 0.8,
    layer: int | None = None,
    data_root: PathLike | None = None,
    mirror: str = "csp-atlas",
) -> dict[tuple[str, str], dict[int, set[int]]]:
    """Active dimensions per pair and layer: ``{(node, builtin): {layer: {dimension, ...}}}``.

    Raises:
        UnknownNameError: no such layer.
    """
    path, (masks, labels) = _masks("pair", eps, cons, data_root, mirror)
    with located(path):
        pairs = [split_pair(label) for label in labels]
    if layer is None:
        return _as_sets(masks, pairs)
    if not 0 <= layer < masks.shape[1]:
        problem = f"there is no layer {layer}"
        raise UnknownNameError(problem, expected=f"0 to {masks.shape[1] - 1}")
    sets = _as_sets(masks[:, layer : layer + 1], pairs)
    return {pair: {layer: by_layer[0]} for pair, by_layer in sets.items()}


def load_concept_inventory(
    *, eps: float = 0.5, cons: float = 0.8, data_root: PathLike | None = None, mirror: str = "csp-atlas"
) -> tuple[list[str], list[str]]:
    """The AST nodes and the builtin objects that a mask file names, in its order."""
    path = _path(_config(mirror, "masks", eps, cons), mirror, data_root)
    with open_hdf5(path) as file:
        metadata = open_group(file, "metadata")
        nodes, builtins = (read_strings(open_dataset(metadata, name)) for name in ("ast_nodes", "builtin_objs"))
    return nodes, builtins


def load_prompts(
    kind: Literal["object", "checker", "token_checker"] = "object",
    *,
    data_root: PathLike | None = None,
    mirror: str = "csp-atlas",
) -> pd.DataFrame:
    """The prompts of a kind."""
    return _frame(f"{kind}_prompts", mirror, data_root)


def load_summary(*, data_root: PathLike | None = None, mirror: str = "csp-atlas") -> pd.DataFrame:
    """Fractions per setting (``14_summary.csv``)."""
    return _frame("summary", mirror, data_root)


def load_target_checker(
    *, eps: float = 0.5, cons: float = 0.8, data_root: PathLike | None = None, mirror: str = "csp-atlas"
) -> pd.DataFrame:
    """The decomposition table: `target` as an ordinary column, then ``L0`` ... with cells ``co / sh / to``."""
    path = _path(_config(mirror, "target_checker", eps, cons), mirror, data_root)
    return read_target_checker(path)


def load_modularity_scores(
    *, detail: bool = False, data_root: PathLike | None = None, mirror: str = "csp-atlas"
) -> pd.DataFrame:
    """Scores indexed by concept, or the table per layer and trim level."""
    if detail:
        return _frame("modularity_detail", mirror, data_root)
    frame = _frame("modularity_scores", mirror, data_root).set_index("concept")
    frame.index.name = None
    return frame


def load_token_independence(
    kind: Literal["summary", "detail", "no_keyword"] = "summary",
    *,
    data_root: PathLike | None = None,
    mirror: str = "csp-atlas",
) -> pd.DataFrame:
    """One of the three token-independence tables."""
    return _frame(f"token_independence_{kind}", mirror, data_root)


def _masks(
    which: Which, eps: float, cons: float, data_root: PathLike | None, mirror: str
) -> tuple[Path, LabelledMasks]:
    if which not in _MASKS:
        problem = f"there are no masks called {which!r}"
        raise UnknownNameError(problem, expected=", ".join(_MASKS))
    family, group = _MASKS[which]
    config = _config(mirror, family, eps, cons)
    path = _path(config, mirror, data_root)
    shape = Shape.of(path, catalog.mirror(mirror))
    labels, masks = read_layers(path, group, dtype=np.bool_, shape=shape, config=config)
    return path, LabelledMasks(masks, labels)


def _config(mirror: str, family: str, eps: float, cons: float) -> Config:
    for config in catalog.family(mirror, family).configs:
        if not config.setting or (config.setting["eps"], config.setting["cons"]) == (eps, cons):
            return config
    problem = f"{family} has no setting eps={eps}, cons={cons}"
    grid = sorted({(c.setting["eps"], c.setting["cons"]) for c in catalog.family(mirror, family).configs})
    raise UnknownNameError(problem, expected=f"one of {grid}")


def _path(config: Config, mirror: str, data_root: PathLike | None) -> Path:
    sources = Sources(mirror=catalog.mirror(mirror), data_root=Path(data_root) if data_root else None)
    path = sources.fetch(config)[config.name]
    assert isinstance(path, Path)
    return path


def _frame(config_name: str, mirror: str, data_root: PathLike | None) -> pd.DataFrame:
    config = catalog.config(mirror, config_name)
    path = _path(config, mirror, data_root)
    frame: pd.DataFrame = read_table(catalog.mirror(mirror), config, path).to_pandas()
    return frame


def _stage(stage: Stage) -> Which:
    if stage not in _STAGES:
        problem = f"there is no stage {stage!r}"
        raise UnknownNameError(problem, expected=", ".join(_STAGES))
    return _STAGES[stage]


def _as_sets(masks: npt.NDArray[np.bool_], labels: list[Key]) -> dict[Key, dict[int, set[int]]]:
    n_layers = masks.shape[1]
    offsets, dimensions = true_positions(masks.reshape(-1, masks.shape[2]))
    values = dimensions.tolist()
    sets = [set(values[start:stop]) for start, stop in itertools.pairwise(offsets.tolist())]
    return {
        label: dict(enumerate(sets[index * n_layers : (index + 1) * n_layers])) for index, label in enumerate(labels)
    }
