"""Missing optional dependencies: named by what to install; other failing imports stay what they are."""

from __future__ import annotations

import pytest

from circuit_artifacts.errors import MissingExtraError
from circuit_artifacts.extras import EXTRAS, extras_named


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_every_package_names_its_extra(package: str, extra: str) -> None:
    with (
        pytest.raises(MissingExtraError, match=rf"this needs {package}\. pip install 'circuit-artifacts\[{extra}\]'"),
        extras_named(),
    ):
        raise ModuleNotFoundError(name=f"{package}.submodule")


def test_other_imports_fail_as_they_are() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, extras_named():
        raise ModuleNotFoundError(name="something_else")
    assert not isinstance(caught.value, MissingExtraError)
