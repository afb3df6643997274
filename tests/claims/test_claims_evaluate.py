"""Which files a claim is measured on, and what follows if they are not here, or not the published ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from atlas_fixture import Atlas, write_atlas
from hub import LoopbackHub

from circuit_artifacts import catalog
from circuit_artifacts.claims import Claim, Interval, Outcome, Verdict, evaluate
from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.evaluate import claims_of
from circuit_artifacts.claims.model import NoDataError, Quantifier
from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.formats.folder import folder_mirror
from circuit_artifacts.sources import Sources

MIRROR = catalog.mirror("csp-atlas")
SMALL = (("For", "list"), ("For", "int"), ("If", "list"))


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow atlas with provenance."""
    return write_atlas(tmp_path_factory.mktemp("small") / "atlas", pairs=SMALL, n_prompts=4, width=32).folder


def rows(data: Data, configs: Sequence[str]) -> Outcome:
    counts = [len(data.frame(config)) for config in configs]
    return Outcome(f"{counts} rows", min(counts))


def claim(*needs: str, quantifier: Quantifier = "all", printed: str = "9", kind: str = "published") -> Claim:
    return Claim(
        name="rows",
        statement="a table has so many rows",
        source="this test",
        published=Interval.printed(printed),
        needs=needs,
        quantifier=quantifier,
        kind=kind,
        check=rows,
    )


def verdict(wanted: Claim, folder: Path, **options: object) -> Verdict:
    sources = Sources(mirror=MIRROR, data_root=folder, regenerate=False, **options)
    (found,) = evaluate(sources, [wanted])
    return found


def part(atlas: Atlas, tmp_path: Path, *names: str) -> Path:
    folder = tmp_path / "part"
    folder.mkdir()
    for name in names:
        shutil.copy(atlas.folder / name, folder)
    return folder


def test_every_mirror_has_claims_with_names_of_their_own() -> None:
    for mirror in catalog.mirrors().values():
        claims = claims_of(mirror)
        assert len({claim.name for claim in claims}) == len(claims)
        for found in claims:
            assert found.statement
            assert found.source
            assert (found.kind == "arithmetic") <= (found.needs == ())


def test_needs_are_configs_or_families_of_the_published_mirror() -> None:
    for name in ("csp-atlas", "sae-locality", "causal-dimensionality"):
        mirror = catalog.mirror(name)
        needs = {need for found in claims_of(mirror) for need in found.needs}
        assert needs <= mirror.configs.keys() | mirror.family_by_name.keys()


def test_a_folder_of_anything_has_no_claims(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a\n1\n")
    with pytest.raises(UnknownNameError, match="no published claims"):
        evaluate(Sources(mirror=folder_mirror(tmp_path), data_root=tmp_path))


@pytest.mark.parametrize("name", ["csp-atlas", "sae-locality", "causal-dimensionality"])
def test_without_any_data_only_arithmetic_is_decided(name: str) -> None:
    for found in evaluate(Sources(mirror=catalog.mirror(name), regenerate=False)):
        assert (found.status == "no data") == (found.claim.kind != "arithmetic"), found
        assert found.regenerated is None
        if found.status == "no data":
            assert "needs " in found.sentence or found.sentence == "no kind of result holds this number"


def test_files_of_the_folder_are_published_and_settle_it(atlas: Atlas) -> None:
    found = verdict(claim("summary"), atlas.folder)
    assert (found.status, found.measured, found.distance, found.regenerated) == ("holds", 9, None, False)
    assert verdict(claim("summary", printed="8"), atlas.folder).status == "fails"


def test_what_is_derived_from_published_files_counts_as_published(atlas: Atlas, tmp_path: Path) -> None:
    folder = part(atlas, tmp_path, *(config.file for config in MIRROR.family_by_name["target_checker"].configs))
    found = verdict(claim("summary"), folder)
    assert (found.status, found.regenerated) == ("holds", False)
    assert not (folder / "14_summary.csv").exists()


def test_regenerated_files_tell_the_distance_and_settle_nothing(regenerated: Path) -> None:
    found = verdict(claim("summary", printed="12"), regenerated)
    assert (found.status, found.measured, found.distance, found.regenerated) == ("no data", 9, -3, True)
    assert "regenerated: differs by -3" in found.sentence
    assert "the published number" in verdict(claim("summary"), regenerated).sentence


def test_a_structural_claim_is_decided_on_regenerated_files_too(regenerated: Path) -> None:
    found = verdict(claim("summary", kind="structural"), regenerated)
    assert (found.status, found.regenerated) == ("holds", True)
    assert found.sentence.endswith("in regenerated data")


@pytest.mark.parametrize(
    ("quantifier", "printed", "status"),
    [
        ("all", "80", "no data"),  # one table is not enough
        ("every", "80", "no data"),  # the others may differ
        ("every", "81", "fails"),  # one that differs refutes it
        ("some", "80", "holds"),
        ("some", "81", "no data"),
        ("first", "80", "holds"),
        ("first", "81", "fails"),
    ],
)
def test_a_part_of_a_grid_settles_what_it_can(
    atlas: Atlas, tmp_path: Path, quantifier: Quantifier, printed: str, status: str
) -> None:
    name = "14_target_checker_eps0.1_cons0.5.csv"
    folder = part(atlas, tmp_path, name)
    n_rows = len(atlas.testable) * 8
    found = verdict(claim("target_checker", quantifier=quantifier, printed=str(n_rows + int(printed) - 80)), folder)
    assert found.status == status, found
    if status == "no data":
        assert "14_target_checker_eps0.001_cons0.2.csv" in found.sentence
        assert "7 more" in found.sentence


def test_a_damaged_file_is_no_data_with_its_fault(atlas: Atlas, tmp_path: Path) -> None:
    folder = part(atlas, tmp_path, "14_summary.csv")
    (folder / "14_summary.csv").write_text("epsilon,consistency\n0.5,0.8\n")
    found = verdict(claim("summary"), folder)
    assert found.status == "no data"
    assert "14_summary.csv" in found.sentence


def test_a_config_of_another_mirror_is_missing(regenerated: Path) -> None:
    found = verdict(claim("entropy_pythia-70m_wikitext"), regenerated)
    assert (found.status, found.sentence) == ("no data", "csp-atlas has no entropy_pythia-70m_wikitext")


def test_a_check_may_find_that_its_files_do_not_tell(atlas: Atlas) -> None:
    def refuse(data: Data, configs: Sequence[str]) -> Outcome:
        raise NoDataError("the table lacks For")

    wanted = Claim(name="a", statement="b", source="c", needs=("summary",), check=refuse)
    found = verdict(wanted, atlas.folder)
    assert (found.status, found.sentence) == ("no data", "the table lacks For")


def test_nothing_is_downloaded_without_being_asked(hub: LoopbackHub, atlas: Atlas) -> None:
    hub.add_repository(MIRROR.repositories[0], {"14_summary.csv": atlas.folder / "14_summary.csv"})
    sources = Sources(mirror=MIRROR, regenerate=False)
    (found,) = evaluate(sources, [claim("summary")])
    assert found.status == "no data"
    assert "'circuit-artifacts fetch csp-atlas summary' downloads it" in found.sentence
    assert hub.requests == []
    sources.fetch(catalog.config("csp-atlas", "summary"))
    hub.reset()
    (found,) = evaluate(Sources(mirror=MIRROR, regenerate=False), [claim("summary")])
    assert (found.status, found.regenerated) == ("holds", False)
    assert hub.requests == []


def test_no_model_is_run_even_where_that_is_allowed() -> None:
    (found,) = evaluate(Sources(mirror=MIRROR, regenerate=True), [claim("object_prompts")])
    assert found.status == "no data"
    assert "11A_object_prompts.parquet" in found.sentence
