"""Validation of CSP-Atlas folders: a consistent one passes, and every pathology gives one located finding."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import pytest
from atlas_fixture import PAIRS, Atlas, write_atlas

from circuit_artifacts import catalog, provenance
from circuit_artifacts.compute.csp.prompts import generate_object_prompts
from circuit_artifacts.csp_atlas.checks import check_folder
from circuit_artifacts.csp_atlas.checks import prompts as prompt_checks
from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SchemaError
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.schemas.csp_atlas import MIRROR
from circuit_artifacts.validation import Finding, mirror_of, validate

MASKS = "13_object_masks_eps0.5_cons0.8.h5"
LOOSER_MASKS = "13_object_masks_eps0.1_cons0.8.h5"
CHECKERS = "13_checker_masks_eps0.5_cons0.8.h5"
CELLS = "14_target_checker_eps0.5_cons0.8.csv"
OBJECTS = "11A_object_prompts.parquet"
CHECKER_PROMPTS = "11B_checker_prompts.parquet"
SUMS = "12_object_activations.h5"


@pytest.fixture
def part(atlas: Atlas, tmp_path: Path) -> Callable[..., Path]:
    """Copies some files of the atlas, so that a test checks no more than it needs."""

    def copy(*files: str) -> Path:
        for file in files:
            shutil.copy(atlas.folder / file, tmp_path)
        return tmp_path

    return copy


def findings(folder: Path) -> list[Finding]:
    return list(check_folder(folder, MIRROR))


def errors(folder: Path) -> list[tuple[str, str, str]]:
    return [(f.rule, f.file, f.where) for f in findings(folder) if f.level == "error"]


def notes(folder: Path) -> dict[str, Finding]:
    return {f.rule: f for f in findings(folder) if f.level == "note"}


# Damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_dataset(where: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            values = change(file[where][()])
            del file[where]
            file[where] = values

    return damage


def flip(where: str, dimension: int = 0) -> Callable[[Path], None]:
    def change(mask: Any) -> Any:
        mask[dimension] = ~mask[dimension]
        return mask

    return replace_dataset(where, change)


def remove(*places: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            for where in places:
                del file[where]

    return damage


def rename(group: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            for layer in range(8):
                file.move(f"{group}/layer_{layer}/{old}", f"{group}/layer_{layer}/{new}")

    return damage


def set_attribute(name: str, value: object, owner: str = "metadata") -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[owner].attrs[name] = value

    return damage


def change_csv(change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns={"Unnamed: 0": ""})
        changed = change(frame)
        (frame if changed is None else changed).to_csv(path, index=False)

    return damage


def csv_cell(row: int, column: str, value: str) -> Callable[[Path], None]:
    return change_csv(lambda frame: frame.__setitem__(column, frame[column].where(frame.index != row, value)))


def parquet_cell(row: int, column: str, value: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        frame = pd.read_parquet(path)
        values = frame[column].tolist()
        values[row] = value
        frame[column] = values
        frame.to_parquet(path, index=False)

    return damage


class Pathology(NamedTuple):
    """A damage, the finding that it gives, and the error that the reader gives."""

    file: str
    damage: Callable[[Path], None]
    rule: str
    where: str
    error: type[CircuitArtifactsError] = SchemaError
    split: str | None = None
    config: str | None = None


# The pathologies that a reader refuses as well; each is in another file, so that all can be in one folder.
UNREADABLE = {
    "truncated HDF5": Pathology("13_object_masks_eps0.001_cons0.2.h5", truncate, "readable", "", FormatError),
    "mask of width 2047": Pathology(
        "13_object_masks_eps0.001_cons0.5.h5",
        replace_dataset("pair_masks/layer_2/For__list", lambda mask: mask[:2047]),
        "vector",
        "/pair_masks/layer_2/For__list",
        split="pair",
    ),
    "missing layer": Pathology(
        "13_object_masks_eps0.001_cons0.8.h5",
        remove("pair_masks/layer_3"),
        "layers",
        "/pair_masks/layer_3",
        split="pair",
    ),
    "float mask": Pathology(
        "13_object_masks_eps0.1_cons0.2.h5",
        replace_dataset("universal_masks/layer_7/builtin___isolated_", lambda mask: mask.astype(np.float32)),
        "vector",
        "/universal_masks/layer_7/builtin___isolated_",
    ),
    "mask of other values than 0 and 1": Pathology(
        "13_checker_masks_eps0.001_cons0.2.h5",
        replace_dataset("token_checker_masks/layer_1/ast__For", lambda mask: mask.astype(np.uint8) * 2),
        "vector",
        "/token_checker_masks/layer_1/ast__For",
    ),
    "attribute that contradicts the file name": Pathology(
        "13_object_masks_eps0.1_cons0.5.h5", set_attribute("epsilon", 0.5), "setting", "/metadata@epsilon"
    ),
    "attribute of a checker file that contradicts its name": Pathology(
        "13_checker_masks_eps0.1_cons0.5.h5",
        set_attribute("consistency_threshold", 0.2),
        "setting",
        "/metadata@consistency_threshold",
    ),
    "key without __": Pathology(
        "13_object_masks_eps0.1_cons0.8.h5",
        rename("pair_masks", "For__list", "For_list"),
        "key-form",
        "/pair_masks/layer_0/For_list",
        split="pair",
    ),
    "key missing in one layer": Pathology(
        "13_object_masks_eps0.5_cons0.2.h5",
        remove("pair_masks/layer_5/Break___isolated_"),
        "keys",
        "/pair_masks/layer_5",
        split="pair",
    ),
    "missing group": Pathology(
        "13_checker_masks_eps0.5_cons0.2.h5", remove("token_checker_masks"), "layout", "/token_checker_masks"
    ),
    "CSV with a renamed column": Pathology(
        "14_summary.csv",
        change_csv(lambda frame: frame.rename(columns={"mean_A_size": "mean_a_size"})),
        "schema",
        "header",
    ),
    "CSV cell of another type": Pathology(
        "relaxed_modularity_detail.csv", csv_cell(3, "percentile", "high"), "schema", ""
    ),
    "decomposition cell that is not three counts": Pathology(
        "14_target_checker_eps0.1_cons0.2.csv", csv_cell(0, "L3", "1 / 2"), "schema", "row ast__Assert, column L3"
    ),
    "prompt parquet with a null": Pathology(
        OBJECTS, parquet_cell(7, "prompt_text", None), "schema", "prompt_text, row 7"
    ),
    "truncated parquet": Pathology(CHECKER_PROMPTS, truncate, "readable", "", FormatError),
}

# The pathologies that only a comparison shows; `others` are the files it is compared with.
INCONSISTENT: dict[str, tuple[Pathology, tuple[str, ...]]] = {
    "metadata lists are not those of the pairs": (
        Pathology(
            MASKS,
            replace_dataset("metadata/ast_nodes", lambda names: names[1:]),
            "metadata-lists",
            "/metadata/ast_nodes",
        ),
        (),
    ),
    "n_pairs is not the number of pairs": (
        Pathology(MASKS, set_attribute("n_pairs", 1276), "n-pairs", "/metadata@n_pairs"),
        (),
    ),
    "n_layers of published data is not 8": (
        Pathology(MASKS, set_attribute("n_layers", 7), "n-layers", "/metadata@n_layers"),
        (),
    ),
    "a pair that was never attempted": (
        Pathology(
            CHECKERS,
            rename("token_checker_masks", "ast__For", "ast__Forr"),
            "vocabulary",
            "/token_checker_masks/layer_0/ast__Forr",
        ),
        (),
    ),
    "a universal mask is not the AND of its pairs": (
        Pathology(
            MASKS, flip("universal_masks/layer_2/ast__For"), "universal-and", "/universal_masks/layer_2/ast__For"
        ),
        (),
    ),
    "a sentinel identity is broken": (
        Pathology(
            MASKS,
            flip("universal_masks/layer_6/ast__Break"),
            "sentinel-identity",
            "/universal_masks/layer_6/ast__Break",
        ),
        (),
    ),
    "a concept of the pairs has no universal mask": (
        Pathology(
            MASKS,
            remove(*(f"universal_masks/layer_{layer}/builtin__list" for layer in range(8))),
            "universal-keys",
            "/universal_masks/layer_0/builtin__list",
        ),
        (),
    ),
    "a Jaccard matrix is not that of layer 4": (
        Pathology(
            MASKS,
            replace_dataset("metrics/jaccard_ast_matrix", lambda matrix: matrix + np.eye(len(matrix))[::-1] * 0.001),
            "metrics",
            "/metrics/jaccard_ast_matrix[0, 13]",
        ),
        (),
    ),
    "a Jaccard matrix of another shape": (
        Pathology(
            MASKS,
            replace_dataset("metrics/jaccard_builtin_matrix", lambda matrix: matrix[1:]),
            "metrics",
            "/metrics/jaccard_builtin_matrix",
        ),
        (),
    ),
    "prompts not counted as used": (
        Pathology(
            "token_checker_masks.h5",
            set_attribute("ast__For_n_valid", 3, "generation_stats"),
            "n-prompts",
            "/generation_stats@ast__For_n_valid",
        ),
        ("token_checker_prompts.parquet",),
    ),
    "other groups than prompts": (
        Pathology(
            SUMS,
            replace_dataset("n_prompts/For__list", lambda count: count + 1),
            "n-prompts",
            "/n_prompts/For__list",
        ),
        (OBJECTS,),
    ),
    "a firing count above the number of prompts": (
        Pathology(
            SUMS,
            replace_dataset("firing_counts/layer_1/For__list", lambda counts: np.where(counts > 0, 99, counts)),
            "statistics",
            "/firing_counts/layer_1/For__list",
        ),
        (),
    ),
    "a sum where nothing fires": (
        Pathology(
            SUMS,
            replace_dataset("activations/layer_0/If__int", lambda sums: sums + np.float32(0.1)),
            "statistics",
            "/activations/layer_0/If__int",
        ),
        (),
    ),
    "a cell that the masks do not give": (
        Pathology(CELLS, csv_cell(2, "L5", "1 / 2 / 3"), "target-checker", "ast__Continue, L5"),
        (MASKS, CHECKERS),
    ),
    "a summary that the cells do not give": (
        Pathology("14_summary.csv", csv_cell(8, "mean_A_size", "999.9"), "summary", "0.5, 0.8, mean_A_size"),
        (CELLS,),
    ),
    "a setting that is not of the grid": (
        Pathology("14_summary.csv", csv_cell(1, "epsilon", "0.3"), "rows", "row 1"),
        (),
    ),
    "a modularity value that the masks do not give": (
        Pathology(
            "relaxed_modularity_detail.csv",
            csv_cell(0, "observed_trimmed_jaccard", "0.9"),
            "modularity-detail",
            "ast__Assert, 0, 0.0, observed_trimmed_jaccard",
        ),
        (MASKS,),
    ),
    "more significant concepts than ranks below 5 %": (
        Pathology(
            "relaxed_modularity_detail.csv",
            change_csv(lambda f: f.__setitem__("significant", f["significant"].where(f["layer"] != "6", "True"))),
            "modularity-cap",
            "layer 6, p_trim 0.0",
        ),
        (),
    ),
    "a missing row": (
        Pathology("relaxed_modularity_detail.csv", change_csv(lambda frame: frame.drop(index=5)), "rows", ""),
        (),
    ),
    "a repeated row": (
        Pathology(
            "token_independence_detail.csv",
            change_csv(lambda frame: pd.concat([frame, frame.head(1)])),
            "duplicate-rows",
            "row 144",
        ),
        (),
    ),
    "a score that the detail does not give": (
        Pathology("relaxed_modularity_scores.csv", csv_cell(0, "p=0.0", "8"), "scores-from-detail", "{concept}, p=0.0"),
        ("relaxed_modularity_detail.csv",),
    ),
    "a score that the masks do not give": (
        Pathology("relaxed_modularity_scores.csv", csv_cell(0, "p=0.1", "8"), "modularity-scores", "{concept}, p=0.1"),
        (MASKS,),
    ),
    "a type that is not the concept's": (
        Pathology("relaxed_modularity_scores.csv", csv_cell(4, "type", "node"), "concept-type", "type, row 4"),
        (),
    ),
    "token independence that no two mask files give": (
        Pathology("token_independence_detail.csv", csv_cell(9, "A_only", "77"), "token-independence-detail", ""),
        ("universal_106x50.h5", "token_checker_masks.h5"),
    ),
    "a mean that the detail does not give": (
        Pathology(
            "token_independence_summary.csv",
            csv_cell(0, "B_only", "0.5"),
            "token-independence-summary",
            "{concept}, B_only",
        ),
        ("token_independence_detail.csv",),
    ),
    "a summary in another order": (
        Pathology(
            "token_independence_summary.csv",
            change_csv(lambda frame: frame.iloc[::-1]),
            "token-independence-order",
            "concept_fraction, row 1",
        ),
        (),
    ),
    "a concept too few without a keyword": (
        Pathology(
            "token_independence_no_keyword.csv",
            change_csv(lambda frame: frame.head(2)),
            "token-independence-no-keyword",
            "object",
        ),
        ("universal_106x50.h5", "token_checker_masks.h5"),
    ),
    "a concept with a keyword among those without": (
        Pathology(
            "token_independence_no_keyword.csv", csv_cell(0, "object", "ast__For"), "vocabulary", "object, row 0"
        ),
        (),
    ),
    "variations not numbered from 0": (
        Pathology(OBJECTS, parquet_cell(12, "variation_id", 9), "variation-id", "variation_id, row 12"),
        (),
    ),
    "a pair whose mean loss exceeds the filter": (
        Pathology(OBJECTS, parquet_cell(0, "sequence_loss", 40.0), "loss-filter", "For__dict"),
        (),
    ),
    "a prompt of one token": (
        Pathology(OBJECTS, parquet_cell(3, "token_length", 1), "token-length", "token_length, row 3"),
        (),
    ),
    "a loss that is not a number": (
        Pathology(OBJECTS, parquet_cell(3, "sequence_loss", float("inf")), "sequence-loss", "sequence_loss, row 3"),
        (),
    ),
    "a text that is not Python": (
        Pathology(OBJECTS, parquet_cell(4, "prompt_text", "for x in"), "text-parses", "prompt_text, row 4"),
        (),
    ),
    "a text without its node": (
        Pathology(OBJECTS, parquet_cell(4, "prompt_text", "x = 1"), "text-node", "prompt_text, row 4"),
        (),
    ),
    "a prompt kept although unverified": (
        Pathology(OBJECTS, parquet_cell(4, "ast_verified", False), "ast-verified", "ast_verified, row 4"),
        (),
    ),
    "a checker text that uses its concept": (
        Pathology(CHECKER_PROMPTS, parquet_cell(0, "prompt_text", "assert x"), "concept-absent", "prompt_text, row 0"),
        (),
    ),
    "a checker text without its keyword": (
        Pathology(CHECKER_PROMPTS, parquet_cell(0, "prompt_text", "x = 1"), "keyword-present", "prompt_text, row 0"),
        (),
    ),
    "a keyword of another concept": (
        Pathology(CHECKER_PROMPTS, parquet_cell(0, "keyword", "break"), "concept-keyword", "keyword, row 0"),
        (),
    ),
}


def test_a_consistent_atlas_has_no_errors_and_names_what_the_card_gets_wrong(atlas: Atlas) -> None:
    found = findings(atlas.folder)
    assert [f for f in found if f.level == "error"] == []
    by_rule = {f.rule: f for f in found}
    assert "absent-files" not in by_rule
    assert "7 and the sentinel" in by_rule["card-builtins"].message
    assert "14 x 8 = 112" in by_rule["card-pairs"].message
    assert "found (0.001, 0.8)" in by_rule["card-token-checker-setting"].message
    assert by_rule["card-checker-layout"].where == "/metadata@consistency_threshold"
    assert by_rule["card-metrics"].where == "/metrics"
    assert {"card-activations", "card-universal-106x50", "card-variations", "card-columns"} <= by_rule.keys()
    assert "A from universal_106x50.h5 (0.001, 0.8)" in by_rule["token-independence-source"].message


def test_regenerated_files_may_have_another_shape_and_are_not_held_against_the_card(tmp_path: Path) -> None:
    pairs = [("For", "list"), ("For", "dict"), ("If", "int"), ("Pass", "_isolated_"), ("Break", "_isolated_")]
    write_atlas(tmp_path, pairs=pairs, n_prompts=4, n_checkers=5, width=48, n_layers=5, mirror="csp-atlas-mini")
    assert mirror_of(tmp_path) is catalog.mirror("csp-atlas-mini")
    found = list(validate(tmp_path))
    assert [f for f in found if f.level == "error"] == []
    assert not [f for f in found if f.rule.startswith(("card-", "published-"))]
    record = provenance.read(tmp_path / CHECKERS)
    assert record is not None
    other_rule = record.model_copy(update={"parameters": {**record.parameters, "rule": "per_prompt"}})
    provenance.write_sidecar(tmp_path / CHECKERS, other_rule)
    (tmp_path / f"{MASKS}{provenance.SUFFIX}").unlink()
    with h5py.File(tmp_path / MASKS, "r+") as file:
        del file.attrs[provenance.KEY]
    found = list(validate(tmp_path))
    assert MASKS in next(f.message for f in found if f.rule == "mixed-provenance")
    assert [f.file for f in found if f.rule == "masks-from-activations"] == [CHECKERS]  # not recomputed: counts lacking
    vectors = [f for f in found if f.file == MASKS and f.rule == "vector"]
    assert "expected bool (64,)" in vectors[0].message  # without provenance the shape is the mirror's


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_a_reader_refuses_is_one_located_finding(part: Callable[..., Path], name: str) -> None:
    pathology = UNREADABLE[name]
    folder = part(pathology.file)
    pathology.damage(folder / pathology.file)
    found = errors(folder)
    assert (pathology.rule, pathology.file, pathology.where) in found
    assert {file for _, file, _ in found} == {pathology.file}
    config = MIRROR.config_by_file[pathology.file]
    with pytest.raises(pathology.error) as caught:
        read_table(MIRROR, config, folder / pathology.file, split=pathology.split)
    assert Path(str(caught.value.file)).name == pathology.file
    assert (caught.value.where or "").startswith(pathology.where.rpartition("/")[0])


@pytest.mark.parametrize("name", INCONSISTENT)
def test_what_files_contradict_is_one_located_finding(part: Callable[..., Path], name: str) -> None:
    pathology, others = INCONSISTENT[name]
    folder = part(pathology.file, *others)
    assert errors(folder) == []
    where = pathology.where
    if "{concept}" in where:
        where = where.format(concept=pd.read_csv(folder / pathology.file).iloc[0, 0])
    pathology.damage(folder / pathology.file)
    found = errors(folder)
    assert (pathology.rule, pathology.file, where) in found
    assert {file for _, file, _ in found} == {pathology.file}


def test_all_faults_of_a_folder_are_listed(atlas: Atlas, tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    shutil.copytree(atlas.folder, folder)
    for pathology in UNREADABLE.values():
        pathology.damage(folder / pathology.file)
    found = set(errors(folder))
    assert {(p.rule, p.file, p.where) for p in UNREADABLE.values()} <= found
    # What is sound is still checked, and nothing is held against it.
    sound = {config.file for config in MIRROR.config_by_file.values()} - {p.file for p in UNREADABLE.values()}
    assert {file for _, file, _ in found} & sound == set()


def test_a_mask_that_is_no_subset_of_a_looser_setting(part: Callable[..., Path]) -> None:
    folder = part(MASKS, LOOSER_MASKS)
    with h5py.File(folder / LOOSER_MASKS) as file:
        (absent, *_) = np.flatnonzero(~file["pair_masks/layer_3/For__list"][()])
    flip("pair_masks/layer_3/For__list", int(absent))(folder / MASKS)
    found = errors(folder)
    assert ("subset", MASKS, "/pair_masks/layer_3/For__list") in found
    assert LOOSER_MASKS in next(f.message for f in findings(folder) if f.rule == "subset")


def test_settings_with_different_pairs(part: Callable[..., Path]) -> None:
    folder = part(MASKS, LOOSER_MASKS)
    rename("pair_masks", "If__print", "If__zip")(folder / MASKS)
    assert ("same-keys", MASKS, "/pair_masks") in errors(folder) or (
        "same-keys",
        LOOSER_MASKS,
        "/pair_masks",
    ) in errors(folder)


@pytest.mark.parametrize(
    ("sums", "masks", "where"),
    [
        (SUMS, MASKS, "pair_masks/layer_0/Try__KeyError"),
        ("12_checker_activations.h5", CHECKERS, "token_checker_masks/layer_4/ast__For"),
    ],
)
def test_masks_that_the_sums_do_not_give(part: Callable[..., Path], sums: str, masks: str, where: str) -> None:
    folder = part(sums, masks)
    assert errors(folder) == []
    flip(where)(folder / masks)
    assert ("masks-from-activations", masks, f"/{where}") in errors(folder)


def test_the_other_name_of_the_consistency_is_a_note(part: Callable[..., Path]) -> None:
    folder = part(CHECKERS)
    with h5py.File(folder / CHECKERS, "r+") as file:
        file["metadata"].attrs["consistency_thresh"] = file["metadata"].attrs.pop("consistency_threshold")
    assert errors(folder) == []
    assert notes(folder)["attribute-name"].where == "/metadata@consistency_thresh"


def test_a_mask_file_without_a_setting(part: Callable[..., Path]) -> None:
    folder = part("token_checker_masks.h5")
    with h5py.File(folder / "token_checker_masks.h5", "r+") as file:
        del file["metadata"].attrs["epsilon"]
    assert errors(folder) == [("setting", "token_checker_masks.h5", "/metadata")]


def test_token_independence_from_the_setting_that_the_card_names(part: Callable[..., Path]) -> None:
    """The published file's attributes and the card disagree: whichever pair reproduces the table is named."""
    folder = part("token_checker_masks.h5", "universal_106x50.h5", "token_independence_detail.csv")
    shutil.move(folder / "universal_106x50.h5", folder / "13_object_masks_eps0.001_cons0.8.h5")
    assert errors(folder) == []
    message = notes(folder)["token-independence-source"].message
    assert "A from 13_object_masks_eps0.001_cons0.8.h5 (0.001, 0.8), B from token_checker_masks.h5" in message


def test_long_lists_are_cut_and_counted(part: Callable[..., Path]) -> None:
    folder = part(MASKS)
    with h5py.File(folder / MASKS, "r+") as file:
        group = file["pair_masks/layer_0"]
        for name in list(group):
            del group[name]
            group[name] = np.zeros(2047, bool)
    found = [f for f in findings(folder) if f.level == "error"]
    assert [f.rule for f in found] == ["vector"] * 21
    assert found[-1].message == "and 5 more like these"


def test_part_of_an_atlas_is_no_fault(part: Callable[..., Path]) -> None:
    folder = part(MASKS)
    assert errors(folder) == []
    message = notes(folder)["absent-files"].message
    assert message.startswith("36 of 40 declared files")
    assert OBJECTS in message
    assert SUMS not in message  # optional
    assert MASKS not in message


def test_a_provenance_record_that_cannot_be_read(part: Callable[..., Path]) -> None:
    folder = part(CELLS)
    provenance.sidecar(folder / CELLS).write_text("{}")
    assert [f.rule for f in findings(folder) if f.level == "error"] == ["provenance"]


def test_the_predicted_prompt_stream_is_recognised(part: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = part(OBJECTS)
    assert "prompt-stream" not in notes(folder)  # too few pairs to be the whole published file
    monkeypatch.setattr(prompt_checks, "_WHOLE_PAIRS", len(PAIRS))
    monkeypatch.setattr(prompt_checks, "generate_object_prompts", partial(generate_object_prompts, PAIRS, n=10))
    assert "are those that the published generator gives" in notes(folder)["prompt-stream"].message
    parquet_cell(6, "prompt_text", "for x in []:\n    pass")(folder / OBJECTS)
    assert "from row 6 on" in notes(folder)["prompt-stream"].message


def test_rounding_of_a_tie_is_a_note(part: Callable[..., Path]) -> None:
    folder = part("14_summary.csv", CELLS)
    value = float(pd.read_csv(folder / "14_summary.csv")["mean_concept_fraction"].iloc[8])
    csv_cell(8, "mean_concept_fraction", f"{value + 0.0001:.4f}")(folder / "14_summary.csv")
    assert errors(folder) == []
    assert notes(folder)["summary"].where == "0.5, 0.8, mean_concept_fraction"


def test_another_filter_rule_has_another_limit(tmp_path: Path) -> None:
    """Losses are held against the rule that the provenance names; an unknown one is a note."""
    write_atlas(tmp_path, pairs=[("For", "list")], n_prompts=3, n_checkers=5, width=16, n_layers=2)
    for file in tmp_path.iterdir():
        if not file.name.startswith(OBJECTS):
            file.unlink()
    frame = pd.read_parquet(tmp_path / OBJECTS)
    frame["sequence_loss"] = 5.0
    frame.to_parquet(tmp_path / OBJECTS, index=False)
    assert errors(tmp_path) == [("loss-filter", OBJECTS, "For__list")]
    record = provenance.read(tmp_path / OBJECTS)
    assert record is not None
    best = record.model_copy(update={"parameters": {**record.parameters, "filter_rule": "best"}})
    provenance.write_sidecar(tmp_path / OBJECTS, best)
    assert errors(tmp_path) == []
    other = record.model_copy(update={"parameters": {**record.parameters, "filter_rule": "worst"}})
    provenance.write_sidecar(tmp_path / OBJECTS, other)
    assert errors(tmp_path) == []
    assert "unknown" in notes(tmp_path)["loss-filter"].message
