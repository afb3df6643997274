"""Streams in torch's DataLoader: several workers, started either way, share the rows."""

from __future__ import annotations

from collections import Counter

import pytest
from atlas_fixture import write_atlas

from circuit_artifacts import load_dataset

torch_data = pytest.importorskip("torch.utils.data")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    pairs = [("For", "list"), ("For", "int"), ("If", "list")]
    return str(write_atlas(tmp_path_factory.mktemp("narrow"), pairs=pairs, n_prompts=4, width=48).folder)


@pytest.mark.parametrize(("method", "workers"), [(None, 0), ("fork", 2), ("spawn", 1)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_workers_share_the_rows(folder: str, method: str | None, workers: int) -> None:
    stream = load_dataset(
        "csp-atlas", "masks_eps0.5_cons0.8", data_root=folder, split="pair", streaming=True, mask_format="dense"
    ).with_format("torch")
    loader = torch_data.DataLoader(stream, batch_size=4, num_workers=workers, multiprocessing_context=method)
    seen: Counter[tuple[str, str, int]] = Counter()
    for batch in loader:
        assert batch["mask"].shape[1:] == (48,)
        assert batch["mask"].sum(1).tolist() == batch["size"].tolist()
        seen.update(zip(batch["ast_node"], batch["builtin_obj"], batch["layer"].tolist(), strict=True))
    pairs = [("For", "list"), ("For", "int"), ("If", "list")]
    assert seen == Counter({(*pair, layer): 1 for pair in pairs for layer in range(8)})
