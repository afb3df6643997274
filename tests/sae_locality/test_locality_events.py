"""Event tables of both layouts, their influences, and top contexts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from locality_fixture import CARD_EVENTS, EVENTS, LEAKS, LEGACY_EVENTS, Read

from circuit_artifacts.errors import FormatError, SchemaError, UnsafeContentError
from circuit_artifacts.formats.npz import read_npz
from circuit_artifacts.sae_locality.events import influences
from circuit_artifacts.sae_locality.files import RepositoryFile

TABLE = f"{EVENTS}/ctx128.csv"
ARCHIVE = f"{EVENTS}/influences_ctx128.npz"
CONTEXTS = f"{EVENTS}/top_contexts_layer12.json"


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def rewritten(published: Path, tmp_path: Path) -> Callable[..., Path]:
    """One event table written anew with something changed."""

    def rewrite(edit: Callable[[list[dict[str, str]]], object], file: str = TABLE) -> Path:
        rows = lines(published / file)
        edit(rows)
        (tmp_path / file).parent.mkdir(parents=True)
        with (tmp_path / file).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path

    return rewrite


def test_the_columns_of_the_code(published: Path, read: Read) -> None:
    rows = read("events", TABLE).to_pylist()
    assert len(rows) == 20
    for row, line in zip(rows, lines(published / TABLE), strict=True):
        for name in ("feature_id", "top_act_rank", "abs_peak", "ctx_start", "n_positions", "J_argmax"):
            assert row[name] == int(line[name])
        for name in ("activation_value", "H_pos_bits", "J_max", "J_sum"):
            assert row[name] == (None if line[name] == "nan" else float(line[name]))
        for name in ("tier", "description", "status"):
            assert row[name] == line[name]
        assert (row["ctx"], row["run"], row["published_as"], row["extra"]) == (128, EVENTS, None, None)


def test_tokens_that_look_like_missing_values_stay_text(published: Path, read: Read) -> None:
    pieces = read("events", TABLE)["peak_token_str"].to_pylist()
    assert {"null", "NA", "None", "", "\n", 'a "b", c', "nan"} <= set(pieces)
    assert pieces == [line["peak_token_str"] for line in lines(published / TABLE)]


def test_the_columns_of_the_card_get_the_same_names(published: Path, read: Read) -> None:
    rows = read("events", f"{CARD_EVENTS}/ctx64.csv").to_pylist()
    line = lines(published / CARD_EVENTS / "ctx64.csv")[0]
    row = rows[0]
    assert row["H_pos_bits"] == float(line["H_pos"])
    assert row["J_sum"] == float(line["sum_J"])
    assert row["top_act_rank"] == int(line["event_idx"])
    assert row["activation_value"] == float(line["peak_value"])
    assert json.loads(row["published_as"]) == {
        "top_act_rank": "event_idx",
        "H_pos_bits": "H_pos",
        "activation_value": "peak_value",
        "J_sum": "sum_J",
    }
    assert json.loads(row["extra"]) == {"recall_alt": "0.9"}
    assert (row["status"], row["J_max"], row["ctx"]) == (None, None, 64)


def test_a_peak_index_beyond_the_window_counts_in_the_corpus(read: Read) -> None:
    row = read("events", f"{CARD_EVENTS}/ctx64.csv").to_pylist()[-1]
    assert row["abs_peak"] == row["peak_token_idx"] > 64


def test_a_peak_index_inside_the_window_stays_apart(rewritten: Callable[..., Path], read: Read) -> None:
    file = f"{CARD_EVENTS}/ctx64.csv"
    folder = rewritten(lambda rows: [row.update(peak_token_idx="63") for row in rows], file)
    rows = read("events", file, folder=folder)
    assert set(rows["peak_token_idx"].to_pylist()) == {63}
    assert rows["abs_peak"].null_count == len(rows)


def test_windows_that_hold_the_start_of_another_event_are_flagged(published: Path, read: Read) -> None:
    contexts = json.loads((published / CONTEXTS).read_text())
    starts = [example["window_start_token"] for entry in contexts.values() for example in entry["examples"]]
    for ctx in (16, 128):
        for row in read("events", f"{EVENTS}/ctx{ctx:03d}.csv").to_pylist():
            expected = any(row["ctx_start"] < start <= row["abs_peak"] for start in starts)
            assert row["crosses_event"] is expected
    assert True in read("events", TABLE)["crosses_event"].to_pylist()
    assert False in read("events", f"{EVENTS}/ctx016.csv")["crosses_event"].to_pylist()
    assert set(read("events", f"{CARD_EVENTS}/ctx64.csv")["crosses_event"].to_pylist()) == {None}


def test_legacy_tables_carry_their_tier(read: Read) -> None:
    assert set(read("events", f"{LEGACY_EVENTS}/ctx064_concept.csv")["tier"].to_pylist()) == {"concept"}
    rows = read("influences", f"{LEGACY_EVENTS}/influences_ctx064_concept.npz").to_pylist()
    assert {(row["tier"], row["ctx"], len(row["influence"])) for row in rows} == {("concept", 64, 64)}


def test_influences_are_named_by_feature_and_rank(published: Path, read: Read) -> None:
    rows = read("influences", ARCHIVE).to_pylist()
    archive = read_npz(published / ARCHIVE)
    assert [row["key"] for row in rows] == list(archive)
    for row in rows:
        assert row["key"] == f"{row['feature_id']}_{row['top_act_rank']}"
        np.testing.assert_array_equal(row["influence"], archive[row["key"]])


def test_influences_named_by_row_are_resolved_by_the_table(published: Path, read: Read) -> None:
    file = f"{CARD_EVENTS}/influences_ctx64.npz"
    rows = read("influences", file).to_pylist()
    table = lines(published / CARD_EVENTS / "ctx64.csv")
    assert [(row["feature_id"], row["top_act_rank"]) for row in rows] == [
        (int(line["feature_id"]), int(line["event_idx"])) for line in table
    ]
    with pytest.raises(SchemaError, match=r"tells no event.*Keep the event table"):
        influences(RepositoryFile(published / file, file))


def test_an_archive_without_arrays_has_no_rows(read: Read) -> None:
    assert len(read("influences", f"{EVENTS}/influences_ctx256.npz")) == 0


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros(3, np.float32)}, "other: the name of an array tells no event"),
        ({"1_2": np.zeros((3, 3), np.float32)}, "1_2: not a vector of numbers"),
        ({"1_2": np.zeros(3, np.float32), "01_2": np.zeros(3, np.float32)}, "01_2: two arrays are of the same event"),
    ],
)
def test_archives_of_another_form_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(SchemaError, match=message):
        influences(RepositoryFile(tmp_path / "a.npz", ARCHIVE))


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"1_2": np.array([{}], object)})
    with pytest.raises(UnsafeContentError):
        influences(RepositoryFile(tmp_path / "a.npz", ARCHIVE))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[3].update(feature_id="x"), "feature_id: a cell has another type"),
        (lambda rows: rows[3].update(top_act_rank=""), "top_act_rank, row 3: an empty cell"),
        (lambda rows: [row.pop("feature_id") for row in rows], r"header: missing column\(s\): feature_id"),
        (lambda rows: rows[3].update(ctx_len="64"), "ctx_len: the context length is not that of the file's name"),
    ],
)
def test_tables_of_another_form_are_refused(
    rewritten: Callable[..., Path], read: Read, edit: Callable[..., object], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        read("events", TABLE, folder=rewritten(edit))


def test_whole_numbers_that_pandas_wrote_with_a_point_are_whole(rewritten: Callable[..., Path], read: Read) -> None:
    folder = rewritten(lambda rows: [row.update(abs_peak=row["abs_peak"] + ".0") for row in rows])
    assert read("events", TABLE, folder=folder)["abs_peak"] == read("events", TABLE)["abs_peak"]


def test_a_status_that_quotes_a_path_keeps_its_last_part(rewritten: Callable[..., Path], read: Read) -> None:
    status = "compute_error: [Errno 2] No such file '{}weights.pt'"
    folder = rewritten(lambda rows: rows[2].update(status=status.format("/home/alice/")))
    assert read("events", TABLE, folder=folder)["status"][2].as_py() == status.format("")


def test_a_column_with_the_name_of_ours_is_kept(rewritten: Callable[..., Path], read: Read) -> None:
    folder = rewritten(lambda rows: [row.update(extra="more", run="theirs") for row in rows])
    row = read("events", TABLE, folder=folder).to_pylist()[0]
    assert (row["run"], json.loads(row["extra"])) == (EVENTS, {"extra": "more", "run": "theirs"})


def test_a_ragged_table_is_refused(tmp_path: Path, read: Read) -> None:
    (tmp_path / EVENTS).mkdir(parents=True)
    (tmp_path / TABLE).write_text("feature_id,top_act_rank\n1,2\n3\n")
    with pytest.raises(FormatError, match="truncated, or not CSV"):
        read("events", TABLE, folder=tmp_path)


def test_top_contexts_are_rows(published: Path, read: Read) -> None:
    rows = read("top_contexts", CONTEXTS).to_pylist()
    contexts = json.loads((published / CONTEXTS).read_text())
    assert len(rows) == 20
    row, example = rows[5], contexts["17"]["examples"][1]
    assert (row["feature_id"], row["rank"], row["layer"], row["max_activation"]) == (17, 1, 12, 9.0)
    for name in ("activation", "token_idx", "tokens", "activating_token", "window_start_token", "neuronpedia_rank"):
        assert row[name] == example[name]
    assert (row["neuronpedia_data_index"], row["extra"]) == (None, None)


def test_contexts_of_a_local_scan_start_no_events(tmp_path: Path, published: Path, read: Read) -> None:
    contexts = json.loads((published / CONTEXTS).read_text())
    for entry in contexts.values():
        for example in entry["examples"]:
            del example["neuronpedia_rank"], example["neuronpedia_data_index"]
    for file in (TABLE, CONTEXTS):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((published / file).read_bytes())
    (tmp_path / CONTEXTS).write_text(json.dumps(contexts))
    assert set(read("events", TABLE, folder=tmp_path)["crosses_event"].to_pylist()) == {None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "does not hold a JSON object"),
        ('{"x": {"examples": []}}', "x: not a feature with its examples"),
        ('{"1": {"examples": [{"tokens": ["a"]}]}}', "token_idx: there is not one value per row"),
        ('{"1": {"examples": [{"tokens": [1], "token_idx": 0}]}}', "tokens: a value has another type"),
    ],
)
def test_contexts_of_another_form_are_refused(tmp_path: Path, read: Read, content: str, message: str) -> None:
    (tmp_path / CONTEXTS).parent.mkdir(parents=True)
    (tmp_path / CONTEXTS).write_text(content)
    with pytest.raises(SchemaError, match=message):
        read("top_contexts", CONTEXTS, folder=tmp_path)


def test_leaks_are_in_the_files_that_the_rows_come_from(published: Path) -> None:
    assert LEAKS[0] in (published / EVENTS / "manifest.json").read_text()
