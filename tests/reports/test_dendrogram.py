from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from scipy.cluster import hierarchy

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.dendrogram import draw_dendrogram

LINKAGE = hierarchy.linkage(np.random.default_rng(0).random((6, 3)), method="ward")
LABELS = ["ast__Break", "ast__For", "ast__Pass", "builtin___isolated_", "builtin__abs", "builtin__list"]


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n"), (".pdf", b"%PDF-")])
def test_figure_is_written_and_the_same_every_time(tmp_path: Path, suffix: str, magic: bytes) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in ("first", "second")]
    before = dict(mpl.rcParams)
    for path in paths:
        draw_dendrogram(LINKAGE, LABELS, path, title="Universal masks at layer 3")
    assert paths[0].read_bytes().startswith(magic)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert dict(mpl.rcParams) == before


def test_labels_must_match_the_leaves(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="one label per leaf"):
        draw_dendrogram(LINKAGE, LABELS[:-1], tmp_path / "figure.png", title="")
