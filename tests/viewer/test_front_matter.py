"""The head of the card: what cannot be read, and what must not be."""

from __future__ import annotations

from pathlib import Path

import pytest
from viewer_upload import Upload

from circuit_artifacts.errors import FormatError, SourceError, UnsafeContentError
from circuit_artifacts.viewer.front_matter import read_front_matter

TEN_LEVELS = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)


def test_harmless_anchors_and_tags_are_read(upload: Upload) -> None:
    upload.write_front_matter("a: !!str 1\nb: &b [1, {c: 2}]\nd: *b\ne:\n  <<: &f {g: 3}")
    values = [1, {"c": 2}]
    assert read_front_matter(upload.folder) == {"a": "1", "b": values, "d": values, "e": {"g": 3}}


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        (TEN_LEVELS, "line 7", "too many values"),  # a billion laughs: 10 lines stand for 10**10 values
        ("a: 1\nb: &b [*b]", "line 3", "too many values"),
        ("a: " + "[" * 5_000, "line 2", "nested too deeply"),  # would end the recursion of the YAML library
        ("a: !!python/object/apply:os.system [ls]", "line 2", "tag that only unsafe loaders know"),
        ("a: 1\nb: !secret x", "line 3", "tag that only unsafe loaders know"),
    ],
    ids=["billion", "cycle", "deep", "python", "custom"],
)
def test_unsafe_yaml_is_refused_before_it_is_built(upload: Upload, text: str, where: str, problem: str) -> None:
    upload.write_front_matter(text)
    with pytest.raises(UnsafeContentError, match=problem) as error:
        read_front_matter(upload.folder)
    assert (error.value.file, error.value.where) == ("README.md", where)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1", "not YAML: while parsing a flow sequence"),
        ("a: *b", "not YAML: found undefined alias"),
        ("a: 2020-13-45", "not YAML: month must be in 1..12"),
        ("? [1]\n: 2", "not YAML: .*unhashable key"),
        ("- configs", r"not a mapping \(found list"),
        ("", r"not a mapping \(found NoneType"),
    ],
)
def test_yaml_that_is_no_card(upload: Upload, text: str, problem: str) -> None:
    upload.write_front_matter(text)
    with pytest.raises(FormatError, match=problem):
        read_front_matter(upload.folder)


@pytest.mark.parametrize("text", ["# Masks\n", "---\nlanguage: en\n# never closed\n", ""])
def test_no_front_matter(upload: Upload, text: str) -> None:
    (upload.folder / "README.md").write_text(text)
    assert [(finding.level, finding.rule) for finding in upload.findings()] == [("error", "card")]
    assert "the card has no front matter" in upload.finding().message


def test_no_card(upload: Upload) -> None:
    (upload.folder / "README.md").unlink()
    finding = upload.finding()
    assert (finding.level, finding.rule, finding.file) == ("error", "card", "README.md")
    assert "no dataset card" in finding.message


def test_a_card_that_links_out_of_the_folder_is_not_read(upload: Upload, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("---\nsecret: 1\n---\n")
    (upload.folder / "README.md").unlink()
    (upload.folder / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match="no dataset card"):
        read_front_matter(upload.folder)


def test_a_huge_card_is_not_parsed(upload: Upload) -> None:
    with (upload.folder / "README.md").open("a") as file:
        file.truncate((10 << 20) + 1)
    with pytest.raises(FormatError, match=r"too large \(found 10,485,761 bytes, expected <= 10,485,760\)"):
        read_front_matter(upload.folder)


def test_a_card_in_another_encoding(upload: Upload) -> None:
    (upload.folder / "README.md").write_bytes("---\npretty_name: Köln\n---\n".encode("latin-1"))
    with pytest.raises(FormatError, match="not UTF-8"):
        read_front_matter(upload.folder)
