"""The continual scenario as a user types it: scorers from a probe and from a CLIP of one's own, faults in one line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from molebench import registry
from molebench.workspace import Workspace
from tests import small_clip
from tests.commands import one_line, typed

NAMES = ("run", "--attack", "continual_moles", "--victim", "cl_icarl", "--dataset", "split:digits", "--profile", "tiny")
SIZES = {"victim.pool": 300, "victim.exam": 100, "victim.epochs": 1, "victim.memory": 40, "attack.unit": 5}


def command(**given: Any) -> list[str]:
    """A run of seconds; `scorer__px=32` stands for --set scorer.px=32."""
    sets = SIZES | {name.replace("__", "."): value for name, value in given.items()}
    return [*NAMES, *(word for name, value in sets.items() for word in ("--set", f"{name}={value}"))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, fetched: Workspace) -> Path:
    """A CLIP that has seen a third of the training digits: it knows them, and not too well."""
    plugin = registry.find("datasets", "digits")
    digits = plugin.build(plugin.resolve({}, "tiny")).load(fetched)
    some = digits.splits["train"][::3]
    return small_clip.trained(tmp_path_factory.mktemp("clip") / "small", some.x, some.y, digits.classes)


def test_a_run_with_a_surrogate_shows_relative_changes_beside_the_controls(workspace: Workspace) -> None:
    done = typed(workspace, *command(scorer__px=32, attack__rho_min=0.05))
    assert done.returncode == 0, done.stderr
    for name in ("delta_a_rel", "delta_total_rel", "delta_a_rel_control", "delta_total_rel_vs_control", "n_pairs"):
        assert re.search(rf"^{name}  ", done.stdout, re.MULTILINE)
    assert "Task by task; change of the attacked class" in done.stdout
    assert "(classes.png, moles.png, tasks.png, task_matrix.png)" in done.stdout


def test_a_run_with_a_clip_of_ones_own_never_shows_it_the_victim(clip: Path, workspace: Workspace) -> None:
    given = {"attack__scorer": "clip", "scorer__model": clip, "scorer__pretrained": clip, "attack__rho_min": 0.05}
    done = typed(workspace, *command(**given), "--json", "--no-plots", "--offline")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert record["threat_model"]["knows"] == ["data"]
    assert record["cell"]["scorer"]["name"] == "clip"
    assert str(clip) not in done.stdout
    assert record["metrics"]["n_pairs"]["value"] >= 0
    assert any(update["moles"] for update in record["updates"])
    assert {"delta_total_rel", "delta_total_rel_vs_control"} <= record["metrics"].keys()


def test_a_clip_of_another_architecture_is_one_line_that_names_both(clip: Path, workspace: Workspace) -> None:
    given = {"attack__scorer": "clip", "scorer__model": "ViT-B-32", "scorer__pretrained": clip}
    line = one_line(typed(workspace, *command(**given), "--offline"))
    assert "ViT-B-32" in line
    assert not list(workspace.store.rglob("record.json"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dataset", "digits"), "try --dataset split:digits"),
        (("--set", "victim.tasks=11"), "choose 10 or fewer"),
        (("--set", "victim.tasks=3"), "splits 10 classes unevenly; choose one of 1, 2, 5, 10"),
        (("--set", "victim.memory=7"), "victim.memory=7 holds no exemplar of each of 10 classes"),
        (("--set", "attack.scorer=clop"), "no scorer named 'clop'; did you mean 'clip'?"),
        (("--set", "scorer.temperature=2"), "no parameter of scorer surrogate named 'temperature'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(words: tuple[str, ...], said: str, workspace: Workspace) -> None:
    assert said in one_line(typed(workspace, *command(), *words))
    assert not list(workspace.store.rglob("record.json"))
