"""Figures of width sweeps and curve fits: what is drawn is what the result holds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from causal_results_fixture import FORMS, SAE, WIDTHS, curve_fit, sweep
from locality_rows import HOSTILE, texts
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.causality.curve_fits import draw_curve_fits, figure_curve_fits, fitted_curves
from circuit_artifacts.reports.causality.wedge import draw_wedge, figure_wedge, wedge
from circuit_artifacts.reports.style import BLUE, RED

NAME = " ".join(filter(None, HOSTILE))


def line(axes: Axes, start: str) -> Line2D:
    (found,) = [one for one in axes.lines if str(one.get_label()).startswith(start)]
    return found


def row(width: int, firing: int, causal: int, **more: object) -> dict[str, object]:
    return {"sae": SAE, "width": width, "n_repr": firing, "n_causal": causal, **more}


def test_growths_and_wedge_are_those_of_the_published_counts() -> None:
    found = wedge(sweep())
    assert found.firing_growth == pytest.approx(15.6)
    assert [curve.rule for curve in found.curves] == ["percentile", "null"]
    for curve in found.curves:
        assert curve.growth == pytest.approx(1427 / 328)
        assert curve.wedge == pytest.approx(15.6 * 328 / 1427)
    assert "firing 15.6x, causal 4.35x, wedge 3.59" in texts(figure_wedge(sweep()))


def test_lines_are_the_counts_and_the_bound_is_dashed() -> None:
    (axes,) = figure_wedge(sweep()).axes
    expected = {
        "firing": [16000, 40000, 249600],
        "causal, rule percentile": [328, 500, 1427],
        "causal, rule null": [656, 1000, 2854],
        "conservation bound, rule null": [9840, 15000, 42810],
    }
    assert len(axes.lines) == len(expected)
    for start, values in expected.items():
        np.testing.assert_array_equal(line(axes, start).get_xdata(), WIDTHS)
        np.testing.assert_allclose(np.asarray(line(axes, start).get_ydata()), values)
    bound, causal = line(axes, "conservation"), line(axes, "causal, rule null")
    assert (bound.get_linestyle(), bound.get_color()) == ("--", causal.get_color())
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_rows_in_any_order_without_extra_fields_give_two_lines() -> None:
    (axes,) = figure_wedge(sweep(rows=[row(64, 50, 20), row(16, 10, 5)])).axes
    assert [np.asarray(one.get_ydata()).tolist() for one in axes.lines] == [[10, 50], [5, 20]]


def test_a_count_of_zero_and_a_rule_that_a_row_lacks_are_gaps() -> None:
    rows = [row(16, 10, 0, n_causal_by_rule={"mass": 3}), row(64, 50, 20, n_causal_by_rule="no mapping")]
    found = wedge(sweep(rows=rows))
    assert [(curve.growth, curve.wedge) for curve in found.curves] == [(None, None), (None, None)]
    (axes,) = figure_wedge(sweep(rows=rows)).axes
    np.testing.assert_array_equal(line(axes, "causal, rule percentile").get_ydata(), [np.nan, 20])
    np.testing.assert_array_equal(line(axes, "causal, rule mass").get_ydata(), [3, np.nan])


def test_one_width_has_no_growth() -> None:
    figure = figure_wedge(sweep(rows=[row(16, 10, 5)]))
    assert "one width" in texts(figure)
    assert "wedge" not in texts(figure)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(16, 0, 0)], "no feature fires"),
        ([row(16, 9, 1), row(16, 9, 2)], "different widths"),
        ([row(0, 0, 0)], "needs widths"),
        ([row(10**400, 1, 0)], "needs widths"),
    ],
)
def test_a_sweep_that_is_none_is_an_error(rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        figure_wedge(sweep(rows=rows))


def test_hostile_rules_and_titles_are_drawn_and_many_rules_cut(tmp_path: Path) -> None:
    rules = {f"{index}{NAME}": 10**400 if index else 7 for index in range(9)} | {"_x": 5, "bad": float("nan")}
    more = {"n_causal_by_rule": rules | {f"r{index}": 5 for index in range(6)}, "bound_by_rule": {"_x": 1e90}}
    result = sweep(rows=[row(16, 10, 5, **more), row(64, 20, 6)])
    assert "4 more rules are not shown" in texts(figure_wedge(result))
    draw_wedge(result, tmp_path / "figure.png", title=NAME, note=NAME)


def test_curves_are_those_of_the_six_forms() -> None:
    widths = np.array(WIDTHS, np.float64)
    found = {curve.form: curve.counts for curve in fitted_curves(curve_fit(), widths)}
    kappa, a, k = 1990, 0.614, 230563
    np.testing.assert_allclose(found["hill"], kappa * widths**a / (widths**a + k**a))
    np.testing.assert_allclose(found["exp"], 1400 * (1 - np.exp(-widths / 2e5)))
    np.testing.assert_allclose(found["mm"], 1500 * widths / (widths + 7e4))
    np.testing.assert_allclose(found["weibull"], 1990 * (1 - np.exp(-((widths / 637607) ** 0.468))))
    np.testing.assert_allclose(found["exp_offset"], 250 + 1150 * (1 - np.exp(-widths / 3e5)))
    np.testing.assert_allclose(found["power"], 10.6 * widths**0.354)


def test_fits_kappa_its_band_and_the_width_of_the_model_are_drawn() -> None:
    figure = figure_curve_fits(curve_fit())
    (axes,) = figure.axes
    labels = {str(one.get_label()).split(",")[0] for one in axes.lines}
    assert labels >= FORMS.keys()
    hill, dots, model = line(axes, "hill"), line(axes, "causal features, counted"), line(axes, "d_model")
    assert (hill.get_color(), hill.get_label()) == (BLUE, "hill, AICc -12.5, selected")
    np.testing.assert_allclose(np.asarray(dots.get_ydata()), curve_fit().n_causal)
    assert (list(np.asarray(model.get_ydata())), model.get_color()) == ([2304, 2304], RED)
    assert list(np.asarray(line(axes, "κ").get_ydata())) == [1990, 1990]
    (band,) = [patch for patch in axes.patches if patch.get_label() == "95% interval of κ"]
    extent = band.get_path().get_extents(band.get_patch_transform())
    assert (extent.y0, extent.y1) == (545, 5130)
    assert "no saturation detected; κ = 1,990, κ / d_model = 0.864" in texts(figure)


def test_nothing_selected_and_no_verdict_leaves_the_band_out() -> None:
    figure = figure_curve_fits(curve_fit(selected=None, kappa_hat=None, verdict=None))
    (axes,) = figure.axes
    assert {one.get_label() for one in axes.lines} >= {
        "exp",
        "mm",
        "hill, AICc -12.5",
        "weibull",
        "exp_offset",
        "power",
    }
    assert "not drawn" not in texts(figure)
    assert "interval" not in texts(figure)


def test_fits_without_a_known_curve_are_left_out_and_said() -> None:
    fits = [
        {"form": "hill", "params": {"kappa": 5.0}, "kappa": 5.0},
        {"form": NAME, "params": {}, "kappa": None},
        {"form": "mm", "params": {"kappa": 1500.0, "K": None}, "kappa": None},
        {"form": "power", "params": {"c": 1e90, "a": 1e90}, "kappa": None},
    ]
    result = curve_fit(fits=fits, kappa_hat=float("nan"), n_causal=[1.0, float("nan"), 0.0])
    figure = figure_curve_fits(result)
    assert "curves of 3 fits are not drawn" in texts(figure)
    np.testing.assert_array_equal(line(figure.axes[0], "causal features").get_ydata(), [1])


def test_no_count_is_an_error() -> None:
    with pytest.raises(SchemaError, match="no count above 0"):
        figure_curve_fits(curve_fit(n_causal=[0.0, 0.0, float("nan")]))
    with pytest.raises(SchemaError, match="needs widths"):
        figure_curve_fits(curve_fit(widths=[], n_causal=[]))


def test_log_axes_are_labelled_with_numbers_since_mathematics_is_off(tmp_path: Path) -> None:
    for name, figure in (("a", figure_wedge(sweep())), ("b", figure_curve_fits(curve_fit()))):
        figure.savefig(tmp_path / f"{name}.png")
        assert "1,000" in texts(figure)
        assert "mathdefault" not in texts(figure)


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_wedge(sweep(), tmp_path / f"{name}.png", note="a note")
        draw_curve_fits(curve_fit(), tmp_path / f"{name}.svg", title=NAME)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_curves_are_drawn_without_torch() -> None:
    code = "import sys, circuit_artifacts.reports.causality.curve_fits; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
