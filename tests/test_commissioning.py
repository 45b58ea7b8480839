"""A submitted attack in a jail: the same poison, the same recruitment, and whatever else it answers is refused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from molebench import places, registry, views
from molebench.cards import attack
from molebench.commissioning import commissioned
from molebench.errors import CellFailed, MolebenchError
from molebench.grid import Part
from molebench.moles import Pair
from molebench.places import Place
from molebench.registry import Plugin
from molebench.rng import stream
from molebench.sandbox.box import Driver
from molebench.sandbox.jailing import jailed
from molebench.tasks import Tasks
from molebench.types import IMAGE, AttackView, Poison, Samples, ThreatModel
from molebench.updates import Recruitment, RecruitView, Update
from molebench.workspace import Workspace
from tests.commands import predictions
from tests.offline_home import VICTIM as SMALL_VICTIM
from tests.offline_home import Home

SOURCE = '''"""It: a submitted attack of a test."""

import os, socket, time
from dataclasses import dataclass

import numpy as np

from molebench import messages
from molebench.cards import attack
from molebench.types import AttackView, Poison, Samples, ThreatModel
from molebench.updates import Recruitment, Update

{before}


@attack(paper="a test", threat=ThreatModel(may=frozenset(("inject", "recruit")), knows=frozenset({knows})),
        scenarios=("active", "offline"))
@dataclass(frozen=True)
class Submitted:
    """No parameters."""

    def craft(self, view, rng):
        """Does it."""
        {body}
'''
BRIGHTEST = """chosen = np.argsort(-view.base.x.reshape(len(view.base), -1).mean(axis=1))[: view.budget]
        return Poison(view.base[chosen], chosen, {"draw": rng.random(len(chosen))}, ("one", view.modality.name))"""
EVERY_SECOND = """index = np.flatnonzero(view.scores[:, 0] < 0.9)[::2]
        pair = (0, 1, float("nan"), len(index))
        from molebench.moles import Pair
        update = Update(index, rng.random(len(index)) < 0.5, (Pair(*pair),))
        return Recruitment((*view.like.updates, update, Update(np.zeros(0, int), np.zeros(0, bool))), view.classes)"""


def samples(n: int = 20) -> Samples:
    rng = np.random.default_rng(n)
    return Samples(rng.integers(0, 256, (n, 24, 24, 3), dtype=np.uint8), np.arange(n) % 3)


def attack_view(**more: Any) -> AttackView:
    return AttackView(samples(), ("a", "b", "c"), IMAGE, 5, **more)


def recruit_view() -> RecruitView:
    beside = Recruitment((Update(np.arange(4), np.arange(4) < 2, (Pair(0, 1, 0.5, 2), Pair(2, 1, 0.25, 3))),), ("x",))
    scores = np.random.default_rng(0).random((20, 3)).astype(np.float32)
    return RecruitView(samples(), ("a", "b", "c"), 10, scores, beside, tasks=Tasks(((0, 2), (1,))))


def described(knows: tuple[str, ...] = ()) -> Part:
    """What is known of a submission without importing it."""
    threat = ThreatModel(may=frozenset({"inject", "recruit"}), knows=frozenset(knows))
    made = attack(paper="a test", threat=threat, scenarios=("active", "offline"))(type("it", (), {}))
    place = Place("attacks", "it", Path("attack.py"), "molebench.plugins.it")
    return Part(Plugin("attack", "it", made, ModuleType("it"), place, "It."), {}, {})


@dataclass(frozen=True)
class Hirer:
    """Stands for submitted attacks."""

    driver: Driver | None
    folder: Path

    @contextmanager
    def stand_in(
        self, body: str, before: str = "", seconds: float = 60.0, extractor: Part | None = None
    ) -> Iterator[Any]:
        knows = ("extractor",) if extractor else ()
        (self.folder / "it.py").write_text(SOURCE.format(body=body, before=before, knows=knows), "utf-8")
        names = ("it", *([extractor.name] if extractor else []))
        files = {name: self.folder / f"{name}.py" for name in names}
        workspace = Workspace(self.folder / "data", self.folder / "cache", self.folder / "store")
        with jailed(self.driver, files, workspace) as jail:
            yield commissioned(described(knows), extractor, replace(workspace, jail=jail), seconds)


Hire = Callable[..., Any]


@pytest.fixture
def hirer(driver: Driver, tmp_path: Path) -> Hirer:
    """Stands for them in a sandbox."""
    return Hirer(driver, tmp_path)


def facts_of(found: Poison | Recruitment) -> list[Any]:
    """Everything in an answer, in lists."""
    if isinstance(found, Poison):
        facts = {name: values.tolist() for name, values in found.facts.items()}
        return [found.sha256, found.base.tolist(), facts, found.unmet]
    updates = [(u.index.tolist(), u.mole.tolist(), np.array(u.pairs).tolist()) for u in found.updates]
    return [found.sha256, repr(updates), found.unmet]


@pytest.mark.parametrize(("body", "view"), [(BRIGHTEST, attack_view()), (EVERY_SECOND, recruit_view())])
def test_an_attack_crafts_the_same_inside_and_outside(hirer: Hirer, body: str, view: Any) -> None:
    found = []
    for driver in (hirer.driver, None):
        with replace(hirer, driver=driver).stand_in(body) as proxy:
            found.append(facts_of(proxy.craft(view, stream(0, "a"))))
    assert found[0] == found[1]
    if body == BRIGHTEST:
        assert found[0][2]["draw"] == stream(0, "a").random(5).tolist()
        assert found[0][3] == ("one", "image")
    else:
        assert found[0][2] == ("a", "b", "c")
        assert "[0.0, 1.0, 0.5, 2.0], [2.0, 1.0, 0.25, 3.0]" in found[0][1]


def test_every_part_of_a_view_arrives() -> None:
    sent = recruit_view()
    back = views.seen(*views.shown(sent), extractor=None)
    assert isinstance(back, RecruitView)
    assert sent.like
    assert back.like
    assert sent.scores is not None
    assert back.scores is not None
    assert (back.base.fingerprint, back.classes, back.batch) == (sent.base.fingerprint, sent.classes, sent.batch)
    assert (back.scores.tolist(), back.tasks, back.progress) == (sent.scores.tolist(), sent.tasks, None)
    assert repr(facts_of(back.like)[:2]) == repr(facts_of(sent.like)[:2])
    bare = views.seen(*views.shown(RecruitView(samples(), ("a", "b", "c"), 10)), extractor=None)
    assert isinstance(bare, RecruitView)
    assert (bare.scores, bare.like, bare.tasks) == (None, None, None)
    plain = views.seen(*views.shown(attack_view()), extractor="f")
    assert isinstance(plain, AttackView)
    assert (plain.modality, plain.budget, plain.extractor) == (IMAGE, 5, None)


def test_no_updates_are_an_answer() -> None:
    head, arrays = views.told(Recruitment((), ("missed",)))
    back = views.believed(head, arrays)
    assert isinstance(back, Recruitment)
    assert (back.updates, back.unmet) == ((), ("missed",))


WRONG: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "nothing": lambda head, arrays: arrays.clear(),
    "no_unmet": lambda head, arrays: head.clear(),
    "fewer_labels": lambda head, arrays: arrays.update(y=arrays["y"][:1]),
    "labels_with_fractions": lambda head, arrays: arrays.update(y=arrays["y"] / 2),
    "bases_in_a_table": lambda head, arrays: arrays.update(base=arrays["base"].reshape(1, -1)),
    "a_fact_named_by_a_path": lambda head, arrays: arrays.update({"fact.../x": arrays["base"]}),
    "many_facts": lambda head, arrays: arrays.update({f"fact.f{i}": arrays["base"] for i in range(99)}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_poison_is_refused(name: str) -> None:
    head, arrays = views.told(Poison(samples(3), np.arange(3)))
    views.believed(head, arrays)
    WRONG[name](head, arrays)
    with pytest.raises(MolebenchError, match="its answer is neither a Poison nor a Recruitment"):
        views.believed(head, arrays)


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": np.array([[4, 1]])},
        {"sizes": np.array([[5, 2]])},
        {"sizes": np.array([[-1, 2], [5, 0]])},
        {"mole": np.ones(3, bool)},
        {"rho": np.zeros(1)},
        {"index": np.zeros(4)},
    ],
)
def test_updates_that_do_not_fit_together_are_refused(change: dict[str, Any]) -> None:
    assert recruit_view().like
    head, arrays = views.told(recruit_view().like)
    with pytest.raises(MolebenchError, match="its answer is neither a Poison nor a Recruitment"):
        views.believed(head, {**arrays, **change})


@pytest.mark.parametrize("many", ["updates", "pairs"])
def test_more_updates_or_pairs_than_anybody_could_try_are_refused_before_one_is_made(many: str) -> None:
    n = (views.UPDATES if many == "updates" else views.PAIRS) + 1
    head, arrays = views.told(Recruitment((), ()))
    if many == "updates":
        arrays["sizes"] = np.zeros((n, 2), np.int64)
    else:
        arrays |= {"sizes": np.array([[0, n]]), "pairs": np.zeros((n, 3), np.int64), "rho": np.zeros(n)}
    with pytest.raises(MolebenchError, match=f"neither a Poison nor a Recruitment: {n} {many}; at most {n - 1}"):
        views.believed(head, arrays)


HARM = {
    "network": ("socket.create_connection(('1.1.1.1', 443), 2)", "Network is unreachable"),
    "loop": ("while True: pass", r"it took longer than 1\.5 s"),
    "exit": ("os._exit(0)", "ended with exit code 0"),
    "memory": ("np.zeros(2**40)", "it ran out of memory"),
    "words": ("return 'poison'", "returned str; expected a Poison or a Recruitment"),
    "objects": ("return Poison(view.base, np.arange(len(view.base)), {'o': np.array(['a'] * 20)})", "expected numbers"),
    "too_much": (
        "n = 10**5; return Poison(Samples(np.zeros((n, 24, 24, 3), np.uint8), np.zeros(n)), np.arange(n))",
        "are allowed",
    ),
}


@pytest.mark.parametrize("name", HARM)
def test_an_attack_that_means_harm_is_stopped_by_name(hirer: Hirer, name: str) -> None:
    body, says = HARM[name]
    seconds = 1.5 if name == "loop" else 60.0
    with hirer.stand_in(body, seconds=seconds) as proxy, pytest.raises(CellFailed, match=f"attack it.*{says}"):
        proxy.craft(attack_view(), stream(0, "a"))


def test_an_answer_that_is_forged_is_refused(hirer: Hirer) -> None:
    forged = 'messages.pieces = lambda *a: [b\'{"unmet": 5, "arrays": {"index": ["<i8", [1]]}}\\n\' + b\'1\' * 8]'
    with hirer.stand_in(BRIGHTEST, forged) as proxy, pytest.raises(CellFailed, match="neither a Poison nor"):
        proxy.craft(attack_view(), stream(0, "a"))


ASKS = """z = view.extractor(view.base.x)
        chosen = np.argsort(z)[: view.budget]
        return Poison(view.base[chosen], chosen, {"mean": z[chosen]})"""
MEANS = '''"""Means: a feature that is the mean."""

from dataclasses import dataclass

from molebench.cards import extractor


@extractor(paper="a test", licence="MIT")
@dataclass(frozen=True)
class Means:
    """power: of the mean."""

    power: float = 1.0

    def load(self, workspace):
        """The function, and no weights."""
        return lambda x: x.reshape(len(x), -1).mean(axis=1) ** self.power, None
'''


def test_an_attack_that_knows_the_extractor_has_it(hirer: Hirer, monkeypatch: pytest.MonkeyPatch) -> None:
    (hirer.folder / "means.py").write_text(MEANS, "utf-8")
    monkeypatch.setenv(places.VARIABLE, str(hirer.folder / "means.py"))
    values = {"power": 0.5}
    part = Part(registry.find("extractors", "means"), values, values)
    f = part.build().load(None)[0]
    with hirer.stand_in(ASKS, extractor=part) as proxy:
        poison = proxy.craft(attack_view(extractor=f), stream(0, "a"))
    assert poison.base.tolist() == np.argsort(f(samples().x))[:5].tolist()
    assert poison.facts["mean"].tolist() == np.sort(f(samples().x))[:5].tolist()
    with hirer.stand_in(ASKS) as proxy, pytest.raises(CellFailed, match="attack it raised TypeError"):
        proxy.craft(attack_view(extractor=f), stream(0, "a"))


RECRUITS = """if view.like: return view.like
        index = np.concatenate([rng.choice(np.flatnonzero(view.base.y == c), 10, replace=False) for c in range(10)])
        from molebench.moles import Pair
        return Recruitment((Update(index, view.base.y[index] == 5, (Pair(3, 5, 0.5, 10),)),))"""


def test_a_cell_with_an_attack_in_a_jail_is_the_same(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    (tmp_path / "choosing_some.py").write_text(SOURCE.format(body=RECRUITS, before="", knows=()), "utf-8")
    (tmp_path / "small.py").write_text(SMALL_VICTIM, "utf-8")
    places.use([tmp_path / "small.py", tmp_path / "choosing_some.py"])
    home = Home.at(tmp_path / "here")
    home.run("choosing_some")
    with jailed(driver, {"choosing_some": tmp_path / "choosing_some.py"}, home.workspace) as jail:
        inside = Home(replace(home.workspace, store=tmp_path / "inside", stages=tmp_path / "stages", jail=jail))
        inside.run("choosing_some")
    assert len(predictions(home.workspace)) > 1
    assert predictions(home.workspace) == predictions(inside.workspace)
