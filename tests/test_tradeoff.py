"""The curve of a sweep over attack.beta: what makes a line, and where it stands on the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from molebench import drawing, pictures
from molebench.record import MetricValue, Record
from molebench.store import Store
from molebench.sweep_file import load_sweep
from molebench.tradeoff import curve, lines
from tests.conftest import ROOT
from tests.test_mole_pictures import record
from tests.test_pictures import drawn, readable, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cell(
    beta: float,
    snr: float = 10.0,
    success: float = 0.9,
    head: str = "nn1",
    seed: int = 0,
    victim: str = "al_yamnet",
    dataset: str = "fsdd",
    status: str = "ok",
    poisoned: float = 0.25,
) -> Record:
    """A record with the figures that the curve reads; of one seed, accuracies and the ratio have intervals."""
    spans = {"accuracy_clean": (0.5, 0.45, 0.55), "accuracy_poisoned": (poisoned, poisoned - 0.05, poisoned + 0.05)}
    spans["collision_ratio"] = (beta, beta / 2, 2 * beta)
    counts = {"success_rate": success, "random_success_rate": 0.1, "snr": snr, "psnr": snr + 25}
    metrics = {n: MetricValue(value=v, low=a, high=b, definition="") for n, (v, a, b) in spans.items()}
    metrics |= {n: MetricValue(value=v, low=None, high=None, definition="") for n, v in counts.items()}
    names = {
        "attack": {"name": "feature_collision", "parameters": {"beta": beta}},
        "victim": {"name": victim, "parameters": {"head": head}},
        "dataset": {"name": dataset, "parameters": {}},
    }
    made = record(seed=seed)
    return made.model_copy(update={"cell": made.cell | names, "metrics": metrics, "status": status})


SWEEP = [cell(0.1, snr=15.0, success=0.5), cell(0.01, snr=10.0, success=0.9), cell(0.2, snr=20.0, success=0.2)]


def shown(records: Sequence[Record]) -> "Figure":
    """The curve that there must be, whole and readable."""
    with drawing.styled():
        figure = curve(records, f"sweep of {len(records)} cells")
        assert figure is not None
        return readable(figure)


def panel(figure: "Figure", label: str) -> "Axes":
    (axes,) = [axes for axes in figure.axes if axes.get_ylabel().startswith(label)]
    return axes


def solid(axes: "Axes") -> list[tuple[list[float], list[float]]]:
    """x and y of each line that has no marker and no dashes: the metric's own."""
    own = [line for line in axes.lines if line.get_linestyle() == "-" and line.get_marker() == "None"]
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in own]


# Which lines there are


def test_cells_that_differ_in_beta_are_a_line_in_its_order() -> None:
    (line,) = lines(SWEEP)
    assert line.words == "al_yamnet nn1 on fsdd"
    assert [point.beta for point in line.points] == [0.01, 0.1, 0.2]
    assert line.values("snr") == [10, 15, 20]
    assert line.values("success_rate") == [90, 50, 20]


def test_heads_datasets_and_other_parameters_have_lines_of_their_own() -> None:
    other = [cell(0.01, head="nn2"), cell(0.1, head="nn2"), cell(0.01, dataset="folder"), cell(0.1, dataset="folder")]
    more = [
        each.model_copy(update={"cell": each.cell | {"defenses": [{"name": "a", "parameters": {}}]}}) for each in SWEEP
    ]
    found = [line.words for line in lines([*SWEEP, *other, *more])]
    assert found == [
        "al_yamnet nn1 on fsdd",
        "al_yamnet nn2 on fsdd",
        "al_yamnet nn1 on folder",
        "al_yamnet nn1 on fsdd behind a",
    ]


def test_several_seeds_are_a_point_with_student_s_interval() -> None:
    (line,) = lines([cell(b, success=s, seed=i) for b in (0.1, 1.0) for i, s in enumerate((0.4, 0.6))])
    figure = line.points[0].figures["success_rate"]
    assert figure.value == pytest.approx(0.5)
    assert (figure.low, figure.high) == pytest.approx((0.5 - 1.2706, 0.5 + 1.2706), abs=1e-4)  # t of 1: 12.706
    assert {point.over for point in line.points} == {"2 seeds"}


@pytest.mark.parametrize("records", [[], [record()], SWEEP[:1], [cell(0.1, seed=0), cell(0.1, seed=1)]])
def test_where_beta_does_not_vary_there_is_no_curve(records: list[Record]) -> None:
    assert curve(records, "") is None


# What is shown


def test_the_points_are_those_of_the_records_by_snr() -> None:
    figure = shown(SWEEP)
    assert solid(panel(figure, "success")) == [([10, 15, 20], [90, 50, 20])]
    assert solid(panel(figure, "accuracy")) == [([10, 15, 20], [25, 25, 25])]
    assert solid(panel(figure, "collision")) == [([10, 15, 20], [0.01, 0.1, 0.2])]
    (clean,) = [line for line in panel(figure, "accuracy").lines if line.is_dashed()]
    assert np.asarray(clean.get_ydata()).tolist() == [50, 50, 50]
    assert {axes.get_xlabel() for axes in figure.axes} == {"SNR of the poisons (dB)", ""}


def test_images_are_shown_by_psnr() -> None:
    figure = shown(
        [cell(b, snr, victim="al_resnet50", dataset="cifar10_jpeg") for b, snr in ((1e-6, 4.0), (1e-5, 7.0))]
    )
    assert solid(panel(figure, "success"))[0][0] == [29, 32]
    assert panel(figure, "success").get_xlabel() == "PSNR of the poisons (dB)"


def labels(records: Sequence[Record]) -> list[str]:
    return [text.get_text() for text in panel(shown(records), "success").texts]


def test_every_beta_is_named_once_though_two_heads_share_it() -> None:
    second = [cell(b, snr, 0.3, head="nn2") for b, snr in ((0.01, 10.0), (0.1, 15.0), (0.2, 20.0))]
    assert labels([*SWEEP, *second]) == ["0.01", "0.1", "0.2"]


def test_betas_that_make_no_difference_share_a_label_and_stand_together_on_the_page() -> None:
    alike = [cell(0.01, 13.57), cell(1.0, 13.58), cell(10.0, 13.64)]
    assert labels(alike) == ["0.01, 1, 10"]
    low, high = panel(shown(alike), "success").get_xlim()
    assert high - low == pytest.approx(6)


def test_labels_that_would_touch_stand_above_each_other() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with drawing.styled():
        figure = shown([cell(b, snr, 1.0) for b, snr in ((0.001, 10.0), (0.003, 11.6), (0.01, 13.2), (1.0, 25.0))])
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in panel(figure, "success").texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_chance_is_a_dashed_line_of_the_success() -> None:
    figure = shown(SWEEP)
    (line,) = [line for line in panel(figure, "success").lines if line.is_dashed()]
    assert set(np.asarray(line.get_ydata()).tolist()) == {10.0}
    assert "chance: 10.0 %" in words(figure)


def test_a_cell_with_warnings_is_hollow_and_the_legend_says_so() -> None:
    figure = shown([*SWEEP, cell(1.0, snr=25.0, status="unhealthy")])
    marks = [line for line in panel(figure, "success").lines if line.get_marker() == "o"]
    assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, False, False, True]
    assert "hollow: a cell with warnings" in words(figure)
    assert "hollow" not in words(shown(SWEEP))


def test_lines_are_told_apart_by_colour_and_by_marker() -> None:
    found = lines([cell(b, head=head) for b in (0.1, 1.0) for head in ("nn1", "nn2")])
    assert len({line.colour for line in found}) == len({line.marker for line in found}) == 2


def test_shares_stay_between_0_and_100_whatever_their_intervals() -> None:
    wild = [cell(b, seed=i, poisoned=p, success=p) for b in (0.1, 1.0) for i, p in enumerate((0.05, 0.95))]
    low, high = panel(shown(wild), "accuracy").get_ylim()
    assert (low, high) == (0, 100)


@pytest.mark.parametrize("n", [2, 14])
def test_any_number_of_lines_is_readable(n: int) -> None:
    records = [cell(10.0**-i, snr=8 + 5 * i + j / 10, dataset=f"dataset_{j}") for i in range(4) for j in range(n)]
    figure = shown(records)
    assert all(f"on dataset_{j}" in words(figure) for j in range(n))


# When


def test_a_sweep_leaves_its_curve_beside_the_records_and_the_same_bytes_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = tmp_path / "sweeps" / "quiet"
    assert pictures.of_sweep("quiet", SWEEP, store) == [folder / "tradeoff.png"]
    before = drawn(folder)
    assert list(before) == ["tradeoff.pdf", "tradeoff.png"]
    for name in before:
        (folder / name).unlink()
    pictures.of_sweep("quiet", SWEEP, store)
    assert drawn(folder) == before
    assert pictures.of_sweep("others", [record()] * 3, store) == []


def test_the_sweep_that_comes_with_the_house_varies_beta_and_nothing_else_but_seeds() -> None:
    cells = list(load_sweep(ROOT / "benchmarks" / "audio_tradeoff.yaml").cells())
    assert len({each.parameters["attack.beta"] for each in cells}) >= 3
    rest = [{k: v for k, v in each.parameters.items() if k != "attack.beta"} for each in cells]
    assert all(each == rest[0] for each in rest)
    assert {(each.victim, each.attack, each.dataset) for each in cells} == {("al_yamnet", "feature_collision", "fsdd")}
