"""Stages 11 to 14 end to end on a tiny model and a few pairs, each file against plain calls and plain counting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_model import write_tiny_gpt2, write_tiny_model

from circuit_artifacts import catalog, provenance
from circuit_artifacts.compute.csp.activations import accumulate
from circuit_artifacts.compute.csp.losses import sequence_losses
from circuit_artifacts.compute.csp.prompts import generate_object_prompts
from circuit_artifacts.compute.models import load_model, load_tokenizer
from circuit_artifacts.errors import ModelError, SchemaError
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.formats.tabular import write_parquet
from circuit_artifacts.regeneration import regenerate

EPSILONS, CONSISTENCIES = (0.001, 0.1, 0.5), (0.2, 0.5, 0.8)
N_LAYERS, WIDTH = 5, 16
PARAMETERS = {
    "ast_nodes": ["For", "If", "Return", "Pass", "Break", "Import"],
    "builtin_objs": ["_isolated_", "int", "list", "str"],
    "n_prompts": 6,
    "n_checkers": 5,
    "loss_threshold": 100.0,  # the weights are random
    "batch_tokens": 512,
    "thresholds": list(EPSILONS),
}
PAIRS = [
    *(("For", builtin) for builtin in ("list", "str")),  # int is no iterable
    *((node, builtin) for node in ("Return", "If") for builtin in ("int", "list", "str")),
    *((node, "_isolated_") for node in ("Import", "Pass", "Break")),
]  # in generation order: csp_atlas spec 2.3
PAIR_KEYS = sorted(f"{node}__{builtin}" for node, builtin in PAIRS)
UNIVERSAL = sorted({f"ast__{node}" for node, _ in PAIRS} | {f"builtin__{builtin}" for _, builtin in PAIRS})
TESTABLE = [concept for concept in UNIVERSAL if concept != "builtin___isolated_"]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_artifacts.atomic._synchronise", lambda _: None)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", n_layer=N_LAYERS, afrac=0.6)


@pytest.fixture(scope="module")
def made(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every family, made from nothing."""
    folder = tmp_path_factory.mktemp("made") / "atlas"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("circuit_artifacts.atomic._synchronise", lambda _: None)
        _make(folder, model_folder)
    return folder


def _make(folder: Path, model: Path | str, *families: str, force: bool = False, **changes: Any) -> None:
    regenerate(
        "csp-atlas", families, root=folder, parameters={**PARAMETERS, "model": str(model), **changes}, force=force
    )


def _copy(made: Path, folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        for suffix in ("", provenance.SUFFIX):
            shutil.copy(made / f"{name}{suffix}", folder)
    return folder


def _settings() -> list[tuple[float, float]]:
    return [(eps, cons) for eps in EPSILONS for cons in CONSISTENCIES]


def _vectors(path: Path, group: str) -> dict[str, np.ndarray[Any, Any]]:
    """Key -> (layer, width), by plain h5py."""
    with h5py.File(path) as file:
        return {
            key: np.stack([file[f"{group}/layer_{layer}/{key}"][()] for layer in range(len(file[group]))])
            for key in file[group]["layer_0"]
        }


def _encoded(model_folder: Path, texts: list[str]) -> list[list[int]]:
    tokenizer = load_tokenizer(model_folder)
    return [tokenizer.encode(text)[:160] for text in texts]  # 160: the model's context


# Files


def test_the_files_have_the_published_names(made: Path) -> None:
    grid = [f"eps{eps}_cons{cons}" for eps, cons in _settings()]
    expected = {
        "11A_object_prompts.parquet",
        "11B_checker_prompts.parquet",
        "token_checker_prompts.parquet",
        "12_object_activations.h5",
        "12_checker_activations.h5",
        "token_checker_masks.h5",
        "universal_106x50.h5",
        "14_summary.csv",
        "relaxed_modularity_scores.csv",
        "relaxed_modularity_detail.csv",
        "token_independence_summary.csv",
        "token_independence_detail.csv",
        "token_independence_no_keyword.csv",
        *(f"13_object_masks_{setting}.h5" for setting in grid),
        *(f"13_checker_masks_{setting}.h5" for setting in grid),
        *(f"14_target_checker_{setting}.csv" for setting in grid),
    }
    assert {path.name for path in made.iterdir()} == expected | {f"{name}{provenance.SUFFIX}" for name in expected}


def test_no_file_tells_where_on_the_machine_it_was_made(made: Path, model_folder: Path) -> None:
    places = [str(made.parent).encode(), str(model_folder.parent).encode(), str(Path.home()).encode() + b"/"]
    for path in made.iterdir():
        content = path.read_bytes()
        assert not [place for place in places if place in content], path.name


def test_provenance_names_model_parameters_and_inputs(made: Path) -> None:
    digest = provenance.file_digest
    for path in made.iterdir():
        if path.name.endswith(provenance.SUFFIX):
            continue
        record = provenance.read(path)
        assert record is not None, path.name
        assert record.model is not None, path.name
        assert record.model["id"] == "tiny", path.name
        assert len(record.model["sha256"]) == 64, path.name
        assert (record.n_layers, record.width) == (N_LAYERS, WIDTH), path.name
        assert record.parameters["seed"] == 42, path.name
        assert record.parameters["ast_nodes"] == PARAMETERS["ast_nodes"], path.name
        for name, known in record.inputs.items():
            assert known == digest(made / name), (path.name, name)

    def record_of(name: str) -> provenance.Provenance:
        found = provenance.read(made / name)
        assert found is not None
        return found

    masks, table = "13_object_masks_eps0.1_cons0.5.h5", "14_target_checker_eps0.1_cons0.5.csv"
    assert record_of("11A_object_prompts.parquet").inputs == {}
    assert list(record_of("12_object_activations.h5").inputs) == ["11A_object_prompts.parquet"]
    assert list(record_of(masks).inputs) == ["12_object_activations.h5"]
    assert list(record_of(table).inputs) == ["13_checker_masks_eps0.1_cons0.5.h5", masks]
    assert len(record_of("14_summary.csv").inputs) == 9
    # Which of the code's and the paper's rules ran is said in every file that they shape.
    expected = {
        "position": "last_token",
        "rule": "mean",
        "filter_rule": "pair_mean",
        "n_prompts": 6,
        "dtype": "float32",
    }
    assert expected.items() <= record_of(masks).parameters.items()


def test_a_later_step_does_not_claim_defaults_that_did_not_apply(made: Path, tmp_path: Path) -> None:
    folder = _copy(made, tmp_path / "atlas", "12_object_activations.h5")
    regenerate("csp-atlas", ["masks"], root=folder)
    record = provenance.read(folder / "13_object_masks_eps0.5_cons0.8.h5")
    assert record is not None
    assert record.parameters["n_prompts"] == 6
    assert record.model is not None
    assert record.model["id"] == "tiny"


# Stage 11


def test_object_prompts_are_the_generated_ones_with_their_losses(made: Path, model_folder: Path) -> None:
    table = pq.read_table(made / "11A_object_prompts.parquet")
    assert {field.name: field.type for field in table.schema} == {
        "ast_node": pa.string(),
        "builtin_obj": pa.string(),
        "variation_id": pa.int64(),
        "prompt_text": pa.string(),
        "sequence_loss": pa.float64(),
        "token_length": pa.int64(),
        "ast_verified": pa.bool_(),
    }
    frame = table.to_pandas()
    assert isinstance(frame.index, pd.RangeIndex)
    expected = list(generate_object_prompts(PAIRS, n=6, seed=42))
    assert frame[["ast_node", "builtin_obj", "variation_id", "prompt_text", "ast_verified"]].values.tolist() == [
        [p.ast_node, p.builtin_obj, p.variation_id, p.prompt_text, p.ast_verified] for p in expected
    ]
    ids = _encoded(model_folder, frame["prompt_text"].tolist())
    assert frame["token_length"].tolist() == [len(i) for i in ids]
    np.testing.assert_allclose(frame["sequence_loss"], sequence_losses(load_model(model_folder), ids), atol=1e-5)


def test_the_filter_drops_whole_pairs_by_their_mean_loss(made: Path, model_folder: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(made / "11A_object_prompts.parquet")
    means = frame.groupby(["ast_node", "builtin_obj"])["sequence_loss"].mean()
    threshold = float(means.median()) + 1e-3
    folder = tmp_path / "atlas"
    _make(folder, model_folder, "object_prompts", loss_threshold=threshold)
    kept = pd.read_parquet(folder / "11A_object_prompts.parquet")
    expected = frame[
        [
            means[node, builtin] <= threshold
            for node, builtin in zip(frame["ast_node"], frame["builtin_obj"], strict=True)
        ]
    ]
    assert 0 < len(expected) < len(frame)
    pd.testing.assert_frame_equal(kept, expected.reset_index(drop=True))
    with pytest.raises(SchemaError, match="no pair survives the loss filter"):
        _make(tmp_path / "none", model_folder, "object_prompts", loss_threshold=0.01)
    assert not list((tmp_path / "none").iterdir())


@pytest.mark.parametrize("name", ["11B_checker_prompts.parquet", "token_checker_prompts.parquet"])
def test_checker_prompts_hold_the_testable_concepts(made: Path, name: str) -> None:
    table = pq.read_table(made / name)
    assert [(field.name, field.type) for field in table.schema] == [
        ("object", pa.string()),
        ("keyword", pa.string()),
        ("variation_id", pa.int64()),
        ("prompt_text", pa.string()),
    ]
    frame = table.to_pandas()
    assert frame["object"].unique().tolist() == TESTABLE
    for _, group in frame.groupby("object"):
        assert group["variation_id"].tolist() == list(range(len(group)))
        assert len(group) <= 5
    assert all(keyword in text for keyword, text in zip(frame["keyword"], frame["prompt_text"], strict=True))


# Stage 12


@pytest.mark.parametrize("kind", ["object", "checker"])
def test_activations_are_those_of_a_direct_call(made: Path, model_folder: Path, kind: str) -> None:
    prompts = "11A_object_prompts.parquet" if kind == "object" else "11B_checker_prompts.parquet"
    frame = pd.read_parquet(made / prompts)
    key = frame["ast_node"] + "__" + frame["builtin_obj"] if kind == "object" else frame["object"]
    names = sorted(key.unique())
    expected = accumulate(
        load_model(model_folder),
        _encoded(model_folder, frame["prompt_text"].tolist()),
        np.array([names.index(k) for k in key]),
        len(names),
        thresholds=EPSILONS,
        batch_tokens=512,
    )
    path = made / f"12_{kind}_activations.h5"
    for group, values in (("activations", expected.activation_sum), ("firing_counts", expected.firing_count)):
        found = _vectors(path, group)
        assert list(found) == names
        np.testing.assert_array_equal(np.stack(list(found.values())), values)
    assert expected.exceedance_count is not None
    for eps, counts in zip(EPSILONS, expected.exceedance_count, strict=True):
        np.testing.assert_array_equal(np.stack(list(_vectors(path, f"exceedance_counts/eps{eps}").values())), counts)
    with h5py.File(path) as file:
        assert {name: int(file["n_prompts"][name][()]) for name in names} == key.value_counts().to_dict()
        assert dict(file["metadata"].attrs) == {
            "model_id": "tiny",
            "n_layers": N_LAYERS,
            "n_pairs": len(names),
            "input_file": prompts,
        }


def test_the_published_positions_can_be_asked_for(made: Path, model_folder: Path, tmp_path: Path) -> None:
    folder = _copy(made, tmp_path / "atlas", "11A_object_prompts.parquet")
    _make(folder, model_folder, "object_activations", position="as_committed")
    record = provenance.read(folder / "12_object_activations.h5")
    assert record is not None
    assert record.parameters["position"] == "as_committed"
    one, other = (_vectors(f / "12_object_activations.h5", "activations") for f in (folder, made))
    assert list(one) == list(other)
    assert not np.allclose(one["For__list"], other["For__list"])


def test_the_published_positions_need_the_published_pad_token(made: Path, tmp_path: Path) -> None:
    # Another token in its place would give other numbers without a word.
    model = write_tiny_model(tmp_path / "odd", n_layer=1)
    tokenizer = json.loads((model / "tokenizer.json").read_text().replace("<|endoftext|>", "</s>"))
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    folder = _copy(made, tmp_path / "atlas", "11A_object_prompts.parquet")
    with pytest.raises(ModelError, match=r"odd: the tokenizer has no end-of-text token"):
        _make(folder, model, "object_activations", position="as_committed")
    _make(folder, model, "object_activations")
    assert (folder / "12_object_activations.h5").is_file()


def test_any_transformers_model_can_be_read(tmp_path: Path) -> None:
    gpt2, folder = write_tiny_gpt2(tmp_path / "gpt2"), tmp_path / "atlas"
    _make(folder, gpt2, "object_activations", ast_nodes=["Pass", "For"], n_prompts=3)
    prompts = pd.read_parquet(folder / "11A_object_prompts.parquet")["prompt_text"].tolist()
    assert len(prompts) == 9
    groups = np.repeat([0, 1, 2], 3)  # For__list, For__str, Pass___isolated_: already in ASCII order
    expected = accumulate(load_model(gpt2), _encoded(gpt2, prompts), groups, 3, batch_tokens=512)
    found = _vectors(folder / "12_object_activations.h5", "activations")
    assert list(found) == ["For__list", "For__str", "Pass___isolated_"]
    np.testing.assert_array_equal(np.stack(list(found.values())), expected.activation_sum)
    record = provenance.read(folder / "12_object_activations.h5")
    assert record is not None
    assert (record.n_layers, record.width) == (2, 16)


def test_another_precision_does_not_resume_a_checkpoint(
    made: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _copy(made, tmp_path / "atlas", "11A_object_prompts.parquet")
    digests: list[str] = []

    def stop(_sums: object, _path: Path, digest: str) -> int:
        digests.append(digest)
        raise KeyboardInterrupt

    monkeypatch.setattr("circuit_artifacts.compute.csp.activations._Sums.load", stop)
    for dtype in ("float32", "float32", "bfloat16"):
        with pytest.raises(KeyboardInterrupt):
            _make(folder, model_folder, "object_activations", dtype=dtype)
    assert digests[0] == digests[1] != digests[2]


def test_token_checker_masks_come_straight_from_their_prompts(made: Path, model_folder: Path) -> None:
    frame = pd.read_parquet(made / "token_checker_prompts.parquet")
    groups = np.array([TESTABLE.index(name) for name in frame["object"]])
    sums = accumulate(
        load_model(model_folder),
        _encoded(model_folder, frame["prompt_text"].tolist()),
        groups,
        len(TESTABLE),
        batch_tokens=512,
    )
    n = sums.n_prompts[:, None, None]
    expected = (sums.activation_sum / n > 0.001) & (sums.firing_count / n >= 0.8)
    path = made / "token_checker_masks.h5"
    found = _vectors(path, "token_checker_masks")
    assert list(found) == TESTABLE
    np.testing.assert_array_equal(np.stack(list(found.values())), expected)
    with h5py.File(path) as file:
        assert dict(file["generation_stats"].attrs) == {
            f"{name}_n_valid": int(count) for name, count in zip(TESTABLE, sums.n_prompts, strict=True)
        }
        assert file["metadata"].attrs["n_prompts_per_object"] == 5
        assert file["metadata"].attrs["categories"] == "A_string,B_comment,C_identifier,D_dictkey,E_print"


# Stage 13


@pytest.mark.parametrize("setting", _settings(), ids=str)
def test_masks_follow_the_rule_from_the_sums(made: Path, setting: tuple[float, float]) -> None:
    eps, cons = setting
    for kind, group in (("object", "pair_masks"), ("checker", "token_checker_masks")):
        path = made / f"12_{kind}_activations.h5"
        sums, fired = _vectors(path, "activations"), _vectors(path, "firing_counts")
        masks = _vectors(made / f"13_{kind}_masks_eps{eps}_cons{cons}.h5", group)
        assert list(masks) == list(sums)
        with h5py.File(path) as file:
            for key, mask in masks.items():
                n = np.float32(file["n_prompts"][key][()])
                np.testing.assert_array_equal(mask, (sums[key] / n > eps) & (fired[key] / n >= cons), err_msg=key)


def test_the_grid_distinguishes_its_settings(made: Path) -> None:
    # Otherwise every test of a setting would hold for a file of any other.
    sizes = {
        setting: sum(
            m.sum()
            for m in _vectors(made / f"13_object_masks_eps{setting[0]}_cons{setting[1]}.h5", "pair_masks").values()
        )
        for setting in _settings()
    }
    assert len(set(sizes.values())) >= 6
    assert 0 < sizes[0.5, 0.8] < sizes[0.001, 0.2]


def test_universal_masks_are_intersections_of_pairs(made: Path) -> None:
    for name in ("13_object_masks_eps0.1_cons0.2.h5", "universal_106x50.h5"):
        pairs, universal = _vectors(made / name, "pair_masks"), _vectors(made / name, "universal_masks")
        assert list(pairs) == PAIR_KEYS
        assert list(universal) == UNIVERSAL
        for node, _ in PAIRS:
            members = [mask for key, mask in pairs.items() if key.split("__", 1)[0] == node]
            np.testing.assert_array_equal(universal[f"ast__{node}"], np.all(members, axis=0))
        for _, builtin in PAIRS:
            members = [mask for key, mask in pairs.items() if key.split("__", 1)[1] == builtin]
            np.testing.assert_array_equal(universal[f"builtin__{builtin}"], np.all(members, axis=0))
    with h5py.File(made / "universal_106x50.h5") as file:
        assert file["metadata"].attrs["epsilon"] == 0.001
        assert file["metadata"].attrs["model_id"] == "tiny"


def test_the_per_prompt_rule_reads_the_counts_of_its_threshold(made: Path, tmp_path: Path) -> None:
    # Thresholds are given in another order than they are stored in: each must keep its counts.
    source = "12_object_activations.h5"
    folder = _copy(made, tmp_path / "atlas", source)
    _make(folder, "no model needed", "masks", "universal_106x50", rule="per_prompt", thresholds=[0.5, 0.001, 0.1])
    for eps, cons in _settings():
        counts = _vectors(made / source, f"exceedance_counts/eps{eps}")
        masks = _vectors(folder / f"13_object_masks_eps{eps}_cons{cons}.h5", "pair_masks")
        for key, mask in masks.items():
            np.testing.assert_array_equal(mask, counts[key] / np.float32(6) >= np.float32(cons))
    record = provenance.read(folder / "universal_106x50.h5")
    assert record is not None
    assert record.parameters["rule"] == "per_prompt"


def test_the_per_prompt_rule_says_what_stage_12_lacks(made: Path, model_folder: Path, tmp_path: Path) -> None:
    folder = _copy(made, tmp_path / "atlas", "11A_object_prompts.parquet")
    _make(folder, model_folder, "object_activations", thresholds=[0.1])
    with pytest.raises(SchemaError, match=r"above 0\.001 counted in stage 12.*above \[0\.1\].*thresholds"):
        _make(folder, model_folder, "masks", rule="per_prompt")
    assert not list(folder.glob("13_*"))


def test_the_token_checker_masks_follow_the_rule_too(made: Path, model_folder: Path, tmp_path: Path) -> None:
    # Compared with universal_106x50 of another rule they would mean nothing.
    folder = _copy(made, tmp_path / "atlas", "token_checker_prompts.parquet")
    setting = (0.3, 0.5)
    _make(folder, model_folder, "token_checker_masks", rule="per_prompt", thresholds=[], token_checker_setting=setting)
    frame = pd.read_parquet(folder / "token_checker_prompts.parquet")
    groups = np.array([TESTABLE.index(name) for name in frame["object"]])
    ids = _encoded(model_folder, frame["prompt_text"].tolist())
    counts = accumulate(load_model(model_folder), ids, groups, len(TESTABLE), thresholds=(0.3,), batch_tokens=512)
    assert counts.exceedance_count is not None
    expected = counts.exceedance_count[0] / counts.n_prompts[:, None, None] >= 0.5
    found = _vectors(folder / "token_checker_masks.h5", "token_checker_masks")
    np.testing.assert_array_equal(np.stack(list(found.values())), expected)
    assert expected.any()


# Stage 14 and the analyses


@pytest.mark.parametrize("setting", _settings(), ids=str)
def test_decomposition_counts_dimensions(made: Path, setting: tuple[float, float]) -> None:
    name = f"eps{setting[0]}_cons{setting[1]}"
    a = _vectors(made / f"13_object_masks_{name}.h5", "universal_masks")
    b = _vectors(made / f"13_checker_masks_{name}.h5", "token_checker_masks")
    table = pd.read_csv(made / f"14_target_checker_{name}.csv", index_col="target", dtype=str)
    assert table.index.tolist() == TESTABLE
    assert table.columns.tolist() == [f"L{layer}" for layer in range(N_LAYERS)]
    for concept in TESTABLE:
        for layer in range(N_LAYERS):
            x, y = (set(np.flatnonzero(masks[concept][layer])) for masks in (a, b))
            assert table.loc[concept, f"L{layer}"] == f"{len(x - y)} / {len(x & y)} / {len(y - x)}"


def test_summary_averages_the_tables(made: Path) -> None:
    summary = pd.read_csv(made / "14_summary.csv")
    assert summary[["epsilon", "consistency"]].values.tolist() == [list(setting) for setting in _settings()]
    for row in summary.itertuples():
        table = pd.read_csv(
            made / f"14_target_checker_eps{row.epsilon}_cons{row.consistency}.csv", index_col="target", dtype=str
        )
        cells = [(target, *map(int, cell.split(" / "))) for target in table.index for cell in table.loc[target]]
        fractions = [round(co / (co + sh), 4) if co + sh else 0.0 for _, co, sh, _ in cells]
        assert row.mean_concept_fraction == pytest.approx(np.mean(fractions), abs=6e-5)
        ast = [f for f, (target, *_) in zip(fractions, cells, strict=True) if target.startswith("ast__")]
        assert row.ast_concept_fraction == pytest.approx(np.mean(ast), abs=6e-5)
        assert row.mean_A_size == pytest.approx(np.mean([co + sh for _, co, sh, _ in cells]), abs=0.06)
        assert (row.n_testable, row.n_ast, row.n_builtin) == (9, 6, 3)


def test_token_independence_compares_the_two_files_of_its_setting(made: Path) -> None:
    a, b = (
        _vectors(made / "universal_106x50.h5", "universal_masks"),
        _vectors(made / "token_checker_masks.h5", "token_checker_masks"),
    )
    detail = pd.read_csv(made / "token_independence_detail.csv")
    assert len(detail) == len(TESTABLE) * N_LAYERS
    for row in detail.itertuples():
        x, y = a[row.object][row.layer], b[row.object][row.layer]
        assert (row.A_size, row.B_size, row.A_and_B) == (x.sum(), y.sum(), (x & y).sum())
    no_keyword = pd.read_csv(made / "token_independence_no_keyword.csv", keep_default_na=False)
    assert no_keyword.values.tolist() == [["builtin___isolated_", "no_keyword"]]


def test_token_independence_refuses_masks_of_different_settings(made: Path, tmp_path: Path) -> None:
    # csp_atlas spec 10, row 14: the card and the file name different settings.
    folder = _copy(made, tmp_path / "atlas", "universal_106x50.h5", "token_checker_masks.h5")
    with h5py.File(folder / "token_checker_masks.h5", "r+") as file:
        file["metadata"].attrs["epsilon"] = 0.5
    with pytest.raises(SchemaError, match=r"token_checker_masks\.h5:/metadata.*another setting.*found \(0\.5, 0\.8\)"):
        _make(folder, "no model needed", "token_independence_summary")
    assert not list(folder.glob("*.csv"))


def test_modularity_covers_every_concept_layer_and_trim(made: Path) -> None:
    scores = pd.read_csv(made / "relaxed_modularity_scores.csv", index_col=0)
    detail = pd.read_csv(made / "relaxed_modularity_detail.csv")
    assert sorted(scores.index) == UNIVERSAL
    assert scores.columns.tolist() == ["type", "p=0.0", "p=0.05", "p=0.1", "p=0.25"]
    assert len(detail) == len(UNIVERSAL) * N_LAYERS * 4
    counted = detail[detail["p_trim"] == 0.25].groupby("object")["significant"].sum()
    assert counted.to_dict() == scores["p=0.25"].to_dict()


# Parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_promts": 6}, "n_promts: Extra inputs are not permitted.*n_prompts"),
        ({"n_prompts": 0, "position": "first"}, "n_prompts: .*greater than or equal to 1; position: "),
        ({"ast_nodes": ["For", "Fro"]}, "ast_nodes: Fro is in no pair of mode 'small'"),
        ({"ast_nodes": ["Break"], "builtin_objs": ["list"]}, "no pair of these nodes and builtins"),
    ],
    ids=["unknown", "two values", "node", "nothing left"],
)
def test_bad_parameters_give_one_error_that_names_them(
    model_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        _make(tmp_path / "atlas", model_folder, "object_prompts", **changes)
    assert not list((tmp_path / "atlas").iterdir())


def test_steps_without_a_model_check_their_parameters_too(made: Path, tmp_path: Path) -> None:
    names = [f"13_{kind}_masks_eps0.5_cons0.8.h5" for kind in ("object", "checker")]
    folder = _copy(made, tmp_path / "atlas", *names)
    with pytest.raises(SchemaError, match="colour: Extra inputs"):
        _make(folder, "no model needed", "modularity_scores", colour="red")
    assert not list(folder.glob("*.csv"))


def test_checkers_that_the_tokenizer_cannot_hold_are_an_error(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuit_artifacts.compute.csp.checkers.select_checkers", lambda *_, **__: [])
    with pytest.raises(SchemaError, match="no checker prompt"):
        _make(tmp_path / "atlas", model_folder, "checker_prompts")


# The bundled form


@pytest.mark.parametrize("kind", ["object", "checker"])
def test_unpacking_the_rows_gives_the_same_file_content(made: Path, tmp_path: Path, kind: str) -> None:
    family, path = f"{kind}_activations", made / f"12_{kind}_activations.h5"
    published = catalog.mirror("csp-atlas")
    table = read_table(published, published.configs[family], path)
    folder = tmp_path / "atlas"
    folder.mkdir()
    write_parquet(table, folder / f"12_{family}.parquet", provenance.read(path))
    regenerate("csp-atlas-mini", [family], root=folder)
    for group in ("activations", "firing_counts"):
        found, expected = _vectors(folder / path.name, group), _vectors(path, group)
        assert list(found) == list(expected)
        for key, values in expected.items():
            assert found[key].dtype == values.dtype
            np.testing.assert_array_equal(found[key], values)
    with h5py.File(folder / path.name) as ours, h5py.File(path) as theirs:
        assert {k: v[()] for k, v in ours["n_prompts"].items()} == {k: v[()] for k, v in theirs["n_prompts"].items()}
        assert dict(ours["metadata"].attrs) == dict(theirs["metadata"].attrs)
        assert list(ours["metadata"]) == list(theirs["metadata"])
        embedded = json.loads(ours.attrs[provenance.KEY])
    assert embedded["step"] == f"unpack {family}"
    assert embedded["model"]["id"] == "tiny"
    assert embedded["parameters"]["position"] == "last_token"
