"""Conformance of offline plug-ins: attacks that recruit, defenses of updates, victims trained from scratch."""

from dataclasses import replace
from pathlib import Path

import pytest

from molebench import places
from molebench.conformance import ask, named, questions, sentence
from molebench.questions.bench import Bench, Subject
from molebench.workspace import Workspace
from tests.commands import typed

ATTACK = '''"""Brightest of all: recruits the brightest images of each class that the victim is sure of."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, attack
from molebench.types import ThreatModel
from molebench.updates import Recruitment, RecruitView, Update

SEEN: list[object] = []


@attack(
    paper="a plug-in of a test",
    threat=ThreatModel(may=frozenset({"recruit"}), knows=frozenset({"data", "victim"})),
    scenarios=("offline",),
    control="random_recruitment",
)
@dataclass(frozen=True)
class Brightest:
    """n: images of each class."""

    n: Count = 5

    def craft(self, view: RecruitView, rng: np.random.Generator) -> Recruitment:
        """One update."""
        bright = view.base.x.reshape(len(view.base), -1).mean(axis=1) * view.scores.max(axis=1)
        order = rng.permutation(len(bright))
        order = order[np.argsort(-bright[order], kind="stable")]
        index = np.concatenate([order[view.base.y[order] == c][: self.n] for c in range(len(view.classes))])
        return Recruitment((Update(index, np.ones(len(index), dtype=bool)),))
'''

DEFENSE = '''"""Half of an update: trains on every second image."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, defense
from molebench.hooks import View

SEEN: list[object] = []


@defense(paper="a plug-in of a test", scenarios=("offline",))
@dataclass(frozen=True)
class Half:
    """step: one item in so many is kept."""

    step: Count = 2

    def filter_train(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """Keeps the surest."""
        keep = np.argsort(np.argsort(-view.p.max(axis=1))) % self.step == 0
        return keep

    def suspicion(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """How unsure the victim is."""
        return -view.p.max(axis=1)
'''

VICTIM = '''"""Linear: one layer on the pixels, trained from scratch."""

from functools import partial

from torch import nn

from molebench.cards import victim
from molebench.classifiers import Shape
from molebench.offline_learners import ConvolutionalLearner


def linear(stem: str, shape: Shape) -> nn.Module:
    """Logits of pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.height * shape.width * shape.channels, shape.classes))


linear_victim = victim(paper="a plug-in of a test", scenario="offline", dataset="digits")(
    partial(ConvolutionalLearner, architecture=linear)
)
'''

SOUND = {"attack": ("brightest", ATTACK), "defense": ("half", DEFENSE), "victim": ("linear", VICTIM)}


@pytest.fixture(autouse=True)
def _no_plug_ins_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")


@pytest.fixture(scope="module")
def bench(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(replace(fetched, store=tmp_path_factory.mktemp("asked")))


def written(folder: Path, kind: str, change: tuple[str, str] = ("", "")) -> Path:
    """A sound plug-in file with one change."""
    name, text = SOUND[kind]
    old, new = change
    assert old in text
    path = folder / f"{name}.py"
    path.write_text(text.replace(old, new, 1) if old else text, "utf-8")
    return path


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_plug_in_passes_every_question_a_tiny_run_included(
    kind: str, tmp_path: Path, workspace: Workspace
) -> None:
    done = typed(workspace, "conformance", str(written(tmp_path, kind)), "--offline")
    assert done.stdout.splitlines()[1:] == [f"ok     {sentence(q)}" for q in questions(kind)]
    assert done.returncode == 0


CRAFT = "        return Recruitment("
NOTHING = "        return Recruitment(()"
SCREEN = "        return keep\n"
FAULTY = {
    "attack: a draw from a global generator": (
        "attack",
        (CRAFT, "        np.random.rand()\n" + CRAFT),
        "it draws from its own generator alone",
        "it draws from a global generator",
    ),
    "attack: a generator of its own": (
        "attack",
        ("order = rng.permutation(len(bright))", "order = np.random.default_rng().permutation(len(bright))[:200]"),
        "it repeats itself",
        "gives two poisons",
    ),
    "attack: one image twice": (
        "attack",
        ("return Recruitment((Update(index,", "index[1] = index[0]\n        return Recruitment((Update(index,"),
        "its poison keeps to its threat model and budget",
        "update 0: names an image twice",
    ),
    "attack: no leave to recruit": (
        "attack",
        ('may=frozenset({"recruit"})', "may=frozenset()"),
        "its poison keeps to its threat model and budget",
        "recruits images, which its threat model does not allow",
    ),
    "attack: scores that it must not know": (
        "attack",
        ('knows=frozenset({"data", "victim"})', 'knows=frozenset({"data"})'),
        "it repeats itself",
        "'NoneType' object has no attribute 'max'",
    ),
    "attack: no control": (
        "attack",
        ('\n    control="random_recruitment",', ""),
        "its control is an attack that may do no more",
        "it chooses what it recruits and names no control",
    ),
    "attack: a control of another scenario": (
        "attack",
        ('control="random_recruitment"', 'control="unperturbed"'),
        "its control is an attack that may do no more",
        "its control unperturbed acts in active only",
    ),
    "attack: a poison": (
        "attack",
        (
            CRAFT,
            "        from molebench.types import Poison\n\n        return Poison(view.base[:5], index[:5])\n" + CRAFT,
        ),
        "its poison keeps to its threat model and budget",
        "it returned a Poison; expected a Recruitment",
    ),
    "attack: nobody": (
        "attack",
        (CRAFT, NOTHING + ")\n" + CRAFT),
        "it makes as many poisons as it is asked for",
        "it recruits nobody and does not say why",
    ),
    "attack: a write into the scores": (
        "attack",
        (CRAFT, "        view.scores[0] = 0\n" + CRAFT),
        "it repeats itself",
        "assignment destination is read-only",
    ),
    "attack: a changed view": (
        "attack",
        (CRAFT, "        object.__setattr__(view, 'batch', 1)\n" + CRAFT),
        "it changes nothing that it is shown",
        "it changes batch of its view",
    ),
    "attack: scores that are kept": (
        "attack",
        (CRAFT, "        SEEN.append(view.scores[:3])\n" + CRAFT),
        "it keeps nothing that it has seen",
        "something of its view lives on",
    ),
    "defense: the wrong shape": (
        "defense",
        (SCREEN, "        return keep[:5]\n"),
        "its answers have the shape and type that each moment asks for",
        "returned bool (5,) at filter_train",
    ),
    "defense: a view that is kept": (
        "defense",
        (SCREEN, "        SEEN.append(view.p)\n" + SCREEN),
        "it keeps nothing that it has seen",
        "lives on after filter_train",
    ),
    "victim: a dataset that there is not": (
        "victim",
        ('dataset="digits"', 'dataset="digit"'),
        "its dataset and extractor are there",
        "did you mean 'digits'?",
    ),
}


@pytest.mark.parametrize(("kind", "change", "question", "says"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_plug_in_is_found_out(
    kind: str, change: tuple[str, str], question: str, says: str, tmp_path: Path, bench: Bench
) -> None:
    (plugin,) = named(str(written(tmp_path, kind, change)))
    subject = Subject(plugin, bench)
    (asked,) = [q for q in questions(kind) if sentence(q) == question]
    assert says in "; ".join(ask(asked, subject).faults)


def test_a_recruiter_may_find_nobody_and_say_why(tmp_path: Path, bench: Bench) -> None:
    reason = NOTHING + ", ('nobody is bright enough',))\n"
    (plugin,) = named(str(written(tmp_path, "attack", (CRAFT, reason + CRAFT))))
    (asked,) = [q for q in questions("attack") if "as_many_poisons" in q.__name__]
    assert ask(asked, Subject(plugin, bench)).faults == ()


def test_a_defense_that_acts_at_no_moment_of_its_scenario_is_told_which_there_are(tmp_path: Path, bench: Bench) -> None:
    text = DEFENSE.replace("def filter_train", "def screen_pool").replace("def suspicion", "def _suspicion")
    (tmp_path / "half.py").write_text(text, "utf-8")
    (plugin,) = named(str(tmp_path / "half.py"))
    (asked,) = [q for q in questions("defense") if "acts_at_moments" in q.__name__]
    expected = "its methods are screen_pool; a defense acts at transform, filter_train, schedule, fit, accept, predict"
    assert ask(asked, Subject(plugin, bench)).faults == (expected,)
