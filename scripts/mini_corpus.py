"""The training text of the bundled model: Python's standard library, and generated prompts like those of CSP-Atlas.

Held out from training are about 5 % of the modules, chosen by a hash of their names, and every prompt whose text occurs
in the published prompt stream (seed 42), so that losses on both are losses on unseen text.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from circuit_artifacts.compute.corpora import library_modules
from circuit_artifacts.compute.csp.checkers import generate_checker_candidates
from circuit_artifacts.compute.csp.prompts import generate_object_prompts
from circuit_artifacts.compute.models.tokenizer import END_OF_TEXT, PRE_TOKENISATION

Tokens = NDArray[np.uint16]

VOCABULARY = 2048
PUBLISHED_SEED = 42
TRAINING_SEEDS = (1001, 1002, 1003)


@dataclass(frozen=True)
class Texts:
    """The corpus as text.

    Attributes:
        modules: training modules, in order of their names.
        held_out_modules: modules that are never trained on.
        prompts: distinct training prompts.
        held_out_prompts: two prompts of each published pair.
    """

    modules: list[str]
    held_out_modules: list[str]
    prompts: list[str]
    held_out_prompts: list[str]

    def fingerprint(self) -> str:
        """SHA-256 over all training text, hexadecimal."""
        digest = hashlib.sha256()
        for text in (*self.modules, *self.prompts):
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()


def read_texts() -> Texts:
    """Collect the corpus from the running Python and from the prompt generators."""
    modules, held_out = ([text for _, text in library_modules(held_out=chosen)] for chosen in (False, True))
    published = [prompt.prompt_text for prompt in generate_object_prompts(seed=PUBLISHED_SEED)]
    reserved = set(published) | set(_checker_texts(PUBLISHED_SEED))
    prompts: dict[str, None] = {}
    for seed in TRAINING_SEEDS:
        prompts |= dict.fromkeys(prompt.prompt_text for prompt in generate_object_prompts(seed=seed))
        prompts |= dict.fromkeys(_checker_texts(seed))
    return Texts(modules, held_out, [text for text in prompts if text not in reserved], published[::25])


def _checker_texts(seed: int) -> Iterator[str]:
    for kind in ("checker", "token_checker"):
        yield from (candidate.prompt_text for candidate in generate_checker_candidates(kind, seed=seed))


def train_tokenizer(texts: Texts) -> Tokenizer:
    """A byte-level BPE of ``VOCABULARY`` entries whose last id is the end-of-text token (model spec 2)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENISATION), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*texts.modules, *texts.prompts], trainer)
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[Tokens]:
    """Token ids of each text, with the end-of-text token at its end."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    return [
        np.array([*encoding.ids, end], dtype=np.uint16)
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ]


class LibraryRows:
    """Rows cut from the stream of all modules; each epoch shuffles the modules and cuts elsewhere."""

    def __init__(self, documents: list[Tokens], width: int, seed: int) -> None:
        self.documents, self.width, self.seed = documents, width, seed
        self.per_epoch = sum(map(len, documents)) // width - 1

    def epoch(self, number: int) -> Tokens:
        """All rows of one epoch, (rows, width)."""
        generator = random.Random(f"library {self.seed} {number}")
        stream = np.concatenate(generator.sample(self.documents, len(self.documents)))
        start = generator.randrange(self.width)
        rows = stream[start : start + self.per_epoch * self.width].reshape(self.per_epoch, self.width)
        return rows[generator.sample(range(len(rows)), len(rows))]


class PromptRows:
    """Rows of whole prompts; each row begins where a prompt begins, as the inputs of stage 12 do."""

    def __init__(self, documents: list[Tokens], width: int, seed: int) -> None:
        self.documents, self.width, self.seed = documents, width, seed
        # Each row overruns by about half a prompt, which is cut off.
        self.per_epoch = int(0.8 * sum(map(len, documents)) / width)

    def epoch(self, number: int) -> Tokens:
        """All rows of one epoch, (rows, width)."""
        generator = random.Random(f"prompts {self.seed} {number}")
        rows, pending, length = [], [], 0
        for document in generator.sample(self.documents, len(self.documents)):
            pending.append(document)
            length += len(document)
            if length >= self.width:
                rows.append(np.concatenate(pending)[: self.width])
                pending, length = [], 0
        if len(rows) < self.per_epoch:
            msg = f"{len(rows)} rows of prompts, expected at least {self.per_epoch}"
            raise ValueError(msg)
        return np.stack(rows[: self.per_epoch])


class Batches:
    """The batch of any step, as a function of the step alone, so that training resumes where it stopped."""

    def __init__(self, parts: list[tuple[LibraryRows | PromptRows, int]]) -> None:
        self.parts = parts
        self._current: dict[int, tuple[int, Tokens]] = {}

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Token ids (rows, width) of one step."""
        counts = [count for _, count in self.parts]
        rows = [self._row(part, step * count + row) for part, count in enumerate(counts) for row in range(count)]
        return np.stack(rows).astype(np.int64)

    def _row(self, part: int, index: int) -> Tokens:
        source = self.parts[part][0]
        epoch, row = divmod(index, source.per_epoch)
        if self._current.get(part, (-1,))[0] != epoch:
            self._current[part] = epoch, source.epoch(epoch)
        found: Tokens = self._current[part][1][row]
        return found
