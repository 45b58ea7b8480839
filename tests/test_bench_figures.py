"""What benchmarks say, and what is made of it: figures, lines, tables, scale, and the page that shows them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import growth, keep, measured, picture, scale, table
from benchmarks.speed.apart import apart
from benchmarks.speed.figures import MACHINE, MATRIX, Figure, merged, number
from benchmarks.speed.growth import Line, Series, equation, fit, line_of, small
from benchmarks.speed.measured import Measured, kept, of_benchmarks
from molebench import provenance
from tests.conftest import ROOT

NAMES = (growth.PAIRS, growth.POISONS, growth.EXTRACTION, growth.SCORING, growth.CELLS)
STRAIGHT = tuple(Series(name, "things", (1, 2, 3), (3.0, 5.0, 7.0), gflop=4.0) for name in NAMES)
COMPUTER = {
    "cpu": "a processor",
    "cores": 2,
    "threads": 2,
    "memory_gib": 8.0,
    "load_at_start": 0.0,
    "commit": "abc",
    "versions": {"python": "3.11"},
}
FIGURES = (Figure(MACHINE, MATRIX, 100.0, "GFLOP/s"), Figure("loop", "speed", 2.5, "times", least=2.0))
GIVEN = Measured(COMPUTER, FIGURES, STRAIGHT)


def test_a_figure_is_reached_from_its_own_side() -> None:
    assert [Figure("a", "b", v, "s", most=2.0).reached for v in (1.9, 2.0, 2.1)] == ["yes", "yes", "no"]
    assert [Figure("a", "b", v, "times", least=2.0).reached for v in (1.9, 2.0, 2.1)] == ["no", "yes", "yes"]
    assert Figure("a", "b", 1.0, "s").reached == "-"
    assert [Figure("a", "b", 1.0, "s", most=40.0).asked, Figure("a", "b", 1.0, "", 0.98).asked] == ["≤ 40", "≥ 0.98"]


def test_what_is_not_a_number_is_not_reached() -> None:
    assert Figure("a", "b", float("nan"), "s", most=2.0).reached == "no"
    assert Figure("a", "b", float("nan"), "times", least=2.0).reached == "no"


def test_numbers_show_what_matters() -> None:
    assert [number(v) for v in (499_500, 123.4, 12.64, 1.0, 0.99961, 0)] == [
        "499 500",
        "123",
        "12.6",
        "1",
        "0.9996",
        "0",
    ]
    assert [small(v) for v in (2.0, 0.0203, 1.4e-6)] == ["2 s", "20.3 ms", "1.4 µs"]
    assert [scale.long(v) for v in (20.0, 90.0, 7200.0, 3 * 86_400.0)] == ["20 s", "1.5 min", "2 h", "3 days"]


def test_of_figures_of_one_name_the_last_is_kept_in_the_first_ones_place() -> None:
    old, other, new = Figure("a", "x", 1.0, "s"), Figure("a", "y", 2.0, "s"), Figure("a", "x", 3.0, "s")
    assert merged((old, other), (new,)) == (new, other)


def test_a_line_through_points_on_a_line_explains_all() -> None:
    line = fit((1, 2, 3), (3.0, 5.0, 7.0))
    assert (line.slope, line.start, line.share) == pytest.approx((2.0, 1.0, 1.0))
    assert line.at(10) == pytest.approx(21.0)
    assert equation(line) == "1 s + 2 s · n"


def test_a_line_is_numpys() -> None:
    x, y = (1, 2, 4, 8), (1.0, 2.5, 3.0, 9.0)
    line, (slope, start) = fit(x, y), np.polyfit(x, y, 1)
    assert (line.slope, line.start) == pytest.approx((slope, start))
    assert line.share == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_sizes_take_turns() -> None:
    calls: list[int] = []
    series = growth.grown("name", "things", calls.append, (4, 8))
    assert calls == [4, *(4, 8) * growth.TURNS]
    assert series.sizes == (4, 8)


def test_what_was_kept_reads_back() -> None:
    assert kept(GIVEN.text()) == GIVEN


def test_of_a_benchmarks_json_only_what_was_stated_is_taken() -> None:
    extra = {
        "figures": [FIGURES[1].as_dict()],
        "growth": {"name": "n", "things": "t", "sizes": [1, 2], "seconds": [1.0, 2.0]},
    }
    info = {"node": "a-host", "molebench": {**COMPUTER, "capability": [FIGURES[0].as_dict()]}}
    content = {"machine_info": info, "benchmarks": [{"fullname": "f", "extra_info": extra}, {"extra_info": {}}]}
    found = of_benchmarks(json.dumps(content))
    assert found == Measured(COMPUTER, FIGURES, (Series("n", "t", (1, 2), (1.0, 2.0)),))
    assert "a-host" not in found.text()


def test_a_later_run_takes_the_place_of_what_it_measured_again() -> None:
    again = Measured({**COMPUTER, "cpu": "another"}, (Figure("loop", "speed", 3.0, "times"),), STRAIGHT[:1])
    both = GIVEN | again
    assert [both.value("loop", "speed"), both.value(MACHINE, MATRIX), len(both.growth)] == [3.0, 100.0, 5]
    assert both.machine["cpu"] == "another"


def test_the_table_has_a_row_a_figure() -> None:
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.of_figures(FIGURES).splitlines()]
    assert rows[0] == ["area", "figure", "measured", "asked for", "reached"]
    assert rows[2:] == [[MACHINE, MATRIX, "100 GFLOP/s", "-", "-"], ["loop", "speed", "2.5 times", "≥ 2", "yes"]]


def test_operations_scale_with_the_network_and_only_cells_are_spread() -> None:
    jobs = {each.what: each for each in scale.at_imagenet(GIVEN)}
    a_pair = 0.5 * 8.2 * (3 * 1_000 + 50_000)  # seconds a GFLOP: a slope of 2 s, 4 GFLOP a thing
    pairs, features = jobs["all 499 500 pairs of a mole grid"], jobs["features of 1 281 167 images"]
    assert pairs.seconds == pytest.approx(499_500 * a_pair)
    assert pairs.on(100) == pytest.approx(4_995 * a_pair)
    assert features.on(100) == features.seconds == pytest.approx(0.5 * 8.2 * 1_281_167)


def test_scoring_takes_the_products_of_further_classes_more() -> None:
    assert scale.item(STRAIGHT[3], gflops=100.0) == pytest.approx(2.0 + 2 * 2048 * 990 / 100e9)


def test_a_sweep_takes_what_its_cores_take_or_what_its_head_takes() -> None:
    line = Line(slope=0.02, start=1.0, share=1.0)
    long = scale.on_cluster(line, cell=10.0, cells=1_000, cores=200)
    assert (long.seconds, long.busy) == pytest.approx((51.0, 50 / 51))
    assert scale.on_cluster(line, cell=1.0, cells=1_000, cores=200).seconds == pytest.approx(21.0)
    assert scale.shortest(line, cores=200) == pytest.approx(4.0)


def test_the_pools_features_take_ten_and_a_half_gigabytes() -> None:
    assert scale.pool_gb() == pytest.approx(10.5, abs=0.01)


def test_crafting_takes_two_passes_a_gradient_and_five_for_features() -> None:
    assert [growth.passes(0), growth.passes(75)] == [5, 155]


def test_a_page_is_filled_between_its_marks_and_nowhere_else() -> None:
    page = "above\n<!-- measured: x -->\nold\n<!-- measured: end of x -->\nbelow\n"
    once = keep.filled(page, {"x": "new"})
    assert once == "above\n<!-- measured: x -->\nnew\n<!-- measured: end of x -->\nbelow\n"
    assert keep.filled(once, {"x": "new"}) == once
    with pytest.raises(ValueError, match="one place for the block 'y'"):
        keep.filled(page, {"y": "new"})


def test_the_page_shows_what_was_measured() -> None:
    found, page = kept(measured.FILE.read_text("utf-8")), keep.PAGE.read_text("utf-8")
    assert keep.filled(page, keep.blocks(found)) == page, "run `python -m benchmarks.speed.keep --add`"


def test_the_picture_shows_what_was_measured() -> None:
    found = kept(measured.FILE.read_text("utf-8"))
    assert picture.said(found) in picture.FILE.read_text("utf-8")


def test_a_picture_has_a_panel_a_series(tmp_path: Path) -> None:
    figure = picture.figure(GIVEN)
    assert [axes.get_title().split(":")[0] for axes in figure.axes[:5]] == list(NAMES)
    for name in ("one.svg", "two.svg"):
        picture.draw(GIVEN, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert line_of(STRAIGHT[0]).share == pytest.approx(1.0)


def test_a_process_apart_has_a_peak_of_its_own() -> None:
    held = np.ones(2**27)  # a gibibyte, which ru_maxrss of a child would have too
    assert provenance.peak_memory_mib() >= held.nbytes / 2**20
    found = apart(os.getpid)
    assert found.value != os.getpid()
    assert 50 <= found.mib <= 1000


def test_what_a_job_apart_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        apart(int, "no number")


def test_no_benchmark_is_left_out_of_the_table() -> None:
    for file in sorted((ROOT / "benchmarks" / "speed").glob("test_*.py")):
        assert "state(Figure(" in file.read_text("utf-8"), file.name
