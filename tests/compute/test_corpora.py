"""Corpora: by name, from files, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuit_artifacts.compute.corpora import library_modules, load_corpus
from circuit_artifacts.errors import FormatError, MissingArtifactError, UnknownNameError


def test_a_folder_is_one_document_per_text_file_in_the_order_of_paths(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.py").write_text("print(2)\n")
    (tmp_path / "a.txt").write_text("one\r\n", newline="")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    corpus = load_corpus("mine", tmp_path)
    assert corpus.documents == ("one\r\n", "print(2)\n")
    assert [Path(name).name for name in corpus.names] == ["a.txt", "two.py"]
    assert corpus.text == "one\r\nprint(2)\n"


def test_a_file_is_one_document_and_its_name_is_no_path_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("für alle")
    corpus = load_corpus("mine", tmp_path / "notes.txt")
    assert (corpus.name, corpus.names, corpus.documents) == ("mine", ("notes.txt",), ("für alle",))


def test_the_fingerprint_tells_where_documents_end(tmp_path: Path) -> None:
    for folder, texts in (("1", ("ab", "c")), ("2", ("a", "bc"))):
        (tmp_path / folder).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / folder / f"{number}.txt").write_text(text)
    first, second = (load_corpus("mine", tmp_path / folder) for folder in ("1", "2"))
    assert first.text == second.text
    assert first.fingerprint != second.fingerprint


def test_the_library_is_split_once_and_for_all() -> None:
    trained, held_out = (dict(library_modules(held_out=chosen)) for chosen in (False, True))
    assert not trained.keys() & held_out.keys()
    assert 0.02 < len(held_out) / (len(trained) + len(held_out)) < 0.1
    assert not [name for name in trained if name.startswith(("test/", "idlelib/", "encodings/"))]
    assert load_corpus("stdlib").names == tuple(held_out)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no such corpus.*wikitext, gsm8k, stdlib.*parameter corpus"):
        load_corpus("code-python")
    with pytest.raises(MissingArtifactError, match="no such file or folder"):
        load_corpus("mine", tmp_path / "nothing")
    with pytest.raises(MissingArtifactError, match="holds no text"):
        load_corpus("mine", tmp_path)
    (tmp_path / "latin.txt").write_bytes("für".encode("latin-1"))
    with pytest.raises(FormatError, match="not UTF-8"):
        load_corpus("mine", tmp_path)


def test_a_published_corpus_that_cannot_be_had_says_what_to_do() -> None:
    with pytest.raises(MissingArtifactError, match="Name a text file with it as the parameter corpus"):
        load_corpus("wikitext")
