"""Tokenizers of every form, on one small byte-level BPE of the family's design trained here."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from circuit_artifacts.compute.models import load_tokenizer
from circuit_artifacts.compute.models.tokenizer import END_OF_TEXT, PRE_TOKENISATION, TextTokenizer
from circuit_artifacts.errors import FormatError, MissingArtifactError

SAMPLE = "def first(self):\n    return [[1, 2], [3, 4]]\n\n\nfor item in [1]:\n    print(item)\n" * 4


def small_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENISATION), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([SAMPLE], trainer)
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


@pytest.fixture(scope="module")
def backend() -> Tokenizer:
    return small_tokenizer()


def data_gym_folder(backend: Tokenizer, folder: Path) -> Path:
    content = json.loads(backend.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["merges"]]
    (folder / "encoder.json").write_text(json.dumps(content["vocab"] | {END_OF_TEXT: len(content["vocab"])}))
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder


def test_both_file_forms_give_the_same_ids(backend: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "fast").mkdir()
    (tmp_path / "pair").mkdir()
    backend.save(str(tmp_path / "fast" / "tokenizer.json"))
    fast = load_tokenizer(tmp_path / "fast")
    pair = load_tokenizer(data_gym_folder(backend, tmp_path / "pair"))
    text = SAMPLE + "x = 'it''s'\t# naïve 12345\r\n"
    assert fast.encode(text) == pair.encode(text) == backend.encode(text).ids
    assert fast.vocab_size == pair.vocab_size == backend.get_vocab_size()
    assert fast.end_of_text_id == pair.end_of_text_id == fast.vocab_size - 1
    assert pair.decode([*pair.encode("a"), pair.vocab_size - 1]) == "a<|endoftext|>"
    assert fast.decode([0]) == "!"  # byte tokens come first, in data-gym order (model spec 2)


def test_punctuation_swallows_the_line_end_and_digits_come_in_threes(backend: Tokenizer) -> None:
    pieces = [backend.pre_tokenizer.pre_tokenize_str(text) for text in ("]]\n    x", "12345", "it's")]
    assert [[piece for piece, _ in found] for found in pieces] == [
        ["]]Ċ", "ĠĠĠ", "Ġx"],
        ["123", "45"],
        ["it", "'s"],
    ]


def test_padding_and_truncation_of_the_file_are_switched_off(backend: Tokenizer, tmp_path: Path) -> None:
    # Released tokenizer files may carry both; ids would silently change with the batch.
    backend = small_tokenizer()
    backend.enable_truncation(3)
    backend.enable_padding(pad_id=0, pad_token="!")
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    long, short = tokenizer.encode_batch([SAMPLE, "x"])
    assert long == tokenizer.encode(SAMPLE)
    assert len(long) > 3
    assert len(short) == 1
    assert tokenizer.encode_batch([SAMPLE, "x"], max_length=5) == [long[:5], short]
    assert tokenizer.encode_batch([]) == []


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_survives_the_round_trip(text: str) -> None:
    tokenizer = TextTokenizer(ROUND_TRIP)
    if END_OF_TEXT not in text:
        assert tokenizer.decode(tokenizer.encode(text)) == text


ROUND_TRIP = small_tokenizer()


def test_no_special_tokens_are_added(backend: Tokenizer, tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    backend = small_tokenizer()
    backend.post_processor = TemplateProcessing(single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, 0)])
    backend.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode("x") == ROUND_TRIP.encode("x", add_special_tokens=False).ids


def test_other_forms_go_through_transformers(backend: Tokenizer, tmp_path: Path) -> None:
    data_gym_folder(backend, tmp_path)
    (tmp_path / "encoder.json").rename(tmp_path / "vocab.json")
    (tmp_path / "vocab.bpe").rename(tmp_path / "merges.txt")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode(SAMPLE)) == SAMPLE


def test_missing_and_damaged_files_are_named(backend: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    data_gym_folder(backend, tmp_path)
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\none two three\n")
    with pytest.raises(FormatError, match=r"encoder\.json:vocab\.bpe"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(FormatError, match=r"tokenizer\.json: the tokenizer file is damaged"):
        load_tokenizer(tmp_path)


def test_the_bundled_tokenizer() -> None:
    tokenizer = load_tokenizer("mini")
    assert (tokenizer.vocab_size, tokenizer.end_of_text_id) == (2048, 2047)
    assert tokenizer.decode(tokenizer.encode(SAMPLE)) == SAMPLE
    assert len(tokenizer.encode("]\n")) == 1
