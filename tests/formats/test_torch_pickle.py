"""Torch files: tensors and containers load, anything that would run code is named and refused unrun."""

import collections
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_artifacts.errors import FormatError, MissingArtifactError, UnsafeContentError
from circuit_artifacts.formats.torch_pickle import load_torch

Save = Callable[[object], Path]

CONTENT = {"weight": torch.arange(6.0).reshape(2, 3), "steps": [1, 2], "name": "x", 5: (None, True)}


class Trap:
    """Unpickling this would make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Save:
    def write(content: object) -> Path:
        torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=request.param)
        return tmp_path / "file.pt"

    return write


def test_plain_content_comes_back(save: Save) -> None:
    content = load_torch(save(CONTENT))
    assert torch.equal(content.pop("weight"), CONTENT["weight"])
    assert content == {key: value for key, value in CONTENT.items() if key != "weight"}


def test_content_that_runs_code_is_refused_by_name_and_not_run(save: Save, tmp_path: Path) -> None:
    path = save({"weight": torch.ones(2), "trap": Trap(tmp_path / "made")})
    with pytest.raises(UnsafeContentError, match=r"posix\.mkdir|nt\.mkdir") as caught:
        load_torch(path)
    assert caught.value.file == str(path)
    assert not (tmp_path / "made").exists()


def test_globals_are_allowed_by_the_caller_only(save: Save) -> None:
    path = save({"array": np.arange(3.0)})
    with pytest.raises(UnsafeContentError, match=r"numpy.*_reconstruct"):
        load_torch(path)
    reconstruct = np._core.multiarray._reconstruct
    allowed = [(reconstruct, "numpy._core.multiarray._reconstruct"), np.ndarray, np.dtype, np.dtypes.Float64DType]
    assert load_torch(path, allowed=allowed)["array"].tolist() == [0, 1, 2]
    with pytest.raises(UnsafeContentError):
        load_torch(path)


def test_counters_load_without_permission(save: Save) -> None:
    assert load_torch(save(collections.Counter(a=2))) == {"a": 2}


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.98])
def test_truncated_files_are_format_errors(save: Save, keep: float) -> None:
    path = save(CONTENT)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep != 0.5 and keep != 0.98 else keep * len(data))])
    with pytest.raises(FormatError) as caught:
        load_torch(path)
    assert caught.value.file == str(path)


def test_other_files_are_format_errors(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError):
        load_torch(tmp_path / "absent.pt")
    path = tmp_path / "text.pt"
    path.write_text("<!doctype html>")
    with pytest.raises(FormatError, match="truncated or not a torch file"):
        load_torch(path)
