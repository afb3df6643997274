"""Names and files of configs, and what a step asks for."""

from __future__ import annotations

import pytest

from circuit_artifacts.schemas.common import ArtifactModel
from circuit_artifacts.schemas.declaration import Config, Family, Mirror, Split, Step, import_string


class Row(ArtifactModel):
    value: int


def family(name: str, file: str, *, grid: bool = False, loadable: bool = True) -> Family:
    settings = ({"eps": 0.001, "cons": 0.5}, {"eps": 0.5, "cons": 0.8}) if grid else ()
    splits = (Split(name="train", row=Row),)
    return Family(
        name=name, summary=name, file=file, reader="builtins:list", splits=splits, settings=settings, loadable=loadable
    )


MIRROR = Mirror(
    name="toy",
    title="toy",
    families=(
        family("sums", "12.h5"),
        family("masks", "13_eps{eps}_cons{cons}.h5", grid=True),
        family("tables", "14_eps{eps}_cons{cons}.csv", grid=True),
        family("summary", "14.csv"),
        family("view", "13_eps0.5_cons0.8.h5"),
        family("packed", "packed.parquet", loadable=False),
    ),
    steps=(
        Step(name="masks", makes=("masks",), needs=("sums",), function="builtins:print"),
        Step(name="tables", makes=("tables",), needs=("masks",), function="builtins:print"),
        Step(name="summary", makes=("summary",), needs=("tables",), function="builtins:print"),
        Step(name="other summary", makes=("summary",), needs=("masks_eps0.5_cons0.8",), function="builtins:print"),
    ),
    n_layers=2,
    width=4,
    default_config="sums",
)


def named(name: str) -> Config:
    return MIRROR.configs[name]


def test_names_and_files_carry_python_float_text() -> None:
    assert list(MIRROR.configs) == [
        "sums",
        "masks_eps0.001_cons0.5",
        "masks_eps0.5_cons0.8",
        "tables_eps0.001_cons0.5",
        "tables_eps0.5_cons0.8",
        "summary",
        "view",
    ]
    assert named("masks_eps0.001_cons0.5").file == "13_eps0.001_cons0.5.h5"


def test_a_file_with_two_views_stands_for_the_first() -> None:
    assert MIRROR.config_by_file["13_eps0.5_cons0.8.h5"].name == "masks_eps0.5_cons0.8"
    assert MIRROR.config_by_file["packed.parquet"].name == "packed"


def test_needs_follow_the_setting() -> None:
    masks, tables, summary, other = MIRROR.steps

    def needs(step: Step, config: str) -> list[str]:
        return [needed.name for needed in MIRROR.needs(step, named(config))]

    assert needs(masks, "masks_eps0.5_cons0.8") == ["sums"]
    assert needs(tables, "tables_eps0.001_cons0.5") == ["masks_eps0.001_cons0.5"]  # the same setting
    assert needs(summary, "summary") == ["tables_eps0.001_cons0.5", "tables_eps0.5_cons0.8"]  # all of them
    assert needs(other, "summary") == ["masks_eps0.5_cons0.8"]  # one, by name
    assert [step.name for step in MIRROR.steps_for("summary")] == ["summary", "other summary"]
    assert MIRROR.steps_for("sums") == ()


def test_import_strings() -> None:
    assert import_string("math:sqrt")(9) == 3
    with pytest.raises(ModuleNotFoundError):
        import_string("no_such_module:thing")
    with pytest.raises(AttributeError):
        import_string("math:no_such_function")
