"""Figures of spectra, effects, cells and recalls: what is drawn is what the result holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from causal_results_fixture import agreement, direct_kappa, four_cells, recalls
from locality_rows import HOSTILE, texts
from matplotlib.collections import PathCollection

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.causality.attribution import (
    draw_attribution,
    effect_pairs,
    figure_attribution,
    linear_part,
)
from circuit_artifacts.reports.causality.cells import draw_cells, figure_cells, inflation_range
from circuit_artifacts.reports.causality.recall import draw_recall, figure_recall, recall_curve
from circuit_artifacts.reports.causality.spectrum import convergence, cumulative_shares, draw_spectrum, figure_spectrum
from circuit_artifacts.reports.style import BLUE, GREY, ORANGE, RED

NAME = " ".join(filter(None, HOSTILE))


def test_shares_add_up_and_negative_rounding_counts_as_zero() -> None:
    np.testing.assert_allclose(cumulative_shares(np.array([4.0, 3.0, 1.0, -1e-9])), [0.5, 0.875, 1, 1])
    assert np.isnan(cumulative_shares(np.zeros(2))).all()


def test_spectrum_shares_kappas_and_convergence_are_drawn() -> None:
    figure = figure_spectrum(direct_kappa(eigenvalues=[3.0, 4.0, 1.0, 0.0]))
    values, shares, estimates = figure.axes
    np.testing.assert_array_equal(values.lines[0].get_ydata(), [4, 3, 1, np.nan])
    np.testing.assert_allclose(np.asarray(shares.lines[0].get_ydata()), [0.5, 0.875, 1, 1])
    for axes in (values, shares):
        assert [(one.get_color(), list(one.get_xdata())) for one in axes.lines[1:]] == [
            (RED, [3.25, 3.25]),
            (ORANGE, [2.75, 2.75]),
        ]
    rank, ratio, *_ = estimates.lines
    assert (list(rank.get_xdata()), list(rank.get_ydata())) == ([10, 20, 40], [2, 2.5, 3])
    assert list(ratio.get_ydata()) == [1.5, 2, 2.5]
    assert "samples (matrices of rank one)" in texts(figure)
    assert "the last step changes the rank by +20.00%" in texts(figure)
    assert "eigenvalues (1 not above 0)" in texts(figure)
    assert values.get_yscale() == "log"


def test_panels_without_data_are_left_out() -> None:
    assert len(figure_spectrum(direct_kappa(eigenvalues=None)).axes) == 1
    assert len(figure_spectrum(direct_kappa(convergence=None)).axes) == 2
    assert convergence(direct_kappa(convergence=[{"n_samples": None, "n_sequences": 3, "kappa": None}])) is None
    found = convergence(direct_kappa(convergence=[{"n_sequences": 3, "kappa": 2.0}]))
    assert found is not None
    assert (found.unit, found.rank.tolist(), found.last_change) == ("sequences", [2], None)


def test_a_refused_kappa_is_not_drawn_and_its_reason_said(tmp_path: Path) -> None:
    result = direct_kappa(kappa=None, kappa_pr=None, refused=f"too few samples {NAME}")
    figure = figure_spectrum(result)
    assert "κ is not stated: too few samples" in texts(figure)
    assert len(figure.axes[0].lines) == 1
    draw_spectrum(result, tmp_path / "figure.png", note=NAME)


@pytest.mark.parametrize("changes", [{}, {"eigenvalues": []}, {"eigenvalues": [0.0]}, {"eigenvalues": [1.0, None]}])
def test_no_spectrum_and_a_spectrum_with_gaps_are_errors(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="eigenvalues"):
        figure_spectrum(direct_kappa(**{"eigenvalues": None, "convergence": None} | changes))


PAIRS = [(0.1, 0.2), (-0.01, 0.001), (0.0, 0.0), (None, 1.0)]


def test_dots_are_the_known_pairs_and_a_line_is_where_they_are_equal() -> None:
    figure = figure_attribution(agreement(PAIRS, signed=True, rho_ci={"lo": 0.8, "hi": 0.87, "unit": "feature"}))
    (axes,) = figure.axes
    (dots,) = [one for one in axes.collections if isinstance(one, PathCollection)]
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), [(0.2, 0.1), (0.001, -0.01), (0, 0)])
    identity = axes.lines[-1]
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-0.015, 0.3))
    assert (axes.get_xscale(), axes.get_yscale()) == ("symlog", "symlog")
    written = " ".join(texts(figure).split())
    assert "Spearman's rho, signed = 0.838; 95% interval over features 0.800 to 0.870" in written
    assert "n = 3 features" in written
    assert "effects of 1 unknown" in written


def test_axes_are_linear_below_a_tenth_of_the_effects_within_four_decades() -> None:
    assert linear_part(np.array([[1.0, -1.0], [0.0, 1e-12]])) == pytest.approx(np.quantile([1, 1, 1e-12], 0.1))
    assert linear_part(np.array([[1.0, 1e-12], [1e-12, 1e-12]])) == pytest.approx(1e-4)
    assert linear_part(np.zeros((3, 2))) == 1


@pytest.mark.parametrize("pairs", [None, [], [(None, 1.0), (1.0, None)]])
def test_no_pairs_are_an_error(pairs: list[tuple[float | None, float | None]] | None) -> None:
    with pytest.raises(SchemaError, match="effects of single features"):
        effect_pairs(agreement(pairs))


@pytest.mark.parametrize("pairs", [[(0.0, 0.0)], [(1e300, -1e300), (1e-300, 0.0)], [(1.0, float("inf")), (1.0, 2.0)]])
def test_effects_of_any_size_are_drawn(tmp_path: Path, pairs: list[tuple[float, float]]) -> None:
    sae = {"source": NAME, "sae_id": NAME}
    draw_attribution(agreement(pairs, sae=sae, signed=False), tmp_path / "figure.png", note=NAME)


def test_cells_are_dots_of_seeds_with_their_mean() -> None:
    figure = figure_cells(four_cells([300], [2700, 3300], [200, 100]))
    (axes,) = figure.axes
    causal = [line for line in axes.lines if line.get_color() in {BLUE, ORANGE}]
    assert [list(np.asarray(line.get_ydata())) for line in causal] == [[300], [200, 100], [2700, 3300], [200, 100]]
    assert [line.get_color() for line in causal] == [BLUE, BLUE, ORANGE, ORANGE]
    assert [round(float(np.mean(line.get_xdata())), 9) for line in causal] == [0, 1, 2, 3]
    firing = [line for line in axes.lines if line.get_color() == GREY]
    assert [list(np.asarray(line.get_ydata())) for line in firing] == [[5000], [5000] * 2, [5000] * 2, [5000] * 2]
    assert [text.get_text() for text in axes.texts] == ["300", "150", "3,000", "150"]
    assert "inflation by a random encoder 10x (9 to 11 over 2 seeds)" in texts(figure)
    assert axes.get_yscale() == "log"


def test_cells_of_zero_are_drawn_and_have_no_inflation(tmp_path: Path) -> None:
    result = four_cells([0], [3], [0], threshold_policy=NAME)
    assert inflation_range(result) is None
    (axes,) = figure_cells(result).axes
    assert (axes.get_yscale(), axes.get_ylim()[0]) == ("symlog", 0)
    draw_cells(result, tmp_path / "figure.png", title=NAME, note=NAME)


def test_policies_are_named() -> None:
    figure = figure_cells(four_cells([1], [2], [3], threshold_policy="match_rate", bias_policy="keep"))
    assert "thresholds: match_rate; biases: keep" in " ".join(texts(figure).split())


def test_recalls_baselines_and_ceiling_are_those_of_the_points() -> None:
    found = recall_curve(recalls())
    np.testing.assert_allclose(found.percentile, [95, 98, 99])
    np.testing.assert_allclose(found.recall, [55 / 56, 43 / 56, 24 / 56])
    np.testing.assert_allclose(found.random, [0.05, 0.02, 0.01])
    np.testing.assert_allclose(found.firing, [0.25, 0.1, 0.05])
    np.testing.assert_allclose(found.activation, [0.25] * 3)
    np.testing.assert_allclose(found.ceiling, [1, 1, 0.5])


def test_scopes_are_panels_and_results_colours() -> None:
    figure = figure_recall([recalls("global"), recalls("per_submodule"), recalls("global", extras=False)])
    left, right = figure.axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == (
        "percentile of the scores of a submodule",
        "percentile of all scores",
    )
    assert [line.get_color() for line in right.lines if str(line.get_label()).startswith("task")] == [BLUE, ORANGE]
    np.testing.assert_allclose(np.asarray(right.lines[0].get_ydata()), [55 / 56, 43 / 56, 24 / 56])
    assert "task rc, train" in texts(figure)
    assert "n = 56 features of a circuit, effect above 0.1" in texts(figure)
    assert "google/gemma-2-2b" in texts(figure)


def test_what_points_lack_is_not_in_the_legend() -> None:
    assert "random firing features" in texts(figure_recall([recalls()]))
    figure = figure_recall([recalls(extras=False)])
    for label in ("random firing features", "activation alone", "the most that any score reaches"):
        assert label not in texts(figure)
    assert "random features" in texts(figure)


@pytest.mark.parametrize("results", [[], [recalls(points=[])], [recalls()] * 6])
def test_no_recall_and_too_many_are_errors(results: list[Any]) -> None:
    with pytest.raises(SchemaError, match=r"percentile|colour"):
        figure_recall(results)


def test_tasks_may_be_any_text(tmp_path: Path) -> None:
    draw_recall([recalls(task=NAME), recalls(task="_x")], tmp_path / "figure.png", title=NAME, note=NAME)


def test_log_axes_of_all_figures_are_labelled_with_numbers(tmp_path: Path) -> None:
    figures = [
        figure_spectrum(direct_kappa()),
        figure_attribution(agreement(PAIRS)),
        figure_cells(four_cells([300], [2700], [200])),
        figure_cells(four_cells([300], [2700], [0])),
    ]
    for figure in figures:
        figure.savefig(tmp_path / "figure.png", dpi=40)
        assert "mathdefault" not in texts(figure)


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_spectrum(direct_kappa(eigenvalues=None), tmp_path / f"{name}.png")
        draw_recall([recalls()], tmp_path / f"{name}.svg")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
