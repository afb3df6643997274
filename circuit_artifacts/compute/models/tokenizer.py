"""Tokenizers: text to token ids without special tokens, whatever form the files have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from circuit_artifacts.compute.models.checkpoint import resolve_model
from circuit_artifacts.errors import FormatError, MissingArtifactError, ModelError

__all__ = ["END_OF_TEXT", "PRE_TOKENISATION", "TextTokenizer", "load_tokenizer"]

END_OF_TEXT = "<|endoftext|>"
"""The only special token of the circuit-sparsity family, its last id (model spec 2)."""

# Letters with at most one other sign before them; up to three digits; punctuation with the line ends and slashes that
# follow; blank lines; trailing spaces; other spaces (model spec 2).
PRE_TOKENISATION = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""The family's pre-tokenisation regex, which has no rule for contractions."""


class TextTokenizer:
    """Encodes without special tokens, padding or truncation unless asked.

    Args:
        backend: the `tokenizers` object that does the work; its own padding and truncation are switched off.
    """

    def __init__(self, backend: Tokenizer) -> None:
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @property
    def end_of_text_id(self) -> int | None:
        """Id of the end-of-text token, if the vocabulary has it under the family's name."""
        found: int | None = self.backend.token_to_id(END_OF_TEXT)
        return found

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens added."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Token ids of several texts, each cut after ``max_length`` tokens if given; in parallel."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids[:max_length] for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=False)
        return text


def load_tokenizer(ref: str | Path, *, revision: str | None = None) -> TextTokenizer:
    """Load the tokenizer of a model.

    Args:
        ref: as in `load_model`, or a folder that only holds the tokenizer's files: ``tokenizer.json``, the pair
            ``encoder.json`` and ``vocab.bpe``, or anything that `transformers` turns into a fast tokenizer.
        revision: Hub branch, tag or commit.

    Raises:
        UnknownNameError, SourceError: as `resolve_model`.
        FormatError: a file is damaged.
        MissingArtifactError: the folder holds no tokenizer.
        ModelError: its tokenizer would need code from the repository, or has no fast form.
    """
    folder = resolve_model(ref, revision=revision).folder
    if (folder / "tokenizer.json").is_file():
        path = folder / "tokenizer.json"
        try:
            return TextTokenizer(Tokenizer.from_file(str(path)))
        except Exception as error:  # the Rust side raises plain Exception
            problem = "the tokenizer file is damaged"
            raise FormatError(problem, file=path, found=error) from error
    if (folder / "encoder.json").is_file() and (folder / "vocab.bpe").is_file():
        return TextTokenizer(_read_data_gym(folder / "encoder.json", folder / "vocab.bpe"))
    if not list(folder.glob("*token*")) and not list(folder.glob("vocab*")):
        problem = "the folder holds no tokenizer"
        raise MissingArtifactError(problem, file=folder, expected="tokenizer.json, or encoder.json with vocab.bpe")
    return TextTokenizer(_from_transformers(folder))


def _read_data_gym(encoder: Path, merges: Path) -> Tokenizer:
    """A byte-level BPE from the file pair of the published blob (model spec 2)."""
    try:
        vocabulary = json.loads(encoder.read_text(encoding="utf-8"))
        lines = merges.read_text(encoding="utf-8").splitlines()
        pairs = [(left, right) for left, right in (line.split() for line in lines if line and line[:9] != "#version:")]
        special = vocabulary.pop(END_OF_TEXT, None)
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    except Exception as error:  # the Rust side raises plain Exception
        problem = "the pair of vocabulary and merges is damaged"
        raise FormatError(problem, file=encoder, where=merges.name, found=f"{type(error).__name__}: {error}") from error
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENISATION), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    if special is not None:
        backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
        if backend.token_to_id(END_OF_TEXT) != special:
            problem = "the end-of-text token is not the last id"
            raise FormatError(
                problem,
                file=encoder,
                found=special,
                expected=backend.token_to_id(END_OF_TEXT),
            )
    return backend


def _from_transformers(folder: Path) -> Tokenizer:
    from transformers import AutoTokenizer  # slow to import, and rarely needed

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, OSError, ImportError, KeyError) as error:
        problem = "transformers cannot load the tokenizer without running code from its repository"
        raise ModelError(problem, file=folder.name, found=f"{type(error).__name__}: {error}") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        problem = "the tokenizer has no fast form"
        raise ModelError(problem, file=folder.name, found=type(tokenizer).__name__, expected="a tokenizer.json")
    return backend
