"""The catalogue: names, near misses, and declarations that fit together."""

from __future__ import annotations

import pickle  # noqa: TID251 - only to see that declarations can be sent to workers
import re

import pytest

from circuit_artifacts import catalog
from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.registration import BUILDER_MODULES, GENERIC
from circuit_artifacts.schemas.declaration import import_string

MIRRORS = list(catalog.mirrors())


def test_every_mirror_has_a_builder_of_its_name() -> None:
    assert set(BUILDER_MODULES) == {GENERIC, *MIRRORS}


@pytest.mark.parametrize("name", MIRRORS)
def test_declarations_fit_together(name: str) -> None:
    mirror = catalog.mirror(name)
    assert mirror.default_config in mirror.configs
    assert len({family.name for family in mirror.families}) == len(mirror.families)
    functions = [family.reader for family in mirror.families] + [step.function for step in mirror.steps]
    functions += [family.select for family in mirror.families if family.select]
    for target in functions:
        assert callable(import_string(target)), target
    for step in mirror.steps:
        assert set(step.makes) <= mirror.family_by_name.keys()
        assert {*step.needs, *step.uses} <= mirror.family_by_name.keys() | mirror.configs.keys()
    files = [config.file for family in mirror.families if family.select for config in family.configs]
    assert len(set(files)) == len(files)  # plans are kept by them
    for family in mirror.families:
        for split in family.splits:
            captured = {name for p in split.leaves.values() for name in re.findall(r"\{(\w+)\}", p)}
            assert captured - {"layer"} <= split.row.model_fields.keys()
            assert set(split.headers) <= split.row.model_fields.keys()
            assert split.key is None or split.key in split.row.model_fields


@pytest.mark.parametrize("name", MIRRORS)
def test_every_published_family_can_be_made(name: str) -> None:
    mirror = catalog.mirror(name)
    views = {"mask_similarity", "concepts"}  # of files that another family declares
    # Lists and logs, another service's answers, choices of people, what was printed, inputs of experiments.
    no_results = {"runs", "logs", "neuronpedia", "candidates", "headline", "agreement"}
    no_results |= {"sae_inventory", "sae_features"}  # trained elsewhere
    for family in mirror.families:
        made = mirror.steps_for(family.name) or not family.loadable
        assert made or family.name in views | no_results
        if family.name in views:
            assert all(mirror.steps_for(mirror.config_by_file[c.file].family.name) for c in family.configs)


@pytest.mark.parametrize("name", MIRRORS)
def test_a_mirror_can_be_sent_to_a_worker(name: str) -> None:
    mirror = catalog.mirror(name)
    assert pickle.loads(pickle.dumps(mirror)) == mirror


def test_near_misses_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean masks_eps0\.5_cons0\.8"):
        catalog.config("csp-atlas", "masks_eps0.5_con0.8")
    with pytest.raises(UnknownNameError, match=r"csp-atlas"):
        catalog.mirror("csp_atlas")
    with pytest.raises(UnknownNameError, match="There is: object_prompts"):
        catalog.family("csp-atlas", "xyzzy")
    with pytest.raises(LookupError):
        catalog.config("csp-atlas", "nothing")
