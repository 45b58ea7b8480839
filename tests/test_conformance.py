"""Conformance finds out a faulty plug-in of each sort, says why in a line, and leaves a sound one alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from molebench import places
from molebench.conformance import OF, Finding, ask, faults, line, named, questions, sentence
from molebench.questions.bench import Bench, NotAsked, Subject
from molebench.workspace import Workspace
from tests.commands import typed
from tests.conftest import ROOT
from tests.plugin_files import SOUND, written


@pytest.fixture(autouse=True)
def _no_plug_ins_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")


@pytest.fixture(scope="module")
def bench(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(replace(fetched, store=tmp_path_factory.mktemp("asked")))


def findings(path: Path, bench: Bench) -> dict[str, Finding]:
    """Every question but the run, which takes seconds, by its sentence."""
    (plugin,) = named(str(path))
    subject = Subject(plugin, bench)
    quick = [q for q in questions(plugin.kind) if "run" not in q.__name__]
    return {sentence(q): ask(q, subject) for q in quick}


def found_out(path: Path, bench: Bench) -> dict[str, tuple[str, ...]]:
    """The questions that a plug-in does not pass, and why."""
    return {name: finding.faults for name, finding in findings(path, bench).items() if finding.faults}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_plug_in_passes_every_question(kind: str, tmp_path: Path, bench: Bench) -> None:
    assert [f for f in findings(written(tmp_path, kind), bench).values() if f.faults or f.not_asked] == []


MAY = '{"inject"}), knows=frozenset({"data"})),\n    scenarios=("active",),'
CRAFT = "        return Poison(view.base[chosen], chosen)\n"
FLIPPED = "Poison(Samples(view.base[chosen].x, (view.base[chosen].y + 1) % 10), chosen)"
ATTACKS = {
    "a draw from NumPy's global generator": (
        (CRAFT, "        np.random.rand()\n" + CRAFT),
        "it draws from its own generator alone",
        "it draws from a global generator",
    ),
    "a draw from PyTorch's": (
        (CRAFT, "        import torch\n\n        torch.rand(1)\n" + CRAFT),
        "it draws from its own generator alone",
        "it draws from a global generator",
    ),
    "a generator of its own": (
        (CRAFT, "        chosen = np.random.default_rng().permutation(len(view.base))[:5]\n" + CRAFT),
        "it repeats itself",
        "gives two poisons",
    ),
    "a changed label": (
        (CRAFT, f"        return {FLIPPED}\n"),
        "its poison keeps to its threat model and budget",
        "changes a label",
    ),
    "a changed input": (
        (CRAFT, "        return Poison(Samples(255 - view.base[chosen].x, view.base[chosen].y), chosen)\n"),
        "its poison keeps to its threat model and budget",
        "changes an input",
    ),
    "more than the budget": (
        ("min(self.n_poison, view.budget)", "20"),
        "its poison keeps to its threat model and budget",
        "the benchmark allows 15",
    ),
    "fewer than asked for": (
        ("min(self.n_poison, view.budget)", "3"),
        "it makes as many poisons as it is asked for",
        "it made 3; expected 15",
    ),
    "a changed view": (
        (CRAFT, "        object.__setattr__(view, 'budget', 99)\n" + CRAFT),
        "it changes nothing that it is shown",
        "it changes budget of its view",
    ),
    "a write into the view": (
        (CRAFT, "        view.base.x[0] = 0\n" + CRAFT),
        "its poison keeps to its threat model and budget",
        "ValueError: assignment destination is read-only",
    ),
    "a view that is kept": (
        (CRAFT, "        SEEN.append(view.base.x[:1])\n" + CRAFT),
        "it keeps nothing that it has seen",
        "something of its view lives on",
    ),
    "a dataclass that is not frozen": (
        ("@dataclass(frozen=True)", "@dataclass"),
        "it is a frozen dataclass",
        "Brightest is not frozen",
    ),
    "a parameter without a meaning": (
        ("n_poison: number of images.", "Some images."),
        "every parameter says what it means and what is allowed",
        "does not say what n_poison is",
    ),
    "a default that is not allowed": (
        ("Count = 500", "Count = 0"),
        "every default and profile value passes its own check",
        "n_poison = 0; expected int >= 1",
    ),
    "a profile of its own": (
        ('control="unperturbed",', 'control="unperturbed", profiles={"huge": {"n_poison": 9}},'),
        "profiles are known and set only parameters that there are",
        "there is no profile 'huge'",
    ),
    "a first line without an end": (
        ("as they are.", "as they are"),
        "its first line is a short sentence",
        "does not begin with a capital and end with a full stop",
    ),
    "no reference": (('paper="a plug-in of a test"', 'paper=""'), "it says where it is from", "names no reference"),
    "a control that there is not": (
        ('control="unperturbed"', 'control="unpertorbed"'),
        "its control is an attack that may do no more",
        "did you mean 'unperturbed'?",
    ),
    "a control that may do more": (
        ('control="unperturbed"', 'control="noise"'),
        "its control is an attack that may do no more",
        "its control noise may do what it may not",
    ),
    "no control where it perturbs": (
        (MAY + '\n    control="unperturbed",', MAY.replace('{"inject"}', '{"inject", "perturb"}')),
        "its control is an attack that may do no more",
        "it perturbs and names no control",
    ),
    "an exit in the middle": (
        (CRAFT, "        raise SystemExit(0)\n"),
        "it repeats itself",
        "SystemExit: 0",
    ),
}
SCREEN = "        return keep\n"
DEFENSES = {
    "a draw from a global generator": (
        (SCREEN, "        np.random.rand()\n" + SCREEN),
        "it draws from its own generator alone",
        "it draws from a global generator at screen_pool",
    ),
    "the wrong type": (
        (SCREEN, "        return keep.astype(int)\n"),
        "its answers have the shape and type that each moment asks for",
        "returned int64 (40,) at screen_pool; expected bool (40,)",
    ),
    "the wrong shape": (
        (SCREEN, "        return keep[:5]\n"),
        "its answers have the shape and type that each moment asks for",
        "returned bool (5,) at screen_pool",
    ),
    "a generator of its own": (
        (SCREEN, "        return np.random.default_rng().random(len(view.x)) < 0.5\n"),
        "it repeats itself",
        "asked twice at screen_pool",
    ),
    "a changed view": (
        (SCREEN, "        object.__setattr__(view, 'z', view.z + 1)\n" + SCREEN),
        "it changes nothing that it is shown",
        "it changes z of its view at screen_pool",
    ),
    "a write into the view": (
        (SCREEN, "        view.x[0] = 0\n" + SCREEN),
        "its answers have the shape and type that each moment asks for",
        "assignment destination is read-only",
    ),
    "a view that is kept": (
        (SCREEN, "        SEEN.append(view)\n" + SCREEN),
        "it keeps nothing that it has seen",
        "lives on after screen_pool",
    ),
    "part of an array that is kept": (
        (SCREEN, "        SEEN.append(view.labelled_y[:2])\n" + SCREEN),
        "it keeps nothing that it has seen",
        "lives on after screen_pool",
    ),
    "a moment with a slip in its name": (
        ("def screen_pool", "def screen_pol"),
        "it acts at moments that there are",
        "its methods are screen_pol; a defense acts at transform, screen_pool",
    ),
    "a scenario that there is not": (
        ('scenarios=("active",)', 'scenarios=("aktive",)'),
        "it says where it is from",
        "its scenarios are ('aktive',)",
    ),
}
DATASETS = {
    "another name": (
        ('Dataset("flat"', 'Dataset("plain"'),
        "it loads with its own name and a train split",
        "it calls itself 'plain'; expected 'flat'",
    ),
    "no train split": (
        ('{"train": Samples', '{"all": Samples'),
        "it loads with its own name and a train split",
        "its splits are all; expected train among them",
    ),
    "a class without a sample": (
        ('("dark", "light")', '("dark", "light", "none")'),
        "its arrays are stored samples and its labels name classes",
        "the labels of train are not 0..2",
    ),
    "other values each time": (
        ("y * 100", "y * 100 + np.random.default_rng().integers(0, 50, y.shape)"),
        "it is the same whenever it is loaded",
        "loading it twice gives two datasets",
    ),
    "a draw from a global generator": (
        ("        y = ", "        np.random.rand()\n        y = "),
        "loading it touches no global generator",
        "it draws from a global generator",
    ),
    "a file that is not there": (
        ("        y = ", '        workspace.file("flat.zip", "get it")\n        y = '),
        "it is the same whenever it is loaded",
        "no flat.zip in MOLEBENCH_DATA",
    ),
    "no licence": (('licence="MIT"', 'licence=""'), "it says where it is from", "it names no licence"),
}
VICTIMS = {
    "a dataset that there is not": (
        ('dataset="photo_patches"', 'dataset="photo_patch"'),
        "its dataset and extractor are there",
        "did you mean 'photo_patches'?",
    ),
    "an extractor that there is not": (
        ('extractor="efficientnet_lite0"', 'extractor="efficientnet"'),
        "its dataset and extractor are there",
        "did you mean 'efficientnet_lite0'?",
    ),
}
FAULTY = [
    (kind, what, *case)
    for kind, cases in (("attack", ATTACKS), ("defense", DEFENSES), ("dataset", DATASETS), ("victim", VICTIMS))
    for what, case in cases.items()
]


@pytest.mark.parametrize(
    ("kind", "what", "change", "question", "says"), FAULTY, ids=[f"{kind}: {what}" for kind, what, *_ in FAULTY]
)
def test_a_faulty_plug_in_is_found_out(
    kind: str, what: str, change: tuple[str, str], question: str, says: str, tmp_path: Path, bench: Bench
) -> None:
    found = found_out(written(tmp_path, kind, change), bench)
    assert says in "; ".join(found[question]), (what, found)


def test_every_question_has_its_own_words_and_says_why_it_is_asked() -> None:
    for kind in OF:
        names = [sentence(q) for q in questions(kind)]
        assert len(names) == len(set(names))
        assert all((q.__doc__ or "").endswith((".", "`")) for q in questions(kind))


def test_a_dataset_that_needs_a_file_is_not_asked_to_load(tmp_path: Path, bench: Bench) -> None:
    path = written(tmp_path, "dataset", ('licence="MIT"', 'licence="MIT", needs=("flat.zip in MOLEBENCH_DATA",)'))
    found = findings(path, bench)
    not_asked = {name for name, finding in found.items() if finding.not_asked == "needs flat.zip in MOLEBENCH_DATA"}
    assert len(not_asked) == len(OF["dataset"])
    assert not any(finding.faults for finding in found.values())


def test_an_attack_of_another_scenario_is_not_asked_to_craft(tmp_path: Path, bench: Bench) -> None:
    path = written(tmp_path, change=('scenarios=("active",),\n    control="unperturbed",', 'scenarios=("streaming",),'))
    found = findings(path, bench)
    told = "acts in streaming; plug-ins are tried in active, offline, continual"
    assert found["it repeats itself"].not_asked == told


def test_a_plug_in_that_needs_a_value_is_not_tried_without_it(tmp_path: Path, bench: Bench) -> None:
    path = written(tmp_path, change=("n_poison: Count = 500", "n_poison: Count"))
    found = findings(path, bench)
    assert found["it repeats itself"].not_asked == "needs a value of n_poison, which has no default"
    assert not any(finding.faults for finding in found.values())


def test_without_the_weights_a_question_is_not_asked(tmp_path: Path, fresh: Workspace) -> None:
    (plugin,) = named(str(written(tmp_path)))
    bare = Bench(replace(fresh, cache=tmp_path / "nothing", offline=True))
    with pytest.raises(NotAsked, match="needs the weights of efficientnet_lite0"):
        _ = bare.extractor
    assert ask(OF["attack"][4], Subject(plugin, bare)).not_asked.startswith("needs the weights")


def test_a_finding_is_one_line() -> None:
    assert line(Finding("it repeats itself")) == "ok     it repeats itself"
    assert line(Finding("it repeats itself", ("no\n  really", "never"))) == "FAULT  it repeats itself: no really; never"
    assert line(Finding("it loads", not_asked="needs a\nfile")) == "-      it loads: not asked: needs a file"


# The command


@pytest.mark.parametrize("kind", SOUND)
def test_the_command_asks_every_question_of_a_file_and_finds_a_sound_one_well(
    kind: str, tmp_path: Path, workspace: Workspace
) -> None:
    done = typed(workspace, "conformance", str(written(tmp_path, kind)), "--offline")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == f"{kind} {SOUND[kind][0]}, {tmp_path.name}/{SOUND[kind][0]}.py (plugin file)"
    assert lines[1:] == [f"ok     {sentence(q)}" for q in questions(kind)]


def test_the_command_ends_with_4_where_a_question_is_not_passed(tmp_path: Path, workspace: Workspace) -> None:
    path = written(tmp_path, "dataset", ('Dataset("flat"', 'Dataset("plain"'))
    done = typed(workspace, "conformance", str(path))
    assert done.returncode == 4
    (fault,) = [text for text in done.stdout.splitlines() if text.startswith("FAULT")]
    assert fault.endswith("it calls itself 'plain'; expected 'flat'")
    rows = json.loads(typed(workspace, "conformance", str(path), "--json").stdout)
    assert [row["name"] for row in rows if row["faults"]] == ["flat"]


def test_the_command_takes_the_name_of_ours_and_the_path_of_ours(workspace: Workspace) -> None:
    by_name = typed(workspace, "conformance", "digits").stdout
    assert by_name.startswith("dataset digits, datasets/digits.py (molebench)\nok ")
    assert typed(workspace, "conformance", str(ROOT / "datasets" / "digits.py")).stdout == by_name


def test_a_name_that_nobody_has_is_answered_with_the_nearest(workspace: Workspace) -> None:
    done = typed(workspace, "conformance", "digit")
    assert (done.returncode, "did you mean 'digits'?" in done.stderr) == (2, True)


def test_faults_is_for_tests_of_one_s_own(tmp_path: Path, workspace: Workspace) -> None:
    path = written(tmp_path, "dataset", ('licence="MIT"', 'licence=""'))
    assert faults(path, workspace) == ["it says where it is from: it names no licence"]
