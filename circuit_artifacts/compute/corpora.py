"""Texts that models are run on: published corpora through `datasets`, Python's standard library, the user's own files.

A corpus is a list of documents. Where an experiment wants one text, the documents follow each other without anything
in between, as the published code joins them.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from circuit_artifacts.errors import FormatError, MissingArtifactError, UnknownNameError

__all__ = ["CORPORA", "Corpus", "library_modules", "load_corpus"]

_NO_MODULES = frozenset({"test", "tests", "idlelib", "turtledemo", "lib2to3", "encodings", "site-packages"})
_HELD_OUT = 13  # of 256: 5 %


@dataclass(frozen=True)
class Corpus:
    """Documents under a name.

    Attributes:
        name: as in paths and provenance.
        names: of the documents.
        documents: their texts.
    """

    name: str
    names: tuple[str, ...]
    documents: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """All documents, one behind the other."""
        return "".join(self.documents)

    @cached_property
    def fingerprint(self) -> str:
        """``sha256:<hex>`` of the texts."""
        state = hashlib.sha256()
        for text in self.documents:
            state.update(text.encode(errors="surrogatepass") + b"\0")
        return f"sha256:{state.hexdigest()}"


def load_corpus(name: str, source: str | Path | None = None) -> Corpus:
    """A corpus by its name, or from files.

    Args:
        name: one of `CORPORA`; any name, if `source` is given.
        source: a text file in UTF-8, which is one document; or a folder, of which every ``.txt``, ``.md`` and ``.py``
            file is one, in the order of their paths.

    Raises:
        UnknownNameError: no such corpus, and no source.
        MissingArtifactError: the file or folder does not exist, or the folder holds no text.
        FormatError: a file is not UTF-8.
    """
    if source is not None:
        return _from_files(name, Path(source).expanduser())
    if name not in CORPORA:
        problem = "there is no such corpus"
        remedy = "Name a text file, or a folder of them, as the parameter corpus."
        raise UnknownNameError(problem, where="dataset", found=repr(name), expected=", ".join(CORPORA), remedy=remedy)
    pairs = list(CORPORA[name]())
    return Corpus(name, tuple(title for title, _ in pairs), tuple(text for _, text in pairs))


def library_modules(*, held_out: bool) -> Iterator[tuple[str, str]]:
    """Names and sources of the running Python's standard library, without its tests and data modules.

    Args:
        held_out: give the modules, about 5 % by a hash of their names, that the bundled model was not trained on;
            else the others.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library)
        if _NO_MODULES.isdisjoint(name.parts[:-1]) and _is_held_out(name.as_posix()) is held_out:
            try:
                yield name.as_posix(), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def _is_held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] < _HELD_OUT


def _from_files(name: str, source: Path) -> Corpus:
    if not source.exists():
        problem = "there is no such file or folder"
        raise MissingArtifactError(problem, file=source)
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix in {".txt", ".md", ".py"})
    if not files:
        problem = "the folder holds no text"
        raise MissingArtifactError(problem, file=source, expected=".txt, .md or .py files")
    documents = []
    for file in files:
        try:
            documents.append(file.read_bytes().decode("utf-8"))
        except UnicodeDecodeError as error:
            problem = "the text is not UTF-8"
            raise FormatError(problem, file=file, found=error) from error
    return Corpus(name, tuple(file.relative_to(source.parent).as_posix() for file in files), tuple(documents))


def _wikitext() -> Iterator[tuple[str, str]]:
    """WikiText-2, raw, training split; rows end in their line end (locality spec 5.3)."""
    for number, row in enumerate(_rows("Salesforce/wikitext", "wikitext-2-raw-v1")):
        yield str(number), row["text"]


def _gsm8k() -> Iterator[tuple[str, str]]:
    """GSM8K, training split. How the published runs joined question and answer is not known; this is ours."""
    for number, row in enumerate(_rows("openai/gsm8k", "main")):
        yield str(number), f"{row['question']}\n{row['answer']}\n"


def _rows(repository: str, config: str) -> Iterator[dict[str, str]]:
    import datasets

    try:
        yield from datasets.load_dataset(repository, config, split="train")
    except (OSError, datasets.exceptions.DatasetsError) as error:
        problem = "the corpus could not be loaded"
        remedy = "Name a text file with it as the parameter corpus."
        raise MissingArtifactError(problem, file=repository, found=error, remedy=remedy) from error


CORPORA: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "wikitext": _wikitext,
    "gsm8k": _gsm8k,
    "stdlib": lambda: library_modules(held_out=True),
}
"""The corpora that have a name; ``stdlib`` is what the bundled model did not see of Python's standard library."""
