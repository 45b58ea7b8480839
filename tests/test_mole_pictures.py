"""Pictures of offline cells: the numbers behind them, which cell has which, and that they are whole and readable."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from molebench import drawing, matrices, mole_drawing, mole_pictures, pictures
from molebench.matrices import Marks, Panel, Scale
from molebench.mole_effects import (
    ATTACK,
    CONTROL,
    MAPS,
    best,
    by_size,
    effects,
    harshest_size,
    maps,
    of_attacked,
    of_others,
    shares,
    worst_update,
)
from molebench.moles import PUBLISHED, fit_r
from molebench.record import SCHEMA, ArmRecord, DataRecord, MetricValue, PairRecord, PoisonRecord, Record, UpdateRecord
from molebench.store import Store
from molebench.workspace import Workspace
from tests.commands import folders
from tests.conftest import ROOT
from tests.test_pictures import drawn, readable, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = ("cat", "dog", "fox")
BEFORE = (10, 8, 5)  # right of 10 test items of each class: 100 %, 80 %, 50 %; 23 of 30 in all


def arm(*correct: int, of: int = 10) -> ArmRecord:
    """An arm with so many right of each class; what is wrong is taken for the next class."""
    k = len(correct)
    table = np.diag(correct) + np.roll(np.diag([of - n for n in correct]), 1, axis=1)
    return ArmRecord(
        n=[of] * k,
        correct=list(correct),
        confusion=table.tolist(),
        predictions="",
        predictions_sha256="",
        trace={},
    )


def update(
    pairs: str, attack: Sequence[int], control: Sequence[int] = (), n: int = 4, score: float = 0.5
) -> UpdateRecord:
    """An update of pairs such as 'cat<dog' with what is right after it; rho is the score and 0.1 more."""
    named = [pair.split("<") for pair in pairs.split()]
    arms = {ATTACK: arm(*attack)} | ({CONTROL: arm(*control)} if control else {})
    found = [PairRecord(attacked=a, confounding=c, rho=score + 0.1, n=n, mean_score=score) for a, c in named]
    return UpdateRecord(pairs=found, moles=n * len(found), size=12, arms=arms)


def record(*updates: UpdateRecord, seed: int = 0, metrics: Mapping[str, float] | None = None) -> Record:
    """A record of these updates, nothing else in it that a picture reads."""
    none: dict[str, Any] = {}
    part = {"name": "something", "parameters": none}
    cell = {"attack": part, "victim": part, "dataset": part, "defenses": [], "profile": "tiny", "seed": seed}
    figures = {n: MetricValue(value=v, low=None, high=None, definition="") for n, v in (metrics or {}).items()}
    return Record(
        schema=SCHEMA,
        key=f"{seed:064x}",
        group="g" * 64,
        cell=cell,
        scenario="offline",
        status="ok",
        started="",
        durations=none,
        reused=[],
        peak_memory_mib=0.0,
        components=[],
        threat_model=none,
        poison=PoisonRecord(sha256="", n=0, violations=[], unmet=[], facts=none),
        data=DataRecord(files=none, splits=none, sizes=none, classes=list(CLASSES)),
        weights=[],
        seeds={"cell": seed},
        environment=none,
        code=none,
        arms={"clean_undefended": arm(*BEFORE)},
        updates=list(updates),
        metrics=figures,
    ).sealed()


# Two pairs, each with its control; then the same two at two sizes
PAIR = update("cat<dog", (4, 8, 6), (9, 8, 5))  # cat -60, dog 0, fox +10
BACK = update("dog<cat", (10, 5, 5), (10, 7, 5))  # dog -30
SWEEP = (
    PAIR,
    update("cat<dog", (7, 8, 5), (10, 8, 5), n=8, score=0.3),
    BACK,
    update("dog<cat", (9, 5, 5), n=8, score=0.2),
)


# The numbers behind them


def test_delta_is_after_minus_before_in_points_of_each_class_and_of_all() -> None:
    found = effects(record(PAIR, BACK))
    np.testing.assert_allclose(found.delta[ATTACK], [[-60, 0, 10], [0, -30, 0]])
    np.testing.assert_allclose(found.delta[CONTROL], [[-10, 0, 0], [0, -10, 0]])
    np.testing.assert_allclose(found.total[ATTACK], [-500 / 30, -300 / 30])
    assert (found.attacked.tolist(), found.confounding.tolist(), found.size.tolist()) == ([0, 1], [1, 0], [4, 4])


def test_others_are_the_classes_that_are_neither_attacked_nor_confounding() -> None:
    np.testing.assert_allclose(of_others(effects(record(PAIR, BACK)), ATTACK), [10, 0])


def test_a_class_without_test_items_has_no_delta() -> None:
    empty = {"clean_undefended": arm(10, 8, 5).model_copy(update={"n": [0, 10, 10], "correct": [0, 8, 5]})}
    found = effects(record(PAIR).model_copy(update={"arms": empty}))
    assert np.isnan(of_attacked(found, ATTACK)).tolist() == [True]


def test_an_update_of_several_pairs_is_in_no_map() -> None:
    assert len(effects(record(PAIR, update("cat<dog fox<dog", (1, 1, 1)))).size) == 1


def test_maps_have_the_attacked_class_in_the_row_and_the_confounding_one_in_the_column() -> None:
    found = {m.title: grid for m, grid in maps([effects(record(PAIR, BACK))], None).items()}
    nan = np.nan
    expected = {
        "attacked class": [[nan, -60, nan], [-30, nan, nan], [nan, nan, nan]],
        "attacked class, control": [[nan, -10, nan], [-10, nan, nan], [nan, nan, nan]],
        "confounding class": [[nan, 0, nan], [0, nan, nan], [nan, nan, nan]],
        "mean of the other classes": [[nan, 10, nan], [0, nan, nan], [nan, nan, nan]],
        "all test items": [[nan, -500 / 30, nan], [-10, nan, nan], [nan, nan, nan]],
        "all test items, control": [[nan, -100 / 30, nan], [-100 / 30, nan, nan], [nan, nan, nan]],
    }
    assert list(found) == list(expected)
    for title, grid in expected.items():
        np.testing.assert_allclose(found[title], grid, err_msg=title)


def test_over_seeds_a_map_is_the_mean() -> None:
    milder = record(update("cat<dog", (8, 8, 5)), BACK, seed=1)
    found = maps([effects(record(PAIR, BACK)), effects(milder)], None)
    assert found[MAPS[0]][0, 1] == pytest.approx((-60 - 20) / 2)


def test_the_maps_of_a_sweep_are_of_the_size_that_hurts_most_on_average() -> None:
    found = effects(record(*SWEEP))
    assert harshest_size([found]) == 4  # -60 and -30, against -30 and -30
    assert maps([found], 8)[MAPS[0]][0, 1] == pytest.approx(-30)
    assert harshest_size([effects(record(PAIR, BACK))]) is None


def test_a_line_over_sizes_is_one_of_each_pair() -> None:
    x, y = by_size(effects(record(*SWEEP)), ATTACK)
    assert x.tolist() == [4, 8]
    np.testing.assert_allclose(y, [[-60, -30], [-30, -30]])


def test_of_each_pair_the_update_that_hurt_most_counts_and_of_equals_the_smallest() -> None:
    found = effects(record(*reversed(SWEEP)))
    assert found.size[best(found)].tolist() == [4, 4]
    assert found.score[best(found)].tolist() == [0.5, 0.5]


def test_the_worst_update_is_that_whose_attacked_class_loses_most() -> None:
    assert worst_update(record(BACK, PAIR, PAIR)) == 1
    assert worst_update(record()) is None


def test_a_confusion_is_in_percent_of_its_true_class() -> None:
    np.testing.assert_allclose(shares(arm(4, 8, 10)), [[40, 60, 0], [0, 80, 20], [0, 0, 100]])


# What they show


def figure_of(make: Any, *given: Any) -> "Figure":
    """A picture that there must be, whole and readable."""
    with drawing.styled():
        figure = make(*given)
        assert figure is not None
        return readable(figure)


def test_a_heat_map_shows_the_numbers_of_the_record_in_their_cells() -> None:
    figure = figure_of(mole_pictures.heatmaps, [record(PAIR, BACK)])
    shown = {axes.get_title(loc="left"): [t.get_text() for t in axes.texts] for axes in figure.axes}
    assert shown["attacked class"] == ["-60", "-30"]
    assert shown["attacked class, control"] == ["-10", "-10"]
    assert shown["mean of the other classes"] == ["10", "0.0"]
    assert shown["all test items"] == ["-17", "-10"]
    assert shown["before: the victim's accuracy"] == ["100.0", "80.0", "50.0"]
    assert "seed" in words(figure)


def test_the_attack_and_its_control_share_a_scale_around_zero() -> None:
    figure = figure_of(mole_pictures.heatmaps, [record(PAIR, BACK)])
    images = {axes.get_title(loc="left"): axes.images[0] for axes in figure.axes}
    for title in ("attacked class", "attacked class, control", "confounding class"):
        assert images[title].get_clim() == pytest.approx((-60, 60))
    assert images["all test items"].get_clim() == pytest.approx((-500 / 30, 500 / 30))


def test_a_confusion_shows_before_after_and_the_control_and_frames_its_pairs() -> None:
    figure = figure_of(mole_pictures.confusion, record(BACK, PAIR))
    shown = {axes.get_title(loc="left"): [t.get_text() for t in axes.texts] for axes in figure.axes}
    assert shown["before"] == ["100", "", "", "", "80", "20", "50", "", "50"]
    assert shown["after: attack"] == ["40", "60", "", "", "80", "20", "40", "", "60"]
    assert shown["after: control"][:2] == ["90", "10"]
    assert shown["change: attack − before"] == ["-60", "60", "", "", "", "", "-10", "", "10"]
    corners = [patch.get_xy() for axes in figure.axes for patch in axes.patches if isinstance(patch, Rectangle)]
    assert corners == [(0.5, -0.5)] * 4  # row cat, column dog
    assert "cat < dog" in words(figure)
    assert "of 2 updates" in words(figure)


def test_every_pair_of_a_compound_update_is_framed() -> None:
    figure = figure_of(mole_pictures.confusion, record(update("cat<dog fox<dog", (1, 1, 1))))
    assert len(figure.axes[0].patches) == 2
    colours = {label.get_text(): label.get_color() for label in figure.axes[0].get_yticklabels()}
    assert colours == {"cat": matrices.RED, "dog": matrices.BLUE, "fox": matrices.RED}


def test_lines_over_sizes_end_where_the_record_says_the_control_beside_them() -> None:
    with_control = (*SWEEP[:3], update("dog<cat", (9, 5, 5), (10, 8, 5), n=8))
    figure = figure_of(mole_pictures.sizes, [record(*with_control)])
    assert [axes.get_title() for axes in figure.axes] == ["attack", "control"]
    lines = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(np.asarray(lines["cat < dog"]), [-60, -30])
    np.testing.assert_allclose(np.asarray(lines["mean of 2 pairs"]), [-45, -30])
    assert len(figure_of(mole_pictures.sizes, [record(*SWEEP)]).axes) == 1  # one update has no control


def test_the_line_r_is_that_of_the_record_beside_the_published_one() -> None:
    figures = {"r_slope": 0.5, "r_intercept": -0.25, "r_squared": 0.875}
    found = mole_pictures.lines([record(*SWEEP, metrics=figures)])
    assert list(found) == ["measured: r(ρ) = 0.500 ρ − 0.250, R² = 0.88", "published: r(ρ) = 0.765 ρ + 0.101"]
    assert found["published: r(ρ) = 0.765 ρ + 0.101"] == PUBLISHED[99]
    figure = figure_of(mole_pictures.quality, [record(*SWEEP, metrics=figures)])
    (measured,) = [line for line in figure.axes[1].lines if str(line.get_label()).startswith("measured")]
    np.testing.assert_allclose(np.asarray(measured.get_ydata()), [-0.25, 0.25])


def test_a_percentile_of_which_no_line_was_published_has_its_own_alone() -> None:
    figures = {"r_slope": 0.5, "r_intercept": 0.25, "r_squared": 0.875}
    attack = {"name": "something", "parameters": {"percentile": 90}}
    other = record(*SWEEP, metrics=figures)
    other = other.model_copy(update={"cell": {**other.cell, "attack": attack}})
    assert list(mole_pictures.lines([other])) == ["measured: r(ρ) = 0.500 ρ + 0.250, R² = 0.88"]
    assert "ρ: percentile 90 of P(attacked class)" in words(figure_of(mole_pictures.quality, [other]))


def test_without_a_sweep_the_scores_have_one_panel() -> None:
    figure = figure_of(mole_pictures.quality, [record(PAIR, BACK)])
    assert len(figure.axes) == 1
    points = [line.get_xydata() for line in figure.axes[0].lines[:2]]
    np.testing.assert_allclose(np.vstack(points), [[0.5, -60], [0.5, -30]])


def test_pairs_that_lose_nothing_have_no_name_among_many() -> None:
    assert mole_pictures.losers(np.array([0.0, -3.0, 2.0, -9.0, 0.0, 1.0])) == [3, 1]
    assert mole_pictures.losers(np.array([0.0, -3.0, 2.0])) == [1, 0, 2]


def test_what_does_not_apply_is_not_drawn() -> None:
    one, several, none = record(PAIR), record(update("cat<dog fox<dog", (1, 1, 1))), record()
    for each in (one, several, none):
        assert mole_pictures.heatmaps([each]) is None
        assert mole_pictures.sizes([each]) is None
        assert mole_pictures.quality([each]) is None
    assert mole_pictures.confusion(none) is None
    assert mole_pictures.sizes([record(PAIR, BACK)]) is None


@pytest.mark.parametrize("shape", [(2, 2), (10, 10), (12, 12), (20, 20), (40, 40), (1, 9), (99, 1)])
def test_matrices_of_any_size_are_readable_and_written_out_where_there_is_room(
    shape: tuple[int, int], rng: np.random.Generator
) -> None:
    names = [f"{'HerbaceousVegetation' if i % 3 else 'sea'}_{i}" for i in range(100)]
    rows, columns, every = names[: shape[0]], names[: shape[1]], names[: max(shape)]
    scale = matrices.diverging([], 5.0, "points")
    panels = [Panel(f"panel {i}", rng.normal(size=shape), scale, matrices.two_digits) for i in range(3)]
    shares = Panel("strip", rng.random((1, len(every))), Scale(matrices.SHARE, 0.0, 1.0, "share"), "{:.1f}".format)
    marks = Marks(frozenset({0}), frozenset({1}), ((0, 0),))
    given = (panels, rows, columns, "what " * 40, "cell " * 30, (shares, every), marks)
    figure = figure_of(matrices.matrices, *given)
    assert len(figure.axes[0].texts) == (shape[0] * shape[1] if max(shape) <= 12 else 0)
    assert figure.get_figheight() < 16


def test_two_digits_fit_a_cell() -> None:
    shown = [matrices.two_digits(v) for v in (-46.7, -9.96, -9.94, -0.04, 0.0, 100.0)]
    assert shown == ["-47", "-10", "-9.9", "0.0", "0.0", "100"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [3, 25])
def test_a_gallery_shows_grey_and_colour_images_moles_in_red_frames(
    channels: int, n: int, rng: np.random.Generator
) -> None:
    images = rng.integers(0, 256, (n, 8, 8, channels), dtype=np.uint8)
    arrays = {"moles": images, "attacked": images, "confounding": images[:2], "pair": np.array([0, 2])}
    arrays["scores"] = np.linspace(0.9, 0.1, n)
    figure = figure_of(mole_pictures.moles, record(PAIR), arrays)
    assert len(figure.axes) == 3
    assert f"fox: the {n} best moles for cat\nP(cat) 0.10–0.90" in words(figure)
    red = [(np.asarray(axes.images[0].get_array()) == (0xD5, 0x5E, 0x00)).all(axis=2).any() for axes in figure.axes]
    assert red == [False, True, False]


def test_a_tile_is_its_image_enlarged_in_a_frame() -> None:
    image = np.array([[[[10], [20]], [[30], [40]]]], dtype=np.uint8)
    sheet = mole_drawing.tiled(image, "#ff0000")
    assert sheet.shape[2] == 3
    (rows,) = np.nonzero((sheet == (255, 0, 0)).all(axis=2).any(axis=1))
    line = int(rows[0])  # the margin is as wide as the frame
    inside = sheet[2 * line : 2 * line + 80, 2 * line : 2 * line + 80, 0]
    assert (inside[0, 0], inside[0, -1], inside[-1, 0], inside[-1, -1]) == (10, 20, 30, 40)
    assert (sheet[0] == 255).all()


def test_sounds_have_no_gallery() -> None:
    sounds = {"moles": np.zeros((3, 100), dtype=np.int16), "pair": np.array([0, 1])}
    assert mole_pictures.moles(record(PAIR), sounds) is None
    assert mole_pictures.moles(record(PAIR), {}) is None


# When: real cells

SWEPT = ("mole_recruitment", "attack.pairs=3<8,9<3,4<7", "attack.sweep_n=5,10")
# what is run, and the pictures that it has
CELLS = {
    SWEPT: ["confusion", "heatmaps", "moles", "quality", "sizes"],
    ("mole_recruitment", "attack.pairs=3<8,9<3", "attack.n=5"): ["confusion", "heatmaps", "moles", "quality"],
    ("mole_recruitment", "attack.pairs=3<8", "attack.n=5"): ["confusion", "moles"],
    ("optimized_moles", "attack.rho_min=0", "attack.unit=5"): ["confusion", "moles"],
    ("random_recruitment", "attack.pairs=3<8,8<3", "attack.n=5"): ["confusion", "heatmaps"],
    ("none",): [],
}
PROGRAM = """
import json, sys
from molebench.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["molebench", *words]
    try:
        main()
    except SystemExit as left:
        assert not left.code, words
"""


@pytest.fixture(scope="module")
def cells(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Store]:
    """A store with one very small cell for each of CELLS, made in one process, whose imports cost more than they do."""
    stores = {words: Store(tmp_path_factory.mktemp(words[0])) for words in CELLS}
    head = ["run", "--victim", "offline_resnet18", "--dataset", "digits", "--profile", "tiny"]
    tail = ["--set", "victim.epochs=1", "--set", "victim.pool=300"]
    typed = [
        [*head, *tail, "--attack", attack, *(w for each in settings for w in ("--set", each)), "--store", str(s.folder)]
        for (attack, *settings), s in stores.items()
    ]
    environment = {**os.environ, **folders(fetched)}
    words = [sys.executable, "-c", PROGRAM, json.dumps(typed)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, "could not be drawn" in done.stderr) == (0, False), done.stderr
    return stores


def only(store: Store) -> tuple[Record, Path]:
    """A store's one record, and its folder."""
    (record,) = store.records()
    return record, store.cell(record.key)


@pytest.mark.parametrize("words", CELLS, ids=lambda words: "_".join(words))
def test_a_run_leaves_the_pictures_that_apply_to_its_cell(
    cells: Mapping[tuple[str, ...], Store], words: tuple[str, ...]
) -> None:
    _, folder = only(cells[words])
    found = drawn(folder)
    assert sorted({Path(name).stem for name in found}) == CELLS[words]
    assert {name for name in found if name.endswith("pdf")} == {
        f"{name}.pdf" for name in CELLS[words] if name in pictures.VECTORS
    }
    for file in folder.glob("*.png"):
        with Image.open(file) as image:
            image.verify()
            assert image.size[0] == 1300


def test_the_same_record_gives_the_same_bytes(cells: Mapping[tuple[str, ...], Store]) -> None:
    record, folder = only(cells[SWEPT])
    before = drawn(folder)
    assert len(before) == 8
    for name in before:
        (folder / name).unlink()
    pictures.of_cell(record, cells[SWEPT])
    assert drawn(folder) == before


def test_the_points_shown_are_those_that_the_line_of_the_record_was_fitted_to(
    cells: Mapping[tuple[str, ...], Store],
) -> None:
    record, _ = only(cells[SWEPT])
    found = effects(record)
    line = fit_r(found.rho[best(found)], found.score[best(found)])
    assert line.slope == pytest.approx(record.metrics["r_slope"].value)
    assert line.intercept == pytest.approx(record.metrics["r_intercept"].value)


def test_the_maps_agree_with_the_figures_of_the_record(cells: Mapping[tuple[str, ...], Store]) -> None:
    record, _ = only(cells[SWEPT])
    for arm_name, suffix in ((ATTACK, ""), (CONTROL, "_control")):
        delta = of_attacked(effects(record), arm_name)
        assert delta.min() == pytest.approx(record.metrics[f"max_delta_a{suffix}"].value, abs=1e-4)
        assert delta.mean() == pytest.approx(record.metrics[f"mean_delta_a{suffix}"].value, abs=1e-4)


def test_several_seeds_are_drawn_together(tmp_path: Path) -> None:
    records = [record(*SWEEP, seed=seed) for seed in (0, 1)]
    found = pictures.of_seeds(records, Store(tmp_path))
    assert [file.name for file in found] == ["heatmaps.png", "sizes.png", "quality.png"]
    assert "mean of 2 seeds" in words(figure_of(mole_pictures.heatmaps, records))
