"""Records of derived files: beside them, inside them, and none for published data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from circuit_artifacts import provenance
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.provenance import Provenance

RECORD = Provenance(
    mirror="csp-atlas",
    step="object masks",
    model={"reference": "mini", "sha256": "ab"},
    n_layers=3,
    width=64,
    parameters={"seed": 42, "rule": "mean"},
    inputs={"12.h5": "sha256:00"},
    versions={"python": "3.11"},
)


def test_what_is_embedded_has_no_date() -> None:
    # Holds down: files that differ on every run because they hold the time.
    dated = RECORD.model_copy(update={"date": "2026-01-01T00:00:00+00:00"})
    assert dated.embedded() == RECORD.embedded()
    assert "date" not in json.loads(RECORD.embedded())


def test_the_record_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "masks.csv"
    with provenance.derived_file(path, RECORD) as temporary:
        assert not path.exists()
        temporary.write_text("a\n")
    assert path.read_text() == "a\n"
    found = provenance.read(path)
    assert found is not None
    assert found.date
    assert found.model_copy(update={"date": ""}) == RECORD
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["masks.csv", "masks.csv.provenance.json"]


def test_a_failed_step_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with provenance.derived_file(tmp_path / "masks.csv", RECORD) as temporary:
            temporary.write_text("half")
            problem = "killed"
            raise RuntimeError(problem)

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_record_inside_a_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs[provenance.KEY] = RECORD.embedded()
    table = pa.table({"a": [1]}).replace_schema_metadata({provenance.KEY: RECORD.embedded()})
    pq.write_table(table, tmp_path / "a.parquet")
    assert provenance.read(tmp_path / "a.h5") == RECORD
    assert provenance.read(tmp_path / "a.parquet") == RECORD


def test_published_and_broken_files_have_none(tmp_path: Path) -> None:
    h5py.File(tmp_path / "plain.h5", "w").close()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "plain.parquet")
    for name in ("broken.h5", "broken.parquet", "table.csv"):
        (tmp_path / name).write_text("text")
    for path in tmp_path.iterdir():
        assert provenance.read(path) is None
    assert provenance.read(tmp_path / "absent.h5") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"mirror": "m"}', '{"mirror": "m", "step": "s", "surplus": 1}'])
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "masks.csv"
    provenance.sidecar(path).write_text(text)
    with pytest.raises(SchemaError, match="not a provenance record") as caught:
        provenance.read(path)
    assert caught.value.file == str(provenance.sidecar(path))


def test_digests_and_versions(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert provenance.file_digest(tmp_path / "a") == f"sha256:{hashlib.sha256(b'abc').hexdigest()}"
    versions = provenance.package_versions()
    assert {"python", "circuit-artifacts", "numpy", "h5py", "pyarrow"} <= versions.keys()
    assert all(versions.values())
