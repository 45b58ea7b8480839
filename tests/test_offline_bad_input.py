"""What a user can ask of the offline scenario that cannot be done: one clear line, before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from molebench import places
from molebench.workspace import Workspace
from tests.commands import one_line, typed

MOLES, COMPOUND, CONTROL = "mole_recruitment", "optimized_moles", "random_recruitment"
SAME = "the attacked and the confounding class are both 3; moles of a class for itself are its own best images"
PAIRS = "expected all, or attacked<confounding pairs such as dog<cat,car<truck"
SWEEP = "expected different sizes of 1 or more, such as 25,50,100,200"
LINE = "expected published, or slope,intercept such as 0.77,0.10"
TOO_MANY = "n=150 images of every class; class 8 has 139 in the pool of 1438: choose a smaller n, or a larger pool"
BATCH = "a batch of 9 cannot hold an image of each of 10 classes; choose victim.batch=10 or more"
REFUSED: dict[str, tuple[str, Sequence[str], str]] = {
    "a = c": (MOLES, ["attack.attacked=3", "attack.confounding=3"], SAME),
    "a = c in a list": (MOLES, ["attack.pairs=1<2,3<3"], SAME),
    "a = c, by the control": (CONTROL, ["attack.attacked=3", "attack.confounding=3"], SAME),
    "no such attacked class": (MOLES, ["attack.attacked=cat"], "no class named 'cat'; there is: (0, 1, 2, 3, 4"),
    "no such confounding class": (MOLES, ["attack.confounding=10"], "no class named '10'; did you mean '1'?"),
    "no such class in a list": (MOLES, ["attack.pairs=3<5,8<x"], "no class named 'x'"),
    "a class by the control": (CONTROL, ["attack.attacked=cat"], "no class named 'cat'"),
    "n beyond a class": (MOLES, ["attack.n=150"], TOO_MANY),
    "n beyond a class, by the control": (CONTROL, ["attack.n=150"], TOO_MANY),
    "a size of a sweep beyond a class": (MOLES, ["attack.sweep_n=10,150"], TOO_MANY),
    "n beyond a class of a smaller pool": (MOLES, ["victim.pool=100"], "has 10 in the pool of 100: choose a smaller n"),
    "a unit beyond a class": (COMPOUND, ["attack.unit=150"], TOO_MANY),
    "units beyond a class": (COMPOUND, ["attack.unit=50", "attack.min_units=3"], TOO_MANY),
    "batch below k": (MOLES, ["victim.batch=9"], BATCH),
    "batch below k, compounded": (COMPOUND, ["victim.batch=9"], BATCH),
    "batch below k, by the control": (CONTROL, ["victim.batch=9"], BATCH),
    "pairs without an arrow": (MOLES, ["attack.pairs=dog"], f"pairs='dog': {PAIRS}"),
    "pairs with another arrow": (MOLES, ["attack.pairs=3>5"], f"pairs='3>5': {PAIRS}"),
    "no pairs": (MOLES, ["attack.pairs="], f"pairs='': {PAIRS}"),
    "pairs beside a class": (MOLES, ["attack.pairs=3<5", "attack.attacked=3"], "give one or the other"),
    "a sweep of words": (MOLES, ["attack.sweep_n=some"], f"sweep_n='some': {SWEEP}"),
    "a sweep with 0": (MOLES, ["attack.sweep_n=0,5"], f"sweep_n='0,5': {SWEEP}"),
    "a size twice": (MOLES, ["attack.sweep_n=5,5"], f"sweep_n='5,5': {SWEEP}"),
    "n = 0": (MOLES, ["attack.n=0"], "attack mole_recruitment: n = '0'; expected int >= 1"),
    "a line of words": (COMPOUND, ["attack.r=steep"], f"r='steep'; {LINE}"),
    "a line of one number": (COMPOUND, ["attack.r=0.5"], f"r='0.5'; {LINE}"),
    "a line of three": (COMPOUND, ["attack.r=1,2,3"], f"r='1,2,3'; {LINE}"),
    "a line that is not finite": (COMPOUND, ["attack.r=nan,0"], f"r='nan,0'; {LINE}"),
    "a percentile without a line": (COMPOUND, ["attack.percentile=96"], "for percentile 96 (there is: 95, 97, 99)"),
    "a percentile above 100": (COMPOUND, ["attack.percentile=101"], "percentile = '101'; expected int >= 1 and <= 100"),
    "rho of 1": (COMPOUND, ["attack.rho_min=1"], "rho_min = '1'; expected float >= 0 and < 1"),
    "another protocol": (COMPOUND, ["attack.protocol=mine"], "protocol = 'mine'; expected paper | as_released"),
    "another stem": (MOLES, ["victim.stem=vgg"], "stem = 'vgg'; expected imagenet | cifar"),
    "another arithmetic": (MOLES, ["victim.evaluation=float16"], "expected float32 | bfloat16"),
    "no epochs": (MOLES, ["victim.epochs=0"], "victim offline_resnet18: epochs = '0'; expected int >= 1"),
}


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """Folders that do not exist yet."""
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def words(attack: str, *settings: str, dataset: str = "digits") -> list[str]:
    named = ["run", "--attack", attack, "--victim", "offline_resnet18", "--dataset", dataset, "--profile", "tiny"]
    return [*named, "--offline", *(word for setting in settings for word in ("--set", setting))]


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize(("attack", "settings", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_in_a_line_and_nothing_is_trained_or_written(
    attack: str, settings: Sequence[str], says: str, bare: Workspace
) -> None:
    line = one_line(typed(bare, *words(attack, *settings)))
    assert line.startswith("molebench: ")
    assert says in line
    assert files(bare.store) == files(bare.cache) == []


def test_a_percentile_without_a_published_line_needs_one_of_the_user_s(bare: Workspace) -> None:
    # with a line it is not refused for its percentile any more, but for what comes next
    line = one_line(typed(bare, *words(COMPOUND, "attack.percentile=96", "attack.r=0.8,0.1", "victim.batch=9")))
    assert BATCH in line


ONE = '''"""Lonely: a dataset of one class."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import dataset
from molebench.types import Dataset, Samples
from molebench.workspace import Workspace


@dataset(paper="a test", licence="MIT")
@dataclass(frozen=True)
class Lonely:
    """No parameters."""

    def load(self, workspace: Workspace) -> Dataset:
        """Both splits."""
        samples = Samples(np.zeros((40, 8, 8, 1), np.uint8), np.zeros(40, np.int64))
        return Dataset("lonely", {SPLITS}, ("only", "never"))
'''


def plugin(folder: Path, splits: str) -> list[str]:
    """The words that add this dataset."""
    (folder / "lonely.py").write_text(ONE.replace("SPLITS", splits), "utf-8")
    return ["--plugin", str(folder / "lonely.py")]


@pytest.mark.parametrize("attack", [MOLES, COMPOUND, CONTROL, "none"])
def test_a_pool_of_one_class_is_refused(
    attack: str, bare: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    added = plugin(tmp_path, '"train": samples, "test": samples')
    line = one_line(typed(bare, *words(attack, dataset="lonely"), *added))
    assert "the pool holds images of one class; two or more are needed: choose another dataset" in line
    assert files(bare.store) == files(bare.cache) == []


def test_a_dataset_without_a_test_split_is_refused(
    bare: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    added = plugin(tmp_path, '"train": samples')
    line = one_line(typed(bare, *words(MOLES, dataset="lonely"), *added))
    assert "lonely" in line
    assert "test" in line
    assert files(bare.store) == files(bare.cache) == []


def test_a_victim_that_cannot_be_trained_on_single_images_fails_by_name(bare: Workspace) -> None:
    # an attack refuses such a batch itself; without one it is the victim's batch norms that cannot do with it
    done = typed(bare, *words("none", "victim.batch=1", "victim.pool=30", "victim.epochs=1"))
    assert done.returncode == 3, done.stderr
    assert "victim offline_resnet18 raised ValueError: Expected more than 1 value per channel" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(bare.store.rglob("record.json")) == []
