"""The one seam in `datasets`: who knows our names, when, and what else is touched (nothing)."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import datasets.inspect
import datasets.load
import pytest
from atlas_fixture import Atlas

import circuit_artifacts
from circuit_artifacts import catalog

MASKS = "masks_eps0.5_cons0.8"

stock_csv_leaves_files_open = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def registered() -> Iterator[None]:
    """Puts the seam back as it was."""
    factory = datasets.load.dataset_module_factory
    yield
    circuit_artifacts.unregister()
    datasets.load.dataset_module_factory = datasets.inspect.dataset_module_factory = factory
    circuit_artifacts.register()


def run_python(code: str, *arguments: str) -> str:
    """Output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORTS = {
    "before": "import circuit_artifacts; from datasets import load_dataset, get_dataset_config_names",
    "after": "from datasets import load_dataset, get_dataset_config_names; import circuit_artifacts",
}
USE = """
import sys
rows = load_dataset("csp-atlas", "concepts", data_root=sys.argv[1], split="train", streaming=True)
print(len(list(rows)), len(get_dataset_config_names("csp-atlas-mini")))
"""


@pytest.mark.parametrize("order", IMPORTS)
def test_the_order_of_imports_does_not_matter(atlas: Atlas, order: str) -> None:
    assert run_python(IMPORTS[order] + USE, str(atlas.folder)).split() == [str(len(atlas.concepts)), "50"]


def test_a_renamed_factory_gives_a_warning_and_leaves_our_function_working(atlas: Atlas) -> None:
    code = """
import sys, warnings
import datasets.load
del datasets.load.dataset_module_factory
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import circuit_artifacts
print([w.category.__name__ for w in caught if "circuit_artifacts.load_dataset" in str(w.message)])
print(len(circuit_artifacts.load_dataset("csp-atlas", "concepts", data_root=sys.argv[1], split="train")))
circuit_artifacts.unregister()
"""
    assert run_python(code, str(atlas.folder)).splitlines() == ["['RuntimeWarning']", str(len(atlas.concepts))]


@pytest.mark.usefixtures("registered")
def test_registering_twice_changes_nothing() -> None:
    circuit_artifacts.register()
    first = datasets.load.dataset_module_factory
    circuit_artifacts.register()
    assert datasets.load.dataset_module_factory is first is datasets.inspect.dataset_module_factory
    circuit_artifacts.unregister()
    assert datasets.load.dataset_module_factory is first.__wrapped__ is datasets.inspect.dataset_module_factory
    assert datasets.load.dataset_module_factory.__module__ == "datasets.load"
    circuit_artifacts.unregister()
    with pytest.raises(Exception, match="csp-atlas"):
        datasets.load_dataset("csp-atlas", MASKS)
    circuit_artifacts.register()
    assert MASKS in datasets.get_dataset_config_names("csp-atlas")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("wraps", [True, False])
def test_other_packages_may_wrap_the_factory_too(wraps: bool) -> None:
    # Holds down: unregister() that throws away another package's wrapper, or finds no way past it.
    circuit_artifacts.register()
    ours, asked = datasets.load.dataset_module_factory, []

    def theirs(path: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(path)
        return ours(path, *args, **kwargs)

    other = functools.wraps(ours)(theirs) if wraps else theirs
    datasets.load.dataset_module_factory = datasets.inspect.dataset_module_factory = other
    circuit_artifacts.unregister()
    assert datasets.load.dataset_module_factory is other
    with pytest.raises(Exception, match="csp-atlas"):
        datasets.load_dataset_builder("csp-atlas", MASKS)
    circuit_artifacts.register()
    assert datasets.load_dataset_builder("csp-atlas", MASKS).config.name == MASKS
    circuit_artifacts.unregister()
    with pytest.raises(Exception, match="csp-atlas"):
        datasets.load_dataset_builder("csp-atlas", MASKS)
    assert datasets.load.dataset_module_factory is other
    assert set(asked) == {"csp-atlas"}


def test_the_table_of_packaged_modules_is_untouched() -> None:
    # Holds down: entries there, which make datasets scan the working directory.
    from datasets import packaged_modules

    assert not any("atlas" in name for name in packaged_modules._PACKAGED_DATASETS_MODULES)


@stock_csv_leaves_files_open
def test_other_names_pass_through(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,x\n2,y\n")
    expected = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    for load in (datasets.load_dataset, circuit_artifacts.load_dataset):
        assert load("csv", data_files=str(tmp_path / "rows.csv"), split="train").to_list() == expected
        assert load(str(tmp_path), split="train").to_list() == expected


@stock_csv_leaves_files_open
def test_the_working_directory_does_not_matter(atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Holds down: a folder of our name, or many files, that take the place of the mirror.
    for number in range(1000):
        (tmp_path / f"unrelated_{number}.csv").touch()
    (tmp_path / "csp-atlas").mkdir()
    (tmp_path / "csp-atlas" / "rows.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    ours = datasets.load_dataset("csp-atlas", "concepts", data_root=str(atlas.folder), split="train")
    assert list(ours["concept"]) == atlas.concepts
    assert datasets.load_dataset("./csp-atlas", split="train").to_list() == [{"a": 1}]


def test_questions_about_a_mirror_need_no_file() -> None:
    names = datasets.get_dataset_config_names("csp-atlas")
    assert names == list(catalog.mirror("csp-atlas").configs)
    assert datasets.get_dataset_split_names("csp-atlas", MASKS) == ["universal", "pair"]
    assert datasets.get_dataset_split_names("csp-atlas", "summary") == ["train"]
    assert datasets.get_dataset_default_config_name("csp-atlas") == MASKS
    info = datasets.load_dataset_builder("csp-atlas", "object_activations").info
    assert list(info.features) == [
        "ast_node",
        "builtin_obj",
        "layer",
        "n_prompts",
        "activation_sum",
        "firing_count",
    ]
    assert info.features["activation_sum"].length == 2048
    assert info.license == "apache-2.0"
    assert "Wilam" in info.citation


@pytest.mark.parametrize("load", [datasets.load_dataset, circuit_artifacts.load_dataset])
def test_unknown_configs_and_splits_list_the_names(atlas: Atlas, load: Any) -> None:
    with pytest.raises(ValueError, match=r"masks_eps0\.5_cons0\.8") as caught:
        load("csp-atlas", "masks_eps0.5_cons0.9", data_root=str(atlas.folder))
    assert "summary" in str(caught.value)
    for streaming in (False, True):
        with pytest.raises(ValueError, match=r"universal.*pair"):
            load("csp-atlas", MASKS, data_root=str(atlas.folder), split="train", streaming=streaming)


def test_a_revision_reaches_the_config() -> None:
    for builder in (
        datasets.load_dataset_builder("csp-atlas", MASKS, revision="abc"),
        datasets.load_dataset_builder("csp-atlas", MASKS, revision="abc", data_dir=None),
    ):
        assert builder.config.revision == "abc"
