"""Files of the events strand: they read back as they were, and the checks of the published layout find no fault."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import event_fixture
import numpy as np
import pytest
import torch
from event_fixture import N_FEATURES, RECORD, SILENT, autoencoder, entropies
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_artifacts import provenance
from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.locality.contexts import ContextExample, FeatureContexts, read_contexts, scan_corpus
from circuit_artifacts.compute.locality.event_files import (
    RunFacts,
    write_adapter_log,
    write_case_study_manifest,
    write_contexts,
    write_events,
    write_manifest,
)
from circuit_artifacts.compute.locality.events import (
    COLUMNS,
    MeasuredEvent,
    measure_events,
)
from circuit_artifacts.compute.locality.feature_lists import FeatureLabel
from circuit_artifacts.compute.locality.virtual_corpus import NeuronpediaContexts, contexts_from_neuronpedia
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.npz import read_npz
from circuit_artifacts.sae_locality.checks import check_folder
from circuit_artifacts.sae_locality.curation import case_studies
from circuit_artifacts.sae_locality.events import events, influences
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.torch_files import load_tensor
from circuit_artifacts.validation import Finding

RUN = "cherry_picked_feature_entropy/20260501_120000_neuronpedia"
STUDY = "feature_case_studies/20260503_000000_corners"
FACTS = RunFacts(timestamp="20260501_120000", preset="mini", layer=1, sae_id="1-res", context_len=16)
LABELS = (
    FeatureLabel(17, "token", 'reads "/etc/passwd", and\nmore'),
    FeatureLabel(8, "", ""),
    FeatureLabel(SILENT, "concept", "null"),
)
BOS = 319
TRICKY = ("null", "NA", "None", "", "\n", "\r", "\r\n", ' "q", ', "nan", "-1", "\ufeff", "'", "/home/alice/x", "\u2028")


def answers() -> dict[int, Any]:
    """What Neuronpedia would say of this model, if all pieces were tricky ones."""
    found: dict[int, Any] = {}
    random = np.random.default_rng(0)
    for feature in (17, 8, SILENT):
        activations = []
        for _ in range(5):
            ids = random.integers(0, 319, 12)
            residual = capture(event_fixture.model(), torch.tensor([[BOS, *ids]]), site="resid_post", layers=[1])[1][0]
            values = autoencoder().encode(residual)[1:, feature]
            peak = int(values.argmax())
            pieces = [f"{number}" for number in ids]
            activations.append({"tokens": pieces, "maxValueTokenIndex": peak, "maxValue": float(values[peak])})
        found[feature] = {"activations": [*activations, activations[0], activations[1] | {"tokens": ["x"] * 12}]}
    return found


def tricky(found: NeuronpediaContexts) -> list[FeatureContexts]:
    """The same contexts with other pieces."""

    def renamed(example: ContextExample) -> ContextExample:
        pieces = tuple(TRICKY[(example.peak + n) % len(TRICKY)] for n in range(len(example.tokens)))
        return dataclasses.replace(example, tokens=pieces, neuronpedia_data_index={"place": [1, None]})

    return [FeatureContexts.of(entry.feature_id, list(map(renamed, entry.examples))) for entry in found.contexts]


@dataclasses.dataclass(frozen=True)
class Written:
    folder: Path
    found: NeuronpediaContexts
    contexts: list[FeatureContexts]
    tables: dict[int, list[MeasuredEvent]]

    def file(self, name: str) -> RepositoryFile:
        return RepositoryFile(self.folder / RUN / name, f"{RUN}/{name}")

    @property
    def findings(self) -> list[Finding]:
        return [finding for finding in check_folder(self.folder) if finding.level == "error"]


def write(folder: Path) -> Written:
    """A run over a virtual corpus at three context lengths, of which the last is too long for any event."""
    found = contexts_from_neuronpedia(
        answers(), lambda piece: int(piece) if piece.isdigit() else None, str, bos_id=BOS, top_k=4
    )
    contexts, run = tricky(found), folder / RUN
    write_contexts(run, 1, contexts, RECORD, corpus=found.corpus)
    write_adapter_log(run, found.logs, RECORD, labels=LABELS)
    tables = {}
    for context_len in (4, 16, 160):
        tables[context_len] = measure_events(
            event_fixture.model(),
            autoencoder(),
            found.corpus,
            contexts,
            layer=1,
            threshold=0.0,
            context_len=context_len,
            labels=LABELS,
        )
        write_events(run, context_len, tables[context_len], RECORD)
    write_manifest(
        run,
        FACTS,
        RECORD,
        top_k=4,
        corpus="made up, in /home/alice/corpus.txt",
        features=LABELS,
        context_lens=[4, 16, 160],
        source="neuronpedia",
    )
    write_case_study_manifest(
        folder / STUDY,
        dataclasses.replace(FACTS, timestamp="20260503_000000"),
        RECORD,
        source=RUN,
        n_contexts=5,
        features=entropies(tables[16]),
        labels=LABELS,
        recall={17: 0.75},
    )
    return Written(folder, found, contexts, tables)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write(tmp_path_factory.mktemp("events"))


def test_the_checks_find_no_fault(written: Written) -> None:
    assert written.findings == []


def test_names_are_those_of_the_published_layout(written: Written) -> None:
    files = [path for path in (written.folder / RUN).iterdir() if not path.name.endswith(provenance.SUFFIX)]
    lengths = ("004", "016", "160")
    assert {path.name for path in files} == {
        "manifest.json",
        "corpus_tokens.pt",
        "top_contexts_layer1.json",
        "adapter_log.json",
        *(f"ctx{length}.csv" for length in lengths),
        *(f"influences_ctx{length}.npz" for length in lengths),
    }
    for path in files:
        assert provenance.read(path) is not None


@pytest.mark.parametrize("context_len", [4, 16, 160])
def test_event_tables_read_back_as_they_were(written: Written, context_len: int) -> None:
    rows = events(written.file(f"ctx{context_len:03d}.csv"), [written.file("top_contexts_layer1.json")]).to_pylist()
    assert len(rows) == len(written.tables[context_len]) == 12
    starts = {example.window_start_token for entry in written.contexts for example in entry.examples}
    for row, event in zip(rows, written.tables[context_len], strict=True):
        for name in COLUMNS:
            value = getattr(event, name)
            missing = isinstance(value, float) and math.isnan(value)
            assert row["ctx" if name == "ctx_len" else name] == (None if missing else value)
        assert row["extra"] is None
        assert row["crosses_event"] == any(event.ctx_start < start <= event.abs_peak for start in starts)


def test_windows_that_reach_into_another_event_are_flagged(written: Written) -> None:
    flags = {
        length: {
            row["crosses_event"]
            for row in events(
                written.file(f"ctx{length:03d}.csv"), [written.file("top_contexts_layer1.json")]
            ).to_pylist()
            if row["status"] == "ok"
        }
        for length in (4, 16)
    }
    assert flags[16] == {True}  # every event is shorter
    assert False in flags[4]


def test_lines_end_as_in_the_published_tables(written: Written) -> None:
    data = written.file("ctx016.csv").path.read_bytes()
    assert data.startswith(
        b"feature_id,tier,description,top_act_rank,activation_value,abs_peak,ctx_len,ctx_start,H_pos_bits,n_positions,"
        b"J_max,J_sum,J_argmax,peak_token_str,status\r\n"
    )
    assert data.endswith(b"\r\n")


def test_influences_read_back_as_they_were(written: Written) -> None:
    for context_len, rows in written.tables.items():
        found = influences(written.file(f"influences_ctx{context_len:03d}.npz")).to_pylist()
        good = [event for event in rows if event.status == "ok"]
        assert bool(good) == (context_len < 160)  # an archive can be empty
        for row, event in zip(found, good, strict=True):
            assert (row["feature_id"], row["top_act_rank"], row["key"]) == (
                event.feature_id,
                event.top_act_rank,
                f"{event.feature_id}_{event.top_act_rank}",
            )
            np.testing.assert_array_equal(np.array(row["influence"], np.float32), event.influence)


def test_contexts_and_their_corpus_read_back_as_they_were(written: Written) -> None:
    file = written.file("top_contexts_layer1.json")
    assert read_contexts(file) == [entry for entry in written.contexts if entry.examples]
    data = file.path.read_bytes()
    assert data.isascii()
    assert data.startswith(b'{\n  "17": {\n    "max_activation": ')
    first = json.loads(data)["17"]["examples"][0]
    assert list(first) == [
        "activation",
        "token_idx",
        "tokens",
        "activating_token",
        "window_start_token",
        "neuronpedia_data_index",
        "neuronpedia_rank",
    ]
    corpus = load_tensor(written.file("corpus_tokens.pt"), n_dims=1)
    assert corpus.dtype == np.int64
    np.testing.assert_array_equal(corpus, written.found.corpus.numpy())


def test_the_log_of_the_adapter(written: Written) -> None:
    log = json.loads(written.file("adapter_log.json").path.read_text())
    assert log["17"] == {
        "tier": "token",
        "n_neuronpedia": 7,
        "n_after_dedup": 6,
        "n_duplicates": 1,
        "n_vocab_dropped": log["17"]["n_vocab_dropped"],
        "n_kept": 4,
        "roundtrip_failure_examples": ["x"] * log["17"]["n_vocab_dropped"],
    }
    assert list(log) == ["17", "8", str(SILENT)]


def test_the_manifest_names_no_machine(written: Written) -> None:
    manifest = json.loads(written.file("manifest.json").path.read_text())
    assert manifest == {
        "experiment": "cherry_picked_feature_entropy",
        "timestamp": "20260501_120000",
        "git_commit": None,
        "preset": "mini",
        "layer": 1,
        "sae_id": "1-res",
        "ctx_len": 16,
        "top_k": 4,
        "corpus": "made up, in corpus.txt",
        "queue": None,
        "gputype": None,
        "mem_per_core_gb": None,
        "features": [{"feature_id": e.feature_id, "tier": e.tier, "description": e.description} for e in LABELS],
        "ctx_lens_swept": [4, 16, 160],
        "variant": "neuronpedia",
        "source": "neuronpedia",
    }


def test_case_studies_read_back(written: Written) -> None:
    path = written.folder / STUDY / "manifest.json"
    rows = case_studies(RepositoryFile(path, f"{STUDY}/manifest.json")).to_pylist()
    statistics = entropies(written.tables[16])
    assert [row["feature_id"] for row in rows] == [17, 8, SILENT]
    for row, entry in zip(rows, statistics, strict=True):
        assert (row["mean_h_pos"], row["std_h_pos"], row["n_events"]) == (
            entry.mean_bits,
            entry.std_bits,
            entry.n_events,
        )
        assert (row["preset"], row["layer"], row["ctx"], row["extra"]) == ("mini", 1, 16, None)
    assert [row["recall_alt"] for row in rows] == [0.75, None, None]
    assert (rows[0]["n_events"] > 0, rows[2]["mean_h_pos"]) == (True, None)
    manifest = json.loads(path.read_text())
    assert (manifest["source_expt_dir"], manifest["top_n_contexts"]) == (RUN, 5)


@pytest.mark.parametrize("source", ["/home/alice/run", "../run", "C:\\run", "", "C:/run"])
def test_a_case_study_names_its_run_inside_the_repository(tmp_path: Path, source: str) -> None:
    with pytest.raises(SchemaError, match="source_expt_dir: the run is not named by its folder"):
        write_case_study_manifest(tmp_path, FACTS, RECORD, source=source, n_contexts=5, features=[])


def test_equal_runs_give_equal_bytes(written: Written, tmp_path: Path) -> None:
    again = write(tmp_path / "elsewhere")
    for path in sorted(written.folder.rglob("*")):
        if path.is_file() and not path.name.endswith(provenance.SUFFIX):
            assert (again.folder / path.relative_to(written.folder)).read_bytes() == path.read_bytes(), path.name


def test_a_scan_of_a_corpus_with_its_events(tmp_path: Path) -> None:
    """The contexts are no corpus of their own, so no window crosses into another."""
    corpus, run = event_fixture.corpus(), tmp_path / "cherry_picked_feature_entropy/20260502_000000"
    backend = event_fixture.tokenizer().backend

    def strings(ids: Sequence[int]) -> list[str]:
        return [backend.id_to_token(number) for number in ids]

    contexts = scan_corpus(
        event_fixture.model(),
        autoencoder("topk"),
        corpus,
        layer=1,
        features=range(N_FEATURES),
        window=16,
        top_k=3,
        token_strings=strings,
    )
    write_contexts(run, 1, contexts, RECORD, corpus=corpus[:])
    options = {"layer": 1, "threshold": 0.0, "context_len": 8}
    rows = measure_events(event_fixture.model(), autoencoder("topk"), corpus, contexts, **options)
    write_events(run, 8, rows, RECORD)
    write_manifest(run, FACTS, RECORD, top_k=3, corpus="random", features=[FeatureLabel(3)], scan=(16, None))
    assert [finding for finding in check_folder(tmp_path) if finding.level == "error"] == []
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["top_contexts_window"], manifest["max_batches"]) == (16, None)
    assert not {"variant", "source", "ctx_lens_swept", "host"} & set(manifest)
    name = "cherry_picked_feature_entropy/20260502_000000/{}"
    contexts_file = RepositoryFile(run / "top_contexts_layer1.json", name.format("top_contexts_layer1.json"))
    assert read_contexts(contexts_file) == contexts
    table = events(RepositoryFile(run / "ctx008.csv", name.format("ctx008.csv")), [contexts_file])
    assert set(table["crosses_event"].to_pylist()) == {None}
    assert {"ok", "feature_below_threshold_at_peak"} <= set(table["status"].to_pylist())


def test_a_part_of_a_corpus_is_written_alone(tmp_path: Path) -> None:
    """A view of a tensor would be saved with all that lies behind it."""
    whole = torch.arange(100_000)
    write_contexts(tmp_path, 1, [], RECORD, corpus=whole[:10])
    path = tmp_path / "corpus_tokens.pt"
    assert path.stat().st_size < 5_000
    assert load_tensor(RepositoryFile(path, f"{RUN}/corpus_tokens.pt"), n_dims=1).tolist() == list(range(10))


def test_tables_without_rows(tmp_path: Path) -> None:
    run = tmp_path / RUN
    write_events(run, 16, [], RECORD)
    write_contexts(run, 1, [], RECORD, corpus=torch.empty(0, dtype=torch.int64))
    assert len(events(RepositoryFile(run / "ctx016.csv", f"{RUN}/ctx016.csv"))) == 0
    assert read_npz(run / "influences_ctx016.npz") == {}
    assert [finding for finding in check_folder(tmp_path) if finding.level == "error"] == []


def test_events_that_do_not_belong_together_are_refused(written: Written, tmp_path: Path) -> None:
    rows = written.tables[16]
    with pytest.raises(SchemaError, match=r"another context length .*found \[16\], expected 8"):
        write_events(tmp_path, 8, rows, RECORD)
    with pytest.raises(SchemaError, match=r"same feature and rank \(found 13 events, expected 12"):
        write_events(tmp_path, 16, [*rows, rows[0]], RECORD)
    assert list(tmp_path.iterdir()) == []


def test_contexts_without_a_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "top_contexts_layer1.json"
    for example in (
        {"activation": None, "token_idx": 0, "tokens": ["a"], "window_start_token": 0},
        {"activation": 1.0, "token_idx": 0, "tokens": ["a"]},
        {"activation": 1.0, "token_idx": 1, "tokens": ["a"], "window_start_token": 0},
    ):
        path.write_text(json.dumps({"3": {"examples": [example]}}))
        with pytest.raises(SchemaError, match=r"3\.examples\[0\]: the example has no activation"):
            read_contexts(RepositoryFile(path, f"{RUN}/top_contexts_layer1.json"))


@settings(max_examples=25)  # each waits for the disk
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_survives_a_table(texts: list[str]) -> None:
    nothing = float("nan")
    rows = [
        MeasuredEvent(3, "", text, rank, 0.1, 7, 4, 4, nothing, 0, nothing, nothing, -1, text, "other", None)
        for rank, text in enumerate(texts)
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_events(Path(folder), 4, rows, RECORD)
        path = Path(folder) / "ctx004.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            assert [line["peak_token_str"] for line in csv.DictReader(stream)] == texts
        table = events(RepositoryFile(path, f"{RUN}/ctx004.csv"))
    assert table["peak_token_str"].to_pylist() == texts
    assert table["description"].to_pylist() == texts
