"""Who runs a cell, and how many run at once, changes nothing that it finds. Real victims, real digits."""

import json
from pathlib import Path

import pytest

from tests.null_sweeps import molebench, record_texts

SWEEP = {
    "attack": "mole_recruitment",
    "victim": "offline_resnet18",
    "dataset": "digits",
    "profile": "tiny",
    "seed": [0, 1],
    "set": {"attack.attacked": "1", "attack.confounding": "8", "victim.epochs": 2},
}
WAYS = {
    "in this process": ("--executor", "serial", "--threads", "1"),
    "one worker": ("--workers", "1"),
    "two workers": ("--workers", "2"),
}


def predictions(home: Path) -> dict[str, list[str]]:
    """The digests of all that a cell predicted, by key."""
    found = {}
    for key, text in record_texts(home).items():
        record = json.loads(text)
        arms = [record["arms"], *(update["arms"] for update in record["updates"])]
        found[key] = [arm["predictions_sha256"] for each in arms for _, arm in sorted(each.items())]
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """What each way of running the sweep predicted, with an empty cache each."""
    every = {}
    for way, words in WAYS.items():
        home = tmp_path_factory.mktemp("same")
        file = home / "sweep.yaml"
        file.write_text(json.dumps(SWEEP), "utf-8")
        code, _, err = molebench(home, "sweep", str(file), "--no-plots", *words)
        assert code == 0, err
        every[way] = predictions(home)
    return every


@pytest.mark.parametrize("way", list(WAYS)[1:])
def test_predictions_are_the_same_whoever_runs_a_cell(way: str, found: dict[str, dict[str, list[str]]]) -> None:
    assert len(found[way]) == 2
    assert all(found[way].values())
    assert found[way] == found["in this process"]


def test_what_cells_share_is_computed_once_though_two_workers_want_it_at_once(tmp_path: Path) -> None:
    file, log = tmp_path / "sweep.yaml", tmp_path / "computed"
    content = {"attack": {"null_attack": {"n": list(range(6))}}, "victim": "null_victim", "seed": [0, 1]}
    file.write_text(json.dumps(content), "utf-8")
    code, _, err = molebench(tmp_path, "sweep", str(file), "--workers", "2", "--no-plots", NULL_LOG=str(log))
    assert code == 0, err
    assert len(record_texts(tmp_path)) == 12
    assert sorted(log.read_text("utf-8").split()) == ["0", "1"]


def test_a_repeat_check_runs_a_cell_twice_and_says_so(tmp_path: Path) -> None:
    words = ("--attack", "null_attack", "--victim", "null_victim", "--repeat-check")
    code, out, _ = molebench(tmp_path, "run", *words)
    assert (code, "agree in the poison and all predictions of 2 arms" in out) == (0, True)
    assert record_texts(tmp_path) == {}


def test_a_cell_that_does_not_repeat_is_named_with_exit_code_four(tmp_path: Path) -> None:
    words = ("--attack", "null_attack", "--victim", "null_victim", "--repeat-check", "--set", "victim.behaves=wavers")
    code, _, err = molebench(tmp_path, "run", *words, "--set", "victim.seeds=0")
    assert code == 4
    assert "two runs differ in clean_undefended, poisoned_undefended" in err.splitlines()[-1]
