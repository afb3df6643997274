"""Rules on configs, splits and patterns: each folder is broken in one way, and exactly that is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from viewer_upload import FILE, PATTERN, Upload, config, sound

MASKS = config("masks", train=PATTERN)


def test_several_configs_and_splits_without_a_fault(upload: Upload) -> None:
    for name in ("a.b c/train.parquet", "a.b c/test.parquet", "raw/masks.h5", "raw/more/masks.pt"):
        upload.write(sound(), name)
    configs = [
        MASKS | {"default": True},
        config("a.b c", train=["a.b c/train.parquet", PATTERN], **{"test.1_x": "./a.b c/test*"}),
        {"config_name": "text", "data_files": PATTERN},
        {"config_name": "list", "data_files": [PATTERN, "a.b c/test.parquet"], "drop_labels": True},
        {"config_name": "folder", "data_files": "train*", "data_dir": "masks"},
        {"config_name": "names", "data_dir": "a.b c"},
    ]
    upload.write_card(configs=configs, viewer=True, tags=["interpretability"], language=["en"])
    assert upload.findings() == []


@pytest.mark.parametrize(
    ("changes", "rule", "where", "message"),
    [
        ({"viewer": False}, "viewer switched off", "viewer", "found false"),
        ({"tags": ["biology", "nsfw"]}, "audience", "tags", "found nsfw"),
        ({"configs": None}, "configs", "configs", "found NoneType, expected a list"),
        ({"configs": []}, "configs", "configs", "no list of configs"),
        ({"configs": {"config_name": "masks"}}, "configs", "configs", "found dict, expected a list"),
        ({"configs": [MASKS, {"data_files": PATTERN}]}, "configs", "configs.1.config_name", "Field required"),
        ({"configs": [MASKS, "more"]}, "configs", "configs.1", "valid dictionary"),
        ({"configs": [MASKS, {"config_name": 5, "data_files": PATTERN}]}, "configs", "configs.1.config_name", "string"),
        ({"configs": [MASKS | {"default": True}, config("x", train=PATTERN) | {"default": True}]}, "default config",
         "configs", "'masks' and 'x'"),
        ({"configs": [MASKS, config("a/b*", train=PATTERN)]}, "config name", "a/b*", "found * /"),
        ({"configs": [MASKS, config("", train=PATTERN)]}, "config name", "configs", "no name"),
        ({"configs": [MASKS, MASKS]}, "config name", "masks", "found 2, expected 1"),
        ({"configs": [config("masks", **{"train-1": PATTERN})]}, "split name", "masks train-1", "found 'train-1'"),
        ({"configs": [config("masks", all=PATTERN)]}, "split name", "masks all", "not 'all'"),
        ({"configs": [config("masks", **{"a.": PATTERN})]}, "split name", "masks a.", "found 'a.'"),
        ({"configs": [{"config_name": "masks", "data_files": MASKS["data_files"] * 2}]}, "split name", "masks train",
         "found 2, expected 1"),
        ({"configs": [config("masks", **{f"s{index}": PATTERN for index in range(31)})]}, "split count", "masks",
         "found 31, expected <= 30"),
        ({"configs": [MASKS, config("x", train="x/*.parquet")]}, "patterns", "x train", "found x/*.parquet"),
        ({"configs": [MASKS, config("x", train=[PATTERN, "x.parquet"])]}, "patterns", "x train", "found x.parquet"),
        ({"configs": [MASKS, config("x", train="x/a**")]}, "patterns", "x train", "found x/a**"),
        ({"configs": [MASKS, {"config_name": "x", "data_dir": "nowhere"}]}, "patterns", "x", "no files"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_card(upload: Upload, changes: dict[str, Any], rule: str, where: str, message: str) -> None:
    upload.write_card(**changes)
    findings = [finding for finding in upload.findings() if finding.rule != "stray file"]
    assert [(finding.level, finding.rule, finding.file, finding.where) for finding in findings] == [
        ("error", rule, "README.md", where)
    ]
    assert message in findings[0].message


@pytest.mark.parametrize(
    "item",
    [
        {"split": "train"},
        {"split": "train", "path": PATTERN, "columns": ["a"]},
        {"split": "train", "path": {"a": PATTERN}},
        {"split": 1, "path": PATTERN},
    ],
)
def test_files_of_a_split_have_two_keys(upload: Upload, item: dict[str, Any]) -> None:
    upload.write_card(configs=[MASKS, {"config_name": "x", "data_files": [item]}])
    assert [place[:3] for place in upload.places()] == [("error", "configs", "README.md")]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (11, [("note", "more than ten configs")]),
        (101, [("note", "more than ten configs"), ("note", "more than a hundred configs")]),
    ],
)
def test_many_configs_are_noted(upload: Upload, count: int, expected: list[tuple[str, str]]) -> None:
    upload.write_card(configs=[config(f"c{index}", train=PATTERN) for index in range(count)])
    assert [place[:2] for place in upload.places()] == expected
    assert f"found {count}" in upload.findings()[0].message


def test_too_many_configs(upload: Upload) -> None:
    upload.write_card(configs=[config(f"c{index}", train="../x") for index in range(4_001)])
    assert ("error", "config count", "README.md", "configs") in upload.places()


@pytest.mark.parametrize(
    "pattern",
    [
        "../upload/masks/*.parquet",
        "masks/../../upload/masks/*",
        "{folder}/masks/*",
        "https://example.org/x.parquet",
        "hf://datasets/a/b/x.parquet",
        "file:///etc/*",
        "zip://x.parquet::masks.zip",
        r"..\x.parquet",
    ],
)
def test_patterns_that_leave_the_folder_are_not_followed(upload: Upload, pattern: str) -> None:
    """Even where they lead back into it: on the Hub there is nothing outside."""
    text = pattern.format(folder=upload.folder)
    upload.write_card(configs=[MASKS, config("x", train=text)])
    assert upload.places() == [("error", "files inside", "README.md", "x train")]
    assert f"found {text})" in upload.finding().message


@pytest.mark.parametrize("data_dir", ["..", "/etc", "masks/../.."])
def test_data_dir_outside_is_not_followed(upload: Upload, data_dir: str) -> None:
    configs = [MASKS, {"config_name": "x", "data_dir": data_dir, "data_files": "*"}]
    upload.write_card(configs=configs)
    assert upload.places() == [("error", "files inside", "README.md", "x train")]
    upload.write_card(configs=[MASKS, {"config_name": "x", "data_dir": data_dir}])
    assert upload.places() == [("error", "patterns", "README.md", "x")]


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_links_out_of_the_folder_are_not_read(upload: Upload, tmp_path: Path, linked: str) -> None:
    outside = tmp_path / "outside/train-0.parquet"
    outside.parent.mkdir()
    outside.write_bytes(b"not even parquet")
    link = upload.folder / "x"
    if linked == "file":
        link.mkdir()
        (link / "train-0.parquet").symlink_to(outside)
    else:
        link.symlink_to(outside.parent)
    upload.write_card(configs=[MASKS, config("x", train="x/*.parquet")])
    assert upload.places() == [("error", "files inside", "x/train-0.parquet", "x train")]
    assert str(outside) in upload.finding().message


def test_links_inside_the_folder_are_files(upload: Upload) -> None:
    """As the cache of the Hub keeps them."""
    (upload.folder / FILE).rename(upload.folder / "blob")
    (upload.folder / FILE).symlink_to(upload.folder / "blob")
    assert upload.findings() == []


def test_a_second_format(upload: Upload) -> None:
    """The viewer reads every config as the first: a CSV config after a parquet config fails."""
    (upload.folder / "table.csv").write_text("a\n1\n")
    upload.write_card(configs=[MASKS, config("x", train="table.csv")])
    assert upload.places() == [
        ("error", "one format", "README.md", "configs"),
        ("note", "converted format", "table.csv", "x train"),
    ]
    assert ".parquet: 1, .csv: 1" in upload.findings()[0].message


def test_csv_alone_is_converted_by_the_viewer(upload: Upload) -> None:
    (upload.folder / FILE).unlink()
    (upload.folder / "table.csv").write_text("a\n1\n")
    upload.write_card(configs=[config("x", train="table.csv")])
    assert upload.places() == [("note", "converted format", "table.csv", "x train")]


@pytest.mark.parametrize("name", ["masks.h5", "features.pt"])
def test_formats_that_the_viewer_cannot_be_relied_on_to_read(upload: Upload, name: str) -> None:
    (upload.folder / FILE).unlink()
    (upload.folder / name).write_bytes(b"x")
    upload.write_card(configs=[config("x", train=name)])
    assert upload.places() == [("error", "format", name, "x train")]


def test_files_of_no_config_are_noted(upload: Upload) -> None:
    for name in ("more/x.h5", "masks/extra.parquet", "raw/x.h5", ".cache/x.parquet", "notes.txt", "masks/.x.parquet"):
        (upload.folder / name).parent.mkdir(exist_ok=True)
        (upload.folder / name).write_bytes(b"x")
    assert upload.places() == [
        ("note", "stray file", "masks/extra.parquet", ""),
        ("note", "stray file", "more/x.h5", ""),
    ]


@pytest.mark.parametrize("language", [None, ["en", "de"], []])
def test_search_knows_word_forms_of_one_language(upload: Upload, language: Any) -> None:
    upload.write_card(language=language)
    assert upload.places() == [("note", "language", "README.md", "language")]
