import pytest

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.locality import names
from circuit_artifacts.sae_locality.paths import classify
from circuit_artifacts.schemas.sae_locality_mirror import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dataset", ["wikitext", "gsm8k", "code-python"])
def test_depth_figures_are_named_as_published(preset: str, dataset: str) -> None:
    place = classify(f"figures/{names.depth_name(preset, dataset)}")
    assert (place.kind, place.preset, place.dataset) == ("figure", preset, dataset)


def test_grids_are_named_as_published() -> None:
    assert names.depth_grid_name("violin", "gsm8k") == "entropy_vs_depth_crossmodel_grid_violin__gsm8k.png"
    assert names.depth_grid_name("box", "wikitext") == "entropy_vs_depth_crossmodel_grid_boxplot.png"
    assert classify(f"figures/{names.depth_grid_name('box', 'gsm8k')}").dataset == "gsm8k"


def test_batch_plots_are_named_as_published() -> None:
    for number, expected in ((7, "batch_007.png"), (1234, "batch_1234.png")):
        assert names.batch_name(number) == expected
        path = f"pythia-70m/wikitext/20260427_105943/entropy_plots_resid_out_layer0/{expected}"
        assert (classify(path).kind, classify(path).batch_idx) == ("batch_plot", number)


@pytest.mark.parametrize("name", [names.continuum_name, names.profile_contrast_name, names.overview_name])
def test_figures_of_events_carry_the_context_length(name: object) -> None:
    path = f"cherry_picked_feature_entropy/20260507_120000/figures/{name(64)}"  # type: ignore[operator]
    assert "_ctx064." in path
    assert (classify(path).kind, classify(path).ctx) == ("figure", 64)


def test_names_without_parameters_are_known_figures() -> None:
    events = f"cherry_picked_feature_entropy/20260507_120000/figures/{names.ENTROPY_VERSUS_CONTEXT}"
    sweep = "ctxlen_xmodel_fineweb/20260510_101010/gpt2-small/entropy_vs_context_len_resid_post_layer3_20260510_101013/"
    assert classify(events).kind == classify(sweep + names.SWEEP).kind == "figure"


@pytest.mark.parametrize("text", ["../up", "a/b", "", ".hidden", "a b", "a__b", "nul\x00", "ü/", "x\n"])
def test_a_name_from_data_cannot_lead_elsewhere(text: str) -> None:
    with pytest.raises(SchemaError, match="cannot be part of a file name"):
        names.depth_name(text, "wikitext")
    with pytest.raises(SchemaError, match="cannot be part of a file name"):
        names.depth_grid_name("violin", text)
