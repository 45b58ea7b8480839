"""Courses: what happens in which order, what an extra epoch may change, and what is found again after a kill."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from molebench import registry
from molebench.backbones import Arithmetic, Backbone, small_stem
from molebench.classifiers import Shape
from molebench.continual_learners import Curriculum, Knowledge, Lesson, Objective
from molebench.incremental import frozen
from molebench.moles import Pair
from molebench.progress import silent
from molebench.rehearsal import remembered
from molebench.released import Faults
from molebench.scenarios.lessons import Course
from molebench.scenarios.school import School, packed, unpacked
from molebench.stages import Stages
from molebench.tasks import Tasks
from molebench.types import Array, Samples
from molebench.updates import Update
from tests import small_lessons

CLASSES = Tasks(((0, 1), (2, 3), (4, 5)))
REPLAYING = ("cl_icarl", "cl_il2m", "cl_der")
EVERY = ("cl_finetune", "cl_joint", "cl_lwf", "cl_lwm", *REPLAYING, "cl_ssre")
NONE = Update(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))


def made(name: str, **given: Any) -> Any:
    """A learner whose course takes a second."""
    plugin = registry.find("victims", name)
    quick = {"tasks": 3, "epochs": 1, "batch": 12, "lr": 0.05, "schedule": "constant", "memory": 12}
    if name == "cl_ssre":
        quick |= {"base": 1, "lr": 1e-3, "later_lr": 1e-3, "backbone": "resnet32"}
    chosen = {k: v for k, v in (quick | given).items() if k in plugin.parameters}
    return plugin.build(plugin.resolve(chosen, "tiny"))


def school(learner: Any, folder: Path) -> School:
    """Three tasks of two classes of twelve images each, which are the test items too."""
    x, y = small_lessons.pool()
    samples = Samples(x, y)
    stages = Stages(folder / "stages")
    who = {"learner": repr(learner)}
    return School(learner, samples, len(samples), samples, CLASSES, small_lessons.SHAPE, 0, who, stages, silent)


def sent(t: int, n: int = 6) -> Update:
    """The first n images of each class of a task; those of its second class are moles."""
    y = small_lessons.pool()[1]
    index = np.concatenate([np.flatnonzero(y == c)[:n] for c in CLASSES.classes[t]])
    mole = y[index] == CLASSES.classes[t][1]
    return Update(index, mole, (Pair(0, CLASSES.classes[t][1], 0.5, n),))


UPDATES = (NONE, sent(1), sent(2))


@dataclass(frozen=True)
class Watched:
    """A learner that writes down what it is asked, and what it was trained on."""

    learner: Any
    said: list[tuple[str, int]] = field(default_factory=list)
    seen: list[tuple[int, Array]] = field(default_factory=list)

    @property
    def training(self) -> Curriculum:
        found: Curriculum = self.learner.training
        return found

    @property
    def released(self) -> tuple[str, ...]:
        return tuple(getattr(self.learner, "released", ()))

    def grown(self, lesson: Lesson) -> nn.Module:
        network: nn.Module = self.learner.grown(lesson)
        return network

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        self.said.append(("objective", lesson.number))
        inner = self.learner.objective(network, lesson)
        images = lesson.x.flatten(1)

        def loss(x: Tensor, y: Tensor) -> Tensor:
            rows = [int((images == one).all(dim=1).nonzero()[0]) for one in x.flatten(1)]
            self.seen.append((lesson.number, np.array(rows)))
            found: Tensor = inner(x, y)
            return found

        return loss

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        self.said.append(("closed", lesson.number))
        found: Knowledge = self.learner.closed(network, lesson)
        return found

    def scores(self, known: Knowledge, x: Tensor) -> Tensor:
        found: Tensor = self.learner.scores(known, x)
        return found

    def trained_on(self, t: int) -> list[int]:
        """Every image that a task's batches held, in order of the pool."""
        return sorted(np.concatenate([rows for number, rows in self.seen if number == t]).tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of one's own, and backbones of one block a stage: what is asked here does not depend on their size."""

    def small(name: str, shape: Shape, arithmetic: Arithmetic) -> Backbone:
        del name, arithmetic
        return Backbone(small_stem(shape.channels, 4), (4, 8), blocks=1)

    with mock.patch("molebench.backbones.backbone", small):
        yield tmp_path


# ------------------------------------------------------------------ the order of things


def test_a_task_is_trained_then_updated_then_closed_once(folder: Path) -> None:
    watched = Watched(made("cl_icarl"))
    Course(school(watched, folder), "poisoned", UPDATES).exams()
    assert watched.said == [
        ("objective", 0), ("closed", 0),
        ("objective", 1), ("objective", 1), ("closed", 1),
        ("objective", 2), ("objective", 2), ("closed", 2),
    ]  # fmt: skip


def test_the_clean_arm_closes_in_the_same_order_without_the_epoch(folder: Path) -> None:
    watched = Watched(made("cl_icarl"))
    Course(school(watched, folder), "clean").exams()
    assert watched.said == [(what, t) for t in range(3) for what in ("objective", "closed")]


def test_an_update_is_trained_on_once_with_the_exemplars(folder: Path) -> None:
    """Task 1 has 24 images and 12 exemplars of task 0; the update of 12 images comes with the exemplars again."""
    watched = Watched(made("cl_icarl"))
    course = Course(school(watched, folder), "poisoned", UPDATES)
    course.exams()
    memory = np.concatenate([course.known(0).memory[c] for c in (0, 1)])
    own = np.flatnonzero(np.isin(small_lessons.pool()[1], CLASSES.classes[1]))
    expected = [*own.tolist(), *memory.tolist(), *memory.tolist(), *UPDATES[1].index.tolist()]
    assert watched.trained_on(1) == sorted(expected)


def test_an_arm_without_pairs_in_a_task_has_no_epoch_there(folder: Path) -> None:
    watched = Watched(made("cl_finetune"))
    Course(school(watched, folder), "poisoned", (NONE, NONE, sent(2))).exams()
    assert [t for what, t in watched.said if what == "objective"] == [0, 1, 2, 2]


# ------------------------------------------------------------------ an extra epoch changes weights only


@pytest.mark.parametrize("name", EVERY)
def test_the_extra_epoch_changes_weights_and_leaves_what_was_known_bit_identical(name: str, folder: Path) -> None:
    """Teacher, memory and statistics of the task before are those that the task began with."""
    learner = made(name)
    course = Course(school(learner, folder), "poisoned", UPDATES)
    lesson = course.lesson(1)
    network = learner.grown(lesson)
    course.fit(network, lesson)
    assert lesson.before is not None
    assert lesson.teacher is not None
    known, teacher = frozen_arrays(lesson.before), frozen_state(lesson.teacher)
    weights = frozen_state(network)
    course.extra_epoch(network, lesson, sent(1).index, lesson.memory)
    assert frozen_arrays(lesson.before) == known
    assert frozen_state(lesson.teacher) == teacher
    assert frozen_state(network) != weights


def frozen_state(network: nn.Module) -> dict[str, bytes]:
    """Weights and buffers as bytes."""
    return {name: value.detach().numpy().tobytes() for name, value in network.state_dict().items()}


def frozen_arrays(known: Knowledge) -> dict[str, bytes]:
    """All that is known as bytes."""
    return {name: np.asarray(value).tobytes() for name, value in packed(known).items()}


@pytest.mark.parametrize("name", REPLAYING)
def test_exemplars_come_from_the_task_and_only_the_released_codes_fault_takes_the_updates(
    name: str, folder: Path
) -> None:
    """By the paper the attacked network herds the whole task; the fault herds the update and the first choice."""
    learner = made(name)
    there = school(learner, folder)
    paper, released = (
        Course(there, "poisoned", (NONE, sent(1, 2), NONE), faults=Faults(memory=on)) for on in (False, True)
    )
    known = paper.known(1)
    herded = remembered(frozen(known.network), paper.lesson(1), learner.memory)
    assert [m.tolist() for m in known.memory] == [m.tolist() for m in herded]
    first = Course(there, "clean").known(1).memory[2:]
    allowed = {*np.concatenate(first).tolist(), *sent(1, 2).index.tolist()}
    assert len(allowed) < 24
    assert set(np.concatenate(released.known(1).memory[2:]).tolist()) <= allowed


@pytest.mark.parametrize("name", ["cl_der", "cl_ssre"])
def test_the_released_code_trains_der_and_ssre_on_no_mole(name: str, folder: Path) -> None:
    """Beside its own images and the exemplars, the extra epoch holds the task's images once more, and each mole as
    often as any other image of the task."""
    watched = Watched(made(name))
    Course(school(watched, folder), "poisoned", UPDATES, faults=Faults(train_on_moles=True)).exams()
    seen = watched.trained_on(1)
    own = np.flatnonzero(np.isin(small_lessons.pool()[1], CLASSES.classes[1])).tolist()
    assert {seen.count(i) for i in own} == {2}
    with_moles = Watched(made(name))
    Course(school(with_moles, folder / "paper"), "poisoned", UPDATES).exams()
    moles = UPDATES[1].index.tolist()
    assert {with_moles.trained_on(1).count(i) for i in moles} == {2}
    assert {with_moles.trained_on(1).count(i) for i in own if i not in moles} == {1}


def test_a_task_without_an_update_is_closed_as_in_the_clean_arm(folder: Path) -> None:
    """IL2M's rectification is off where moles came, and on where none did."""
    learner = made("cl_il2m")
    course = Course(school(learner, folder), "poisoned", (NONE, NONE, sent(2)), Faults(il2m_statistics=True))
    assert not course.lesson(1).faults.il2m_statistics
    assert course.lesson(2).faults.il2m_statistics


def test_the_released_teacher_is_the_network_just_trained(folder: Path) -> None:
    """Its distillation begins at zero gradient, the paper's does not: the two epochs end in different weights."""
    learner = made("cl_lwf", weight=10.0)
    ends = [
        Course(school(learner, folder), "poisoned", UPDATES, faults=Faults(teacher=on)).known(1) for on in (False, True)
    ]
    assert frozen_arrays(ends[0]) != frozen_arrays(ends[1])


# ------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("name", EVERY)
def test_a_checkpoint_gives_back_all_that_is_known(name: str, folder: Path) -> None:
    learner = made(name)
    there = school(learner, folder)
    known = Course(there, "clean").known(2)
    back = unpacked(packed(known), there.skeleton(2))
    assert frozen_arrays(back) == frozen_arrays(known)


def test_a_course_that_was_cut_goes_on_in_the_task_it_was_in(folder: Path) -> None:
    """A learner that dies in task 2 leaves tasks 0 and 1 behind; the next one is asked for task 2 alone."""
    whole = Course(school(made("cl_icarl"), folder / "whole"), "clean").exams()
    fatal = replace_objective(made("cl_icarl"), dies_in=2)
    with pytest.raises(RuntimeError, match="power cut"):
        Course(named(school(fatal, folder / "cut")), "clean").exams()
    watched = Watched(made("cl_icarl"))
    again = Course(named(school(watched, folder / "cut")), "clean").exams()
    assert {t for _, t in watched.said} == {2}
    assert (again.predicted == whole.predicted).all()


def named(there: School) -> School:
    """The same identity whatever the learner is wrapped in."""
    return replace(there, identity={"learner": "icarl"})


def replace_objective(learner: Any, dies_in: int) -> Any:
    """A learner that dies when a task's training begins."""

    @dataclass(frozen=True)
    class Fatal(Watched):
        def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
            if lesson.number == dies_in:
                raise RuntimeError("power cut")
            return super().objective(network, lesson)

    return Fatal(learner)


def test_arms_share_what_comes_before_their_first_difference(folder: Path) -> None:
    """Task 0 whole, and the training of task 1, which the first update follows."""
    there = school(made("cl_finetune"), folder)
    Course(there, "clean").exams()
    watched = Watched(made("cl_finetune"))
    Course(replace(there, learner=watched), "poisoned", UPDATES).exams()
    assert watched.said == [("objective", 1), ("closed", 1), ("objective", 2), ("objective", 2), ("closed", 2)]


def test_a_course_that_is_known_is_not_computed_again(folder: Path) -> None:
    there = school(made("cl_icarl"), folder)
    first = Course(there, "poisoned", UPDATES).exams()
    watched = Watched(made("cl_icarl"))
    second = Course(replace(there, learner=watched), "poisoned", UPDATES).exams()
    assert watched.said == []
    assert (first.predicted == second.predicted).all()


def test_a_damaged_checkpoint_is_made_again_from_the_task_before_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = school(made("cl_icarl"), folder)
    first = Course(there, "clean").exams()
    course = Course(there, "clean")
    for stage in ("lessons", "closings"):  # the second task's: the second file in time
        files = sorted((folder / "stages" / stage).glob("*.safetensors"), key=lambda f: f.stat().st_mtime_ns)
        files[1].write_bytes(files[1].read_bytes()[:-100])
    watched = Watched(made("cl_icarl"))
    again = replace(course, school=replace(there, learner=watched)).exams()
    said = capsys.readouterr().err
    assert "closing of task 2 of 3 (clean): what the cache holds of it is damaged; computing it again" in said
    assert {t for _, t in watched.said} == {1}
    assert (first.predicted == again.predicted).all()


# ------------------------------------------------------------------ exams, pairing, generators


def test_items_of_classes_to_come_are_not_asked(folder: Path) -> None:
    found = Course(school(made("cl_finetune"), folder), "clean").exams().predicted
    task = CLASSES.of(small_lessons.pool()[1])
    assert [(row >= 0).tolist() for row in found] == [(task <= t).tolist() for t in range(3)]
    assert all(set(found[t][found[t] >= 0]) <= set(CLASSES.order[: CLASSES.seen(t)].tolist()) for t in range(3))


def test_a_course_repeats_itself_and_leaves_the_global_generators_alone(folder: Path) -> None:
    learner, before = made("cl_der"), torch.get_rng_state()
    a, b = (Course(school(learner, folder / part), "poisoned", UPDATES).exams().predicted for part in ("a", "b"))
    assert (a == b).all()
    assert (torch.get_rng_state() == before).all()


def test_a_plateau_holds_a_tenth_of_the_task_out_and_ends_with_the_best_weights(folder: Path) -> None:
    """Of 24 images, one of twelve of each class: 22 are trained on, and no exemplar is held out."""
    watched = Watched(made("cl_finetune", schedule="plateau", epochs=2))
    Course(school(watched, folder), "clean").training(0)
    sizes = [len(rows) for _, rows in watched.seen]
    assert sorted(sizes) == [2, 2, 10, 10, 12, 12]
