"""One published folder for all tests here; tests that change files copy them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from locality_fixture import Read, names_in, write_locality

from circuit_artifacts.sae_locality import files
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_locality(tmp_path_factory.mktemp("locality") / "published")


@pytest.fixture
def read(published: Path) -> Read:
    """The rows of one file of the published folder, or of another, with all files of its run beside it."""

    def table(name: str, file: str, *, folder: Path = published) -> pa.Table:
        own = RepositoryFile(folder / file, file)
        others = [RepositoryFile(folder / other, other) for other in names_in(folder)]
        beside = [other for other in others if other.place.kind in TABLES[name].beside]
        rows = TABLES[name].read(own, beside)
        rows.validate(full=True)
        return rows

    return table


@pytest.fixture(autouse=True)
def _unknown_keys_are_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of file is noted once per process; every test is a new one."""
    monkeypatch.setattr(files, "_noted", set())
