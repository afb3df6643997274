"""A folder for the Hub that tests break."""

from __future__ import annotations

from pathlib import Path

import pytest
from viewer_upload import Upload


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    return Upload(tmp_path / "upload")
