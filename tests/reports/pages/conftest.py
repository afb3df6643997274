"""One browser for all tests here; without Chromium and its driver they are skipped, unless CI demands them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    missing = pytest.fail if os.environ.get("CIRCUIT_ARTIFACTS_REQUIRE_BROWSER") else pytest.skip
    try:
        from browser import Browser, find_chromium
    except ModuleNotFoundError as error:
        missing(f"{error.name} is not installed")
    found = find_chromium()
    if found is None:
        missing("chromium or chromedriver is not installed")
    started = Browser(*found, tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()
