"""The same questions to every plug-in that the registry finds, and what a party can reach from its view."""

import functools
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from molebench import places, registry
from molebench.conformance import OF, Question, ask, named, questions, sentence
from molebench.grid import Cell, resolve
from molebench.heads import least_certain
from molebench.hooks import SCENARIO_MOMENTS, Pipeline, View
from molebench.metrics import definition
from molebench.nets import FrozenExtractor
from molebench.preparing import prepared
from molebench.questions.bench import Bench, Subject
from molebench.scenarios.active import features, play, split
from molebench.stages import Stages
from molebench.trial import Actor, Outcome, Trial
from molebench.types import IMAGE, Array, AttackView, Dataset, Poison, Samples
from molebench.updates import Recruitment
from molebench.workspace import Workspace

ROOT = Path(__file__).parents[1]
EVERY = [(kind, name) for kind in registry.KINDS for name in registry.files(kind)]
ASKED = [(kind, name, question) for kind, name in EVERY for question in questions(kind.rstrip("s"))]


def global_generators() -> tuple[list[object], list[int]]:
    """The states of NumPy's and PyTorch's global generators (beartype itself draws from the random module)."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return [numpy[1].tolist(), *numpy[2:]], torch.get_rng_state().tolist()


def test_one_draw_from_a_global_generator_is_noticed() -> None:
    states = [global_generators()]
    np.random.rand()  # noqa: NPY002
    states.append(global_generators())
    torch.rand(1)
    states.append(global_generators())
    assert states[0] != states[1] != states[2]


# ------------------------------------------------------------------ every plug-in

Subjects = Callable[[str, str], Subject]


@pytest.fixture(scope="module")
def subjects(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    """Every plug-in on one bench; what was computed for one question serves the others."""
    bench = Bench(replace(fetched, store=tmp_path_factory.mktemp("asked")))
    return functools.cache(lambda kind, name: Subject(registry.find(kind, name), bench))


@pytest.mark.parametrize(
    ("kind", "name", "question"), ASKED, ids=[f"{kind}/{name}: {sentence(q)}" for kind, name, q in ASKED]
)
def test_every_plug_in_passes_what_conformance_asks(
    kind: str, name: str, question: Question, subjects: Subjects
) -> None:
    subject = subjects(kind, name)
    finding = ask(question, subject)
    assert finding.faults == ()
    assert not finding.not_asked or subject.plugin.card.needs  # only what needs a download is left out


def test_every_kind_that_has_plug_ins_is_asked_more_than_its_card() -> None:
    assert set(OF) == {kind.rstrip("s") for kind, _ in EVERY}


AUDIBLE = """\"\"\"Steady tones of two loudnesses.\"\"\"

from dataclasses import dataclass

import numpy as np

from molebench.cards import dataset
from molebench.types import AUDIO, Dataset, Samples


@dataset(paper="a plug-in of a test", licence="MIT", modality="audio")
@dataclass(frozen=True)
class Tones:
    def load(self, workspace):
        y = np.arange(6) % 2
        x = np.repeat(y * 100, 50).reshape(6, 50).astype(np.int16)
        return Dataset("tones-1.0", {"train": Samples(x, y)}, ("soft", "loud"), AUDIO)
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", ""),
        ('Dataset("tones-1.0"', 'Dataset("tunes"', "it calls itself 'tunes'; expected 'tones'"),
        ("np.int16", "np.float32", "train.x is float32; audio is stored as int16"),
        ("(6, 50)", "(6, 5, 10)", "train.x is [6, 5, 10]; expected [n, t]"),
        (', modality="audio"', "", "its modality is audio; its card says image"),
        ('("soft", "loud"), AUDIO', '("soft", "loud")', "its modality is image; its card says audio"),
    ],
    ids=["sound", "another name", "no PCM16", "an axis too many", "a card of images", "a dataset of images"],
)
def test_a_dataset_of_recordings_is_asked_what_one_of_images_is(
    old: str, new: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    path = tmp_path / "tones.py"
    path.write_text(AUDIBLE.replace(old, new) if old else AUDIBLE, "utf-8")
    (plugin,) = named(str(path))
    subject = Subject(plugin, Bench(Workspace(tmp_path, tmp_path, tmp_path)))
    faults = [fault for question in OF["dataset"] for fault in ask(question, subject).faults]
    assert says in faults if says else faults == []


def test_a_dataset_is_asked_with_an_empty_cache_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    path = tmp_path / "tones.py"
    kept = "        assert not workspace.cache.exists()\n        workspace.cache.mkdir(parents=True)\n"
    path.write_text(AUDIBLE.replace("        y = np", f"{kept}        y = np"), "utf-8")
    (plugin,) = named(str(path))
    subject = Subject(plugin, Bench(Workspace(tmp_path, tmp_path, tmp_path)))
    assert [ask(question, subject).faults for question in OF["dataset"]] == [()] * len(OF["dataset"])


@pytest.fixture(scope="module")
def patches(fetched: Workspace) -> Dataset:
    """The photo patches."""
    plugin = registry.find("datasets", "photo_patches")
    found: Dataset = plugin.build(plugin.resolve({}, "tiny")).load(fetched)
    return found


# ------------------------------------------------------------------ our datasets


@functools.cache
def loaded(name: str) -> Dataset:
    """A dataset, loaded where nothing is."""
    nowhere = Path("/nonexistent")
    plugin = registry.find("datasets", name)
    found: Dataset = plugin.build(plugin.resolve({}, "tiny")).load(Workspace(nowhere, nowhere, nowhere, offline=True))
    return found


def test_some_datasets_are_at_hand() -> None:
    at_hand = {name for name in registry.files("datasets") if not registry.find("datasets", name).card.needs}
    assert at_hand >= {"digits", "fashion_mnist_mini", "photo_patches", "spoken_commands"}


@pytest.mark.parametrize("name", ["digits", "fashion_mnist_mini"])
def test_no_image_is_in_both_train_and_test(name: str) -> None:
    splits = loaded(name).splits
    train, test = ({image.tobytes() for image in splits[s].x} for s in ("train", "test"))
    assert len(test) > 300
    assert not train & test


def test_no_two_photo_patches_share_a_pixel() -> None:
    from molebench.datasets.photo_patches import squares

    # every pixel of this "photograph" has a value of its own: 3 x 4 squares of 5, and a rest that is left out
    image = np.arange(17 * 22 * 3).reshape(17, 22, 3)
    grid = squares(image, crop=5, flat=0.0)
    assert grid.shape == (12, 5, 5, 3)
    assert len(np.unique(grid)) == grid.size
    assert grid[0].tolist() == image[:5, :5].tolist()
    assert grid[-1].tolist() == image[10:15, 15:20].tolist()


def test_flat_squares_are_dropped() -> None:
    from molebench.datasets.photo_patches import squares

    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 4:] = np.array([0, 200] * 8, np.uint8).reshape(4, 4, 1)
    assert squares(image, crop=4, flat=5.0).tolist() == [image[:, 4:].tolist()]


# ------------------------------------------------------------------ the spy

SKIPPED = (ModuleType, FrameType, CodeType, BuiltinFunctionType, type, str, bytes, int, float, complex)


def reachable(root: object) -> Iterator[object]:
    """Everything that can be reached from an object: attributes, containers, closures, what the gc refers to.

    Not modules, classes, frames or a function's globals: those are the program, not what a party was handed.
    """
    programs = {id(vars(module)) for module in list(sys.modules.values())}
    seen: dict[int, object] = {}
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) not in seen and id(thing) not in programs and not isinstance(thing, SKIPPED):
            seen[id(thing)] = thing  # kept, so that no id is used twice
            yield thing
            todo += referred(thing)


def referred(thing: object) -> list[Any]:
    """What one object leads to."""
    if isinstance(thing, FunctionType):
        cells = thing.__closure__ or ()
        held = [cell.cell_contents for cell in cells if cell != type(cell)()]
        return [*held, thing.__defaults__, thing.__kwdefaults__, thing.__dict__]
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, np.ndarray):
        return [thing.base, *(thing.ravel().tolist() if thing.dtype == object else [])]
    inside = [getattr(thing, name, None) for name in ("__dict__", "__wrapped__")]
    return [*gc.get_referents(thing), *inside]


def arrays(root: object) -> Iterator[Array]:
    """Every array and tensor that can be reached from an object."""
    for thing in reachable(root):
        if isinstance(thing, np.ndarray):
            yield thing
        elif isinstance(thing, torch.Tensor):
            yield thing.detach().numpy()
        elif isinstance(thing, list | tuple) and thing and all(isinstance(v, bool | int | float) for v in thing):
            yield np.array(thing)


def rows(x: Array) -> set[bytes]:
    """The bytes of each item."""
    return {item.tobytes() for item in x}


def leaks(root: object, hidden: Mapping[str, Array]) -> list[str]:
    """The names of the hidden arrays of which something can be reached: the memory, the values, or one item."""
    found = set()
    items = {name: rows(a) if a.ndim > 1 else set() for name, a in hidden.items()}
    for array in arrays(root):
        for name, secret in hidden.items():
            same = array.shape == secret.shape and np.array_equal(array, secret)
            one = array.ndim > 1 and array.shape[1:] == secret.shape[1:] and array.dtype == secret.dtype
            if same or np.may_share_memory(array, secret) or (one and rows(array) & items[name]):
                found.add(name)
    return sorted(found)


SECRET = Samples(np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3), np.array([0, 1, 1, 0]))
HIDDEN = {"x": SECRET.x, "y": SECRET.y}
OPEN = Samples(np.full((3, 2, 2, 3), 99, np.uint8), np.array([0, 1, 0]))
BARE = AttackView(OPEN, ("a", "b"), IMAGE, budget=1)


class Holder:
    """An extractor that carries something."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __call__(self, x: object) -> object:
        return x


def closed_over(held: object) -> Callable[[object], object]:
    return lambda x: held


def as_default(held: object) -> Callable[[object], object]:
    def f(x: object, y: object = held) -> object:
        return y

    return f


LEAKING: dict[str, tuple[AttackView, list[str]]] = {
    "the split itself": (replace(BARE, base=SECRET), ["x", "y"]),
    "more than the split": (replace(BARE, base=Samples(np.concatenate([OPEN.x, SECRET.x]), np.arange(7))), ["x"]),
    "one image of it": (replace(BARE, base=Samples(np.concatenate([OPEN.x, SECRET.x[2:3]]), np.arange(4))), ["x"]),
    "a view of its memory": (replace(BARE, extractor=Holder(SECRET.x[1:, :1])), ["x"]),
    "an attribute": (replace(BARE, extractor=Holder({"cache": [(1, SECRET)]})), ["x", "y"]),
    "a tensor": (replace(BARE, extractor=Holder(torch.from_numpy(SECRET.y.copy()))), ["y"]),
    "a list": (replace(BARE, extractor=Holder(SECRET.y.tolist())), ["y"]),
    "a closure": (replace(BARE, extractor=closed_over(SECRET.x)), ["x"]),
    "a default": (replace(BARE, extractor=as_default(SECRET.x)), ["x"]),
    "a partial": (replace(BARE, extractor=functools.partial(np.add, SECRET.x)), ["x"]),
    "a bound method": (replace(BARE, extractor=Holder(SECRET.y).__call__), ["y"]),
}


@pytest.mark.parametrize("where", LEAKING)
def test_the_spy_finds_what_is_hidden_wherever_it_is(where: str) -> None:
    view, expected = LEAKING[where]
    assert leaks(view, HIDDEN) == expected


def test_the_spy_finds_a_buffer_of_a_network() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert leaks(replace(BARE, extractor=network), HIDDEN) == []
    network[0].register_buffer("cache", torch.from_numpy(SECRET.x.copy()))
    assert leaks(replace(BARE, extractor=network), HIDDEN) == ["x"]


def test_the_spy_finds_nothing_where_nothing_is() -> None:
    assert leaks(BARE, HIDDEN) == []
    assert {a.tobytes() for a in arrays(BARE)} == {BARE.base.x.tobytes(), BARE.base.y.tobytes()}


# ------------------------------------------------------------------ a real play, watched


class Watcher:
    """Crafts as the attack it stands in for, and keeps every view and generator it was given."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.seen: list[object] = []

    def craft(self, view: AttackView, rng: np.random.Generator) -> Poison | Recruitment:
        self.seen.append((view, rng))
        return self.actor.craft(view, rng)

    @property
    def watched(self) -> Actor:
        return replace(self.actor, craft=self.craft)


class WatchingDefense:
    """Acts at every moment, changes nothing that matters, and keeps every view."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, View, np.random.Generator]] = []

    def keep(self, moment: str, view: View, rng: np.random.Generator) -> View:
        self.seen.append((moment, view, rng))
        return view

    def transform(self, view: View, rng: np.random.Generator) -> Array:
        return self.keep("transform", view, rng).x

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        return np.ones(len(self.keep("screen_pool", view, rng).x), dtype=bool)

    def select(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("select", view, rng)
        assert view.p is not None
        return least_certain(view.p.copy(), view.count)

    def after_label(self, view: View, rng: np.random.Generator) -> Array:
        return np.ones(len(self.keep("after_label", view, rng).x), dtype=bool)

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        return np.ones(len(self.keep("filter_train", view, rng).x), dtype=bool)

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        z = self.keep("fit", view, rng).z[:, : view.k]
        p = np.exp(z - z.max(axis=1, keepdims=True))
        result: Array = p / p.sum(axis=1, keepdims=True)
        return result

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("accept", view, rng)
        return np.array(True)

    def predict(self, view: View, rng: np.random.Generator) -> Array:
        assert view.p is not None
        self.keep("predict", view, rng)
        return view.p


@dataclass(frozen=True)
class Watched:
    """A play in which attack, control and defense were watched, and what they must not find."""

    trial: Trial
    outcome: Outcome
    attackers: dict[str, Watcher]
    defender: WatchingDefense
    parts: dict[str, Samples]
    generators: tuple[object, object]  # before and after


@pytest.fixture(scope="module")
def watched(
    fetched: Workspace, patches: Dataset, lite0: FrozenExtractor, tmp_path_factory: pytest.TempPathFactory
) -> Watched:
    """feature_collision against EfficientNet-Lite0 at the tiny profile, its stages computed here and now."""
    parameters: dict[str, bool | int | float | str | None] = {
        "attack.steps": 2,
        "attack.n_poison": 20,
        "victim.queries": 20,
        "victim.pool": 160,
        "victim.epochs": 5,
    }
    cell = Cell(
        attack="feature_collision", victim="al_efficientnet_lite0", profile="tiny", parameters=parameters, seed=0
    )
    resolved = resolve(cell)
    weights = resolved.parts["extractor"].build().load(fetched)[1]
    stages = Stages(tmp_path_factory.mktemp("stages"))
    trial = prepared(resolved, fetched, stages, patches, resolved.parts["victim"].build(), lite0, weights)
    assert trial.control is not None
    attackers = {"attack": Watcher(trial.attack), "control": Watcher(trial.control)}
    defender = WatchingDefense()
    trial = replace(
        trial,
        attack=attackers["attack"].watched,
        control=attackers["control"].watched,
        defenses=Pipeline((("watcher", defender),), trial.seed),
        defense_identity=({"name": "watcher"},),
    )
    before = global_generators()
    outcome = play(trial)
    after = global_generators()
    splits = split(patches, trial.victim, trial.seed)
    parts = {name: patches.splits["train"][getattr(splits, name)] for name in ("pool", "test1", "test2")}
    return Watched(trial, outcome, attackers, defender, parts, (before, after))


@pytest.mark.parametrize("who", ["attack", "control"])
def test_from_an_attacks_view_neither_the_pool_nor_the_test_split_can_be_reached(who: str, watched: Watched) -> None:
    hidden = {f"{name}.{part}": getattr(watched.parts[name], part) for name in ("pool", "test2") for part in "xy"}
    hidden |= {f"{name}.z": features(watched.trial, watched.parts[name].x, "") for name in ("pool", "test2")}
    hidden["train.y"] = watched.trial.dataset.splits["train"].y
    (seen,) = watched.attackers[who].seen
    assert leaks(seen, hidden) == []
    assert leaks(seen, {"test1.x": watched.parts["test1"].x}) == ["test1.x"]  # the spy does look


def test_an_attacks_generator_leads_to_no_seed_of_another_party(watched: Watched) -> None:
    (seen,) = watched.attackers["attack"].seen
    assert not any(isinstance(thing, Trial | Pipeline | Stages | Dataset) for thing in reachable(seen))


def test_a_defense_is_asked_at_every_moment(watched: Watched) -> None:
    assert {moment for moment, _, _ in watched.defender.seen} == set(SCENARIO_MOMENTS["active"])


def poison_rows(watched: Watched) -> set[bytes]:
    clean = rows(watched.parts["pool"].x) | rows(watched.parts["test2"].x)
    assert isinstance(watched.outcome.poison, Poison)
    poison = rows(watched.outcome.poison.samples.x)
    assert len(poison) == 20
    assert not poison & clean
    return poison


def test_from_a_defenses_view_neither_poisons_nor_test_labels_can_be_told(watched: Watched) -> None:
    poison, told = poison_rows(watched), []
    whole = np.arange(len(watched.parts["pool"]) + 20) >= len(watched.parts["pool"])
    for moment, view, rng in watched.defender.seen:
        mask = np.array([item.tobytes() in poison for item in view.x])
        hidden = {"test labels": watched.parts["test2"].y}
        if mask.any() and not mask.all():
            hidden |= {"mask": mask, "clean mask": ~mask, "pool mask": whole, "clean pool mask": ~whole}
        told += [(moment, name) for name in leaks((view, rng), hidden)]
    assert told == []


def test_from_a_defenses_view_no_part_of_the_program_can_be_reached(watched: Watched) -> None:
    for moment, view, rng in watched.defender.seen:
        parts = [t for t in reachable((view, rng)) if isinstance(t, Trial | Pipeline | Stages | Dataset | Samples)]
        assert parts == [], moment


def test_the_spy_catches_a_defenses_view_that_tells_the_mask(watched: Watched) -> None:
    poison = poison_rows(watched)
    view = next(v for m, v, _ in watched.defender.seen if m == "screen_pool" and rows(v.x) & poison)
    mask = np.array([item.tobytes() in poison for item in view.x])
    assert leaks(view, {"mask": mask}) == []
    assert leaks(replace(view, y=mask.astype(np.int64)), {"mask": mask}) == ["mask"]


@pytest.mark.parametrize("moment", ["transform", "screen_pool", "select", "fit"])
def test_poisons_do_not_stand_out_by_place(moment: str, watched: Watched) -> None:
    poison, seen = poison_rows(watched), 0
    for _, view, _ in (s for s in watched.defender.seen if s[0] == moment):
        place = np.flatnonzero([item.tobytes() in poison for item in view.x])
        if len(place) == 20:
            seen += 1
            middle = (len(view.x) - 1) / 2  # the mean place of 20 random ones is within 4 standard errors of it
            assert abs(place.mean() - middle) < 4 * len(view.x) / np.sqrt(12 * 20)
            assert np.diff(place).max() > 1
    assert seen > 0


def test_a_play_touches_no_global_generator(watched: Watched) -> None:
    before, after = watched.generators
    assert before == after


def test_a_play_has_its_arms_on_the_same_items_and_breaks_no_rule(watched: Watched) -> None:
    assert set(watched.outcome.arms) == {
        "clean_undefended",
        "poisoned_undefended",
        "control_undefended",
        "clean_defended",
        "poisoned_defended",
    }
    assert watched.outcome.violations == []
    assert watched.outcome.y.tolist() == watched.parts["test2"].y.tolist()
    assert all(len(arm.predicted) == len(watched.outcome.y) for arm in watched.outcome.arms.values())


def test_every_metric_of_a_play_is_finite_and_defined(watched: Watched) -> None:
    assert {"delta_total_vs_control", "delta_total_defended_own", "clean_cost"} <= set(watched.outcome.metrics)
    for name, metric in watched.outcome.metrics.items():
        assert metric.definition == definition(name)
        assert np.isfinite([metric.value, metric.low or 0.0, metric.high or 0.0]).all(), name


# ------------------------------------------------------------------ without a type checker

PLAY = """
import random, sys
from pathlib import Path
import numpy as np
from molebench import places, registry
from molebench.grid import Cell, resolve
from molebench.hooks import Pipeline
from molebench.progress import silent
from molebench.scenarios.active import ActiveLearner, play
from molebench.stages import Stages
from molebench.trial import Actor, Trial
from molebench.workspace import Workspace

folder = Path(sys.argv[1])
attack = registry.find("attacks", "feature_collision")
actor = Actor("collision", attack.make(n_poison=5, steps=2).craft, attack.card.threat, {})
digits = registry.find("datasets", "digits").make().load(Workspace(folder, folder, folder))
victim = ActiveLearner("pixels", queries=6, query_batch=3, pool=200, epochs=2)
trial = Trial(digits, actor, None, victim, {}, lambda x: x.flatten(1) / 255, {}, Pipeline(), (), 0,
              Stages(folder), silent, "", {})
before = random.getstate(), str(np.random.get_state())
outcome = play(trial)
assert (random.getstate(), str(np.random.get_state())) == before
print(len(outcome.poison), len(outcome.arms["poisoned_undefended"].predicted))
"""


def test_a_play_does_not_touch_the_random_module(tmp_path: Path) -> None:
    # in a process without beartype, which itself draws from the random module
    done = subprocess.run([sys.executable, "-c", PLAY, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "20"]
