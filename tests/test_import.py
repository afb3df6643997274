"""Importing the package is cheap: what it brings along is counted, not timed."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


HEAVY = {"datasets", "torch", "pandas", "numpy", "pyarrow", "h5py", "pydantic", "huggingface_hub", "fsspec", "scipy"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not modules_after("import circuit_artifacts") & HEAVY


def test_listing_loads_neither_datasets_nor_torch() -> None:
    code = "from circuit_artifacts import catalog; [list(m.configs) for m in catalog.mirrors().values()]"
    assert not modules_after(code) & {"datasets", "torch", "pandas", "transformers", "scipy", "h5py"}


def test_loading_needs_only_the_base_dependencies() -> None:
    code = (
        "import circuit_artifacts.builders.csp_atlas, circuit_artifacts.csp_atlas, circuit_artifacts.regeneration\n"
        "import circuit_artifacts.validation; from circuit_artifacts import load_dataset"
    )
    assert not modules_after(code) & {"torch", "transformers", "scipy", "matplotlib", "plotly", "safetensors"}


def test_everything_public_can_be_reached() -> None:
    import circuit_artifacts

    for name in circuit_artifacts.__all__:
        assert getattr(circuit_artifacts, name)
    for name in ("catalog", "csp_atlas", "sources"):
        assert getattr(circuit_artifacts, name).__name__ == f"circuit_artifacts.{name}"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        circuit_artifacts.nothing  # noqa: B018
