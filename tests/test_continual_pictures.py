"""Pictures and table of continual cells: the numbers behind them, which record has which, that they are readable."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from molebench import continual_pictures, pictures
from molebench.continual_effects import attacks, change, harm, task_matrix
from molebench.metrics import confusion
from molebench.mole_effects import ATTACK, BEFORE, CONTROL, DEFENDED
from molebench.moles import Pair
from molebench.pairs_table import pairs_table
from molebench.record import ArmRecord, DataRecord, PairRecord, Record, UpdateRecord
from molebench.scenarios.continual_figures import accuracy_matrix, figures, trace
from molebench.stats import wilson_interval
from molebench.store import Store
from molebench.tasks import Tasks, split
from molebench.types import Array
from molebench.updates import Update
from tests.test_continual_figures import ARMS, NOBODY, TASKS, UPDATES, Y, exam, update
from tests.test_mole_pictures import figure_of, record
from tests.test_pictures import drawn, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("cat", "dog", "fox", "hen")  # classes 0 to 3


def arm(y: Array, answers: Array, tasks: Tasks) -> ArmRecord:
    """An arm as the scenario records it."""
    k = len(tasks.order)
    table = confusion(y, answers[-1], k)
    return ArmRecord(
        n=table.sum(axis=1).tolist(),
        correct=table.diagonal().tolist(),
        confusion=table.tolist(),
        predictions="",
        predictions_sha256="",
        trace={name: values.astype(float).tolist() for name, values in trace(y, answers, tasks, k).items()},
    )


def continual(
    y: Array = Y,
    exams: dict[str, Array] = ARMS,
    tasks: Tasks = TASKS,
    updates: Sequence[Update] = UPDATES,
    names: Sequence[str] = NAMES,
    seed: int = 0,
) -> Record:
    """A record of a continual cell."""
    made = [
        UpdateRecord(
            pairs=[
                PairRecord(attacked=names[a], confounding=names[c], rho=r, n=n, mean_score=None)
                for a, c, r, n in u.pairs
            ],
            moles=5 * len(u.pairs),
            size=20,
            arms={},
        )
        for u in updates
    ]
    found = {
        "scenario": "continual",
        "arms": {name: arm(y, each, tasks) for name, each in exams.items()},
        "updates": made,
        "data": DataRecord(files={}, splits={}, sizes={}, classes=list(names)),
    }
    return record(seed=seed).model_copy(update=found).sealed()


def large(k: int, tasks: int, pairs: int, defended: bool, long: bool = False) -> Record:
    """Of many classes, so many pairs in each task; a tenth of all classes is at 10 % or less without attack."""
    rng = np.random.default_rng(0)
    order, y = split(k, tasks, 1, rng), np.repeat(np.arange(k), 20)
    skill = np.linspace(0.0, 1.0, k)[rng.permutation(k)][y]
    arms = [BEFORE, ATTACK, CONTROL, *(["clean_defended", DEFENDED] if defended else [])]
    updates = [NOBODY]
    for t in range(1, tasks):
        attacked = rng.choice(order.order[: order.old(t)], min(pairs, order.old(t)), replace=False)
        updates.append(update(*zip(attacked.tolist(), order.classes[t], strict=False)))

    def answers(share: float) -> Array:
        right = rng.random((tasks, len(y))) < share * skill
        return np.where(order.of(y) <= np.arange(tasks)[:, None], np.where(right, y, (y + 1) % k), -1)

    names = [f"{'HerbaceousVegetation' if long else 'class'}_{i}" for i in range(k)]
    return continual(y, {name: answers(0.5 if name == ATTACK else 0.9) for name in arms}, order, updates, names)


# The numbers behind them


def test_a_change_is_in_percent_of_the_class_s_own_accuracy_before() -> None:
    np.testing.assert_allclose(change(continual(), ATTACK), [-75, 0, -25, 0])
    np.testing.assert_allclose(change(continual(), CONTROL), [-12.5, 0, 0, -10])


def test_every_pair_of_every_task_is_listed_with_its_class_s_change() -> None:
    found = list(attacks(continual()))
    assert [(each.task, each.pair.attacked, each.pair.confounding) for each in found] == [
        (1, "cat", "hen"),
        (1, "fox", "dog"),
    ]
    assert [each.change[ATTACK] for each in found] == pytest.approx([-75, -25])
    assert [each.moles for each in found] == [5, 5]


def test_a_class_at_ten_percent_without_attack_is_dropped_and_comes_last() -> None:
    faint = {**ARMS, BEFORE: exam((8, 0, 10, 0), (1, 5, 4, 10)), ATTACK: exam((8, 0, 10, 0), (0, 5, 4, 10))}
    found = sorted(attacks(continual(exams=faint)), key=lambda each: harm(each, ATTACK))
    assert [(each.pair.attacked, each.kept) for each in found] == [("fox", True), ("cat", False)]
    assert [each.change[ATTACK] for each in found] == pytest.approx([0, -100])


def test_what_a_record_shows_is_what_its_figures_say() -> None:
    made, rng = large(20, 4, 3, defended=False), np.random.default_rng(0)
    pairs = [[Pair(made.data.classes.index(p.attacked), 0, 0.5, 1) for p in u.pairs] for u in made.updates]
    assert {each.kept for each in attacks(made)} == {True, False}
    exams = {name: np.array([right(made, name)]) for name in made.arms}
    y = np.repeat(np.arange(20), 20)
    updates = [Update(np.zeros(0, int), np.zeros(0, bool), tuple(each)) for each in pairs]
    found = figures(y, exams, Tasks((tuple(range(20)),)), updates, rng)
    every = {each.pair.attacked: each for each in attacks(made)}.values()
    assert continual_pictures.median(list(every), ATTACK) == pytest.approx(found["delta_a_rel"].value)
    assert continual_pictures.median(list(every), CONTROL) == pytest.approx(found["delta_a_rel_control"].value)
    assert sum(each.kept for each in every) == found["n_attacked"].value
    assert sum(each.kept for each in attacks(made)) == found["n_pairs"].value


def right(made: Record, name: str) -> list[int]:
    """Labels of which as many are right as the record says, class by class."""
    arm = made.arms[name]
    return [c if i < arm.correct[c] else (c + 1) % len(arm.n) for c in range(len(arm.n)) for i in range(arm.n[c])]


def test_the_matrix_of_a_record_is_that_of_the_predictions() -> None:
    np.testing.assert_allclose(task_matrix(continual(), ATTACK), 100 * accuracy_matrix(Y, ARMS[ATTACK], TASKS))


# What they show


def tasks_picture(*made: Record) -> "Figure":
    return figure_of(continual_pictures.tasks, made, pictures.arm_words(made))


def classes_picture(made: Record) -> "Figure":
    return figure_of(continual_pictures.classes, made, pictures.arm_words([made]))


def test_lines_go_through_the_accuracies_with_wilson_s_band() -> None:
    (axes,) = tasks_picture(continual()).axes
    lines = {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.lines}
    np.testing.assert_allclose(lines["clean"], [[2.0, 90.0], [4.0, 67.5]])
    np.testing.assert_allclose(lines["poisoned: something"], [[2, 90], [4, 50]])
    low, high = wilson_interval(np.array([0.675]), 40)
    edges = {float(np.asarray(line.get_ydata())[1]) for line in axes.lines}
    assert {100 * float(low[0]), 100 * float(high[0])} <= edges


def test_over_seeds_a_line_is_the_mean() -> None:
    other = continual(exams={**ARMS, BEFORE: exam((4, 0, 10, 0), (8, 5, 4, 10))}, seed=1)
    figure = tasks_picture(continual(), other)
    (clean,) = [line for line in figure.axes[0].lines if line.get_label() == "clean"]
    np.testing.assert_allclose(np.asarray(clean.get_ydata()), [80.0, 67.5])
    assert "mean of 2 seeds" in words(figure)
    low, high = figure.axes[0].get_ylim()
    assert -3 <= low < high <= 103


def test_matrices_show_clean_and_attacked_and_what_attack_and_control_changed() -> None:
    figure = figure_of(continual_pictures.matrix, [continual()])
    shown = {axes.get_title(loc="left"): [t.get_text() for t in axes.texts] for axes in figure.axes}
    assert shown["clean"] == ["90", "60", "75"]
    assert shown["attack"] == ["90", "25", "75"]
    assert shown["change: attack − clean"] == ["0.0", "-35", "0.0"]
    assert shown["change: control − clean"] == ["0.0", "-5.0", "-5.0"]


def test_attacked_classes_have_a_dot_and_a_number_for_each_arm_those_that_lose_most_first() -> None:
    figure = classes_picture(continual())
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "fox"]
    found = [np.asarray(line.get_xydata()) for line in axes.lines if line.get_marker() != "None"]
    points = {(x, y) for x, y in np.concatenate(found).round(6).tolist()}
    assert points == {(-75, 0), (-25, 1), (-12.5, 0), (0, 1)}
    numbers = [text.get_text() for text in figure.texts]
    assert [n for n in numbers if n in ("attack", "-75.0", "-25.0")] == ["attack", "-75.0", "-25.0"]
    assert "poisoned: something (line: median -50.0 %)" in words(figure)
    assert "control: none (line: median -6.2 %)" in words(figure)
    assert "grey" not in words(figure)


def test_a_class_that_was_dropped_is_grey_and_in_no_median() -> None:
    faint = {**ARMS, BEFORE: exam((8, 0, 10, 0), (1, 5, 4, 10)), ATTACK: exam((8, 0, 10, 0), (0, 5, 3, 10))}
    figure = classes_picture(continual(exams=faint))
    colours = {label.get_text(): label.get_color() for label in figure.axes[0].get_yticklabels()}
    assert colours == {"fox": "black", "cat": continual_pictures.GREY}
    assert {t.get_text(): t.get_color() for t in figure.texts}["-100.0"] == continual_pictures.GREY
    assert "median -25.0 %" in words(figure)
    assert "grey: where that is 10 % or less" in words(figure).replace("\n", " ")


def test_a_class_of_which_nothing_is_right_without_attack_has_no_number() -> None:
    gone = {**ARMS, BEFORE: exam((8, 0, 10, 0), (0, 5, 4, 10))}
    made = continual(exams=gone, updates=(NOBODY, update((0, 3))))
    figure = classes_picture(made)
    assert [t.get_text() for t in figure.texts].count("–") == 2
    assert "median" not in words(figure).replace("\n", " ").replace("in no median", "")
    assert "-  " in pairs_table([made])[1]


def test_what_does_not_apply_is_not_drawn() -> None:
    alone = continual(exams={BEFORE: ARMS[BEFORE]}, updates=())
    assert continual_pictures.matrix([alone]) is None
    assert continual_pictures.classes(alone, pictures.arm_words([alone])) is None
    assert len(tasks_picture(alone).axes[0].lines) == 3  # the learner alone, and its band
    one = continual(exams={name: each[1:] for name, each in ARMS.items()}, tasks=Tasks(((2, 0, 3, 1),)), updates=())
    assert continual_pictures.tasks([one], pictures.arm_words([one])) is None
    assert continual_pictures.matrix([one]) is None


@pytest.mark.parametrize(
    ("k", "tasks", "pairs", "defended", "long"),
    [
        (10, 5, 2, True, False),
        (100, 10, 10, False, True),
        (80, 10, 9, True, True),
    ],
)
def test_pictures_of_many_classes_and_tasks_are_readable(
    k: int, tasks: int, pairs: int, defended: bool, long: bool
) -> None:
    made = large(k, tasks, pairs, defended, long)
    listed = classes_picture(made)
    apart(listed)
    for figure in (tasks_picture(made), figure_of(continual_pictures.matrix, [made]), listed):
        assert figure.get_figheight() < 13


def apart(figure: "Figure") -> None:
    """No two texts of a figure overlap, but for those of one legend."""
    labels = [t for axes in figure.axes for t in (*axes.get_yticklabels(), *axes.get_xticklabels()) if t.get_visible()]
    boxes = [t.get_window_extent() for t in (*figure.texts, *labels)]
    corners = np.array([[b.x0, b.x1, b.y0, b.y1] for b in boxes if b.width > 0])
    x0, x1, y0, y1 = corners.T
    over = np.minimum.outer(x1, x1) - np.maximum.outer(x0, x0) > 0.5
    over &= np.minimum.outer(y1, y1) - np.maximum.outer(y0, y0) > 0.5
    np.fill_diagonal(over, False)
    assert not over.any()


def test_a_continual_record_has_these_pictures_and_no_other_and_they_are_the_same_bytes(tmp_path: Path) -> None:
    made, store = continual(), Store(tmp_path)
    store.cell(made.key).mkdir(parents=True)
    assert [file.name for file in pictures.of_cell(made, store)] == ["classes.png", "tasks.png", "task_matrix.png"]
    before = drawn(store.cell(made.key))
    assert sorted(before) == [f"{n}.{e}" for n in ("classes", "task_matrix", "tasks") for e in ("pdf", "png")]
    (store.cell(made.key) / "classes.png").unlink()
    pictures.of_cell(made, store)
    assert drawn(store.cell(made.key)) == before
    with Image.open(store.cell(made.key) / "classes.png") as image:
        assert image.size[0] == 1300


def test_several_seeds_of_a_continual_cell_have_pictures_of_their_own(tmp_path: Path) -> None:
    found = pictures.of_seeds([continual(), continual(seed=1)], Store(tmp_path))
    assert [file.name for file in found] == ["tasks.png", "task_matrix.png"]


# The table


def cells(table: str) -> list[list[str]]:
    """The rows of a plain table."""
    return [row.split() for row in table.splitlines() if not row.startswith("-")]


def test_a_run_s_table_has_a_row_for_each_pair_of_each_task_the_control_beside_it() -> None:
    caption, table = pairs_table([continual(updates=(NOBODY, update((0, 3), (2, 1))))])
    assert caption.startswith("Task by task; change of the attacked class after the last task, in percent of its")
    assert cells(table) == [
        ["task", "attacked<confounding", "rho", "moles", "change", "control"],
        ["2", "cat<hen", "0.500", "5", "-75.0", "-12.5"],
        ["2", "fox<dog", "0.500", "5", "-25.0", "0.0"],
    ]


def test_a_dropped_class_is_in_brackets_and_the_caption_says_so() -> None:
    faint = {**ARMS, BEFORE: exam((8, 0, 10, 0), (1, 5, 4, 10)), ATTACK: exam((8, 0, 10, 0), (0, 5, 3, 10))}
    caption, table = pairs_table([continual(exams=faint)])
    assert cells(table)[1][4:] == ["(-100.0)", "(600.0)"]
    assert caption.endswith("in brackets where that is 10 % or less:")


def test_several_seeds_stand_one_below_the_other() -> None:
    _, table = pairs_table([continual(), continual(seed=1)])
    assert [row[:3] for row in cells(table)] == [
        ["seed", "task", "attacked<confounding"],
        *(["0", "2", names] for names in ("cat<hen", "fox<dog")),
        *(["1", "2", names] for names in ("cat<hen", "fox<dog")),
    ]


def test_of_many_pairs_those_are_shown_whose_class_loses_most() -> None:
    made = large(20, 4, 5, defended=False)
    caption, table = pairs_table([made])
    assert caption.startswith("The 10 of 15 pairs whose attacked class loses most")
    changes = [float(row[4].strip("()")) for row in cells(table)[1:]]
    assert len(changes) == 10
    assert changes == sorted(changes)


def test_an_attack_without_pairs_has_no_table() -> None:
    assert pairs_table([continual(updates=())]) == []
    assert pairs_table([continual(updates=(NOBODY, update()))]) == []


def test_a_control_that_was_not_played_leaves_its_cells_empty() -> None:
    unplayed: dict[str, Any] = {name: each for name, each in ARMS.items() if name != CONTROL}
    _, table = pairs_table([continual(exams=unplayed)])
    assert cells(table)[1][4:] == ["-75.0", "-"]
