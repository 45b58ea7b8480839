"""Cells and sweeps: what makes a key, and sweeps that run, skip and go on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from molebench.attacks.noise import Noise
from molebench.errors import MolebenchError
from molebench.grid import Cell, Resolved, resolve
from molebench.nets import FrozenExtractor
from molebench.runner import run
from molebench.store import load_records
from molebench.sweep_file import load_sweep
from molebench.workspace import Workspace
from tests.commands import SIZES, VICTIM, typed


def resolved(**more: Any) -> Resolved:
    """A feature collision against the small victim."""
    return resolve(Cell.model_validate({"attack": "feature_collision", "victim": VICTIM, "profile": "tiny", **more}))


# Keys


def test_a_default_given_explicitly_is_the_same_cell() -> None:
    assert resolved(parameters={"attack.steps": 75}).key == resolved().key
    assert resolved(parameters={"victim.seed": None}).key == resolved().key
    assert resolved(dataset="photo_patches").key == resolved().key


def test_text_and_number_of_one_value_are_the_same_cell() -> None:
    as_number, as_text = (resolved(parameters={"attack.steps": steps}) for steps in (50, "50"))
    assert as_number.key == as_text.key != resolved().key


def test_a_class_that_yaml_reads_as_a_number_is_its_name() -> None:
    moles = {"attack": "mole_recruitment", "victim": "offline_resnet18", "dataset": "digits"}
    as_number, as_text = (resolved(**moles, parameters={"attack.attacked": name}) for name in (3, "3"))
    assert as_number.key == as_text.key != resolved(**moles).key
    with pytest.raises(MolebenchError, match="attacked = True; expected"):
        resolved(**moles, parameters={"attack.attacked": True})  # YAML's yes


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {"attack.steps": 76}},
        {"parameters": {"victim.head": "nn2"}},
        {"parameters": {"dataset.crop": 13}},
        {"parameters": {"extractor.weights": "random"}},
        {"parameters": {"attack.balance": "false"}},
        {"attack": "noise"},
        {"victim": "al_resnet50"},
        {"dataset": "digits"},
        {"seed": 1},
    ],
    ids=str,
)
def test_anything_that_may_change_the_result_is_another_cell(more: dict[str, Any]) -> None:
    assert resolved(**more).key != resolved().key


def test_the_profile_sets_sizes_where_none_are_given() -> None:
    sizes = {
        profile: resolved(profile=profile).parts["victim"].values["pool"] for profile in ("tiny", "small", "paper")
    }
    assert sizes == {"tiny": 800, "small": 4800, "paper": 40000}
    assert resolved(parameters={"victim.pool": 900}).parts["victim"].values["pool"] == 900


def test_a_seed_changes_the_key_but_not_the_group() -> None:
    zero, one = resolved(seed=0), resolved(seed=1)
    assert zero.key != one.key
    assert zero.group == one.group
    assert zero.group != resolved(parameters={"attack.steps": 76}).group


def test_the_order_of_parameters_does_not_matter() -> None:
    given = {"attack.steps": 10, "victim.queries": 30, "attack.lr": 0.5}
    assert resolved(parameters=given).key == resolved(parameters=dict(reversed(given.items()))).key


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of two classes."""
    for name, grey in (("cat", 20), ("dog", 200)):
        for i in range(3):
            file = tmp_path / "here" / "pets" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (grey + i,) * 3).save(file)
    return tmp_path / "here" / "pets"


def on(path: Path | str) -> Resolved:
    return resolved(dataset="folder", parameters={"dataset.path": str(path)})


def test_a_path_is_published_by_name_and_content_whatever_its_folder(pets: Path, tmp_path: Path) -> None:
    here = on(pets)
    text = json.dumps(here.canonical)
    assert here.canonical["dataset"]["parameters"]["path"].startswith("pets@sha256:")
    assert str(tmp_path) not in text
    assert "here" not in text
    (tmp_path / "there").mkdir()
    moved = on(pets.rename(tmp_path / "there" / "pets"))
    assert moved.key == here.key


def test_another_content_at_the_same_path_is_another_cell(pets: Path) -> None:
    before = on(pets).key
    Image.new("RGB", (4, 4), (90, 90, 90)).save(pets / "cat" / "0.png")
    assert on(pets).key != before


def test_a_path_reads_the_same_with_and_without_a_slash_or_dots(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pets)
    assert {on(path).key for path in (pets, f"{pets}/", ".", pets / "cat" / "..", "../pets")} == {on(pets).key}


def test_a_folder_that_happens_to_be_called_imagenet_is_not_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resolved()
    for name in ("imagenet", "random"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolved().canonical["extractor"]["parameters"] == {"weights": "imagenet"}
    assert resolved().key == before.key
    assert resolved(parameters={"extractor.weights": "random"}).canonical["extractor"]["parameters"] == {
        "weights": "random"
    }


def test_a_required_parameter_that_is_missing_is_named() -> None:
    with pytest.raises(MolebenchError, match=r"dataset folder needs --set dataset\.path=\.\.\."):
        resolved(dataset="folder")


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def cells(path: Path) -> list[Cell]:
    return list(load_sweep(path).cells())


def plan(workspace: Workspace, path: Path) -> list[str]:
    """The lines of a dry run."""
    done = typed(workspace, "sweep", str(path), "--dry-run", "--offline")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# Sweeps that run


SETTINGS = ", ".join(f"{name}: {value}" for name, value in (size.split("=") for size in SIZES))
PAIR = f"profile: tiny\nvictim: {VICTIM}\nattack: [none, noise]\nset: {{{SETTINGS}}}\n"


def test_a_sweep_says_what_it_would_do_does_it_and_skips_it_then(
    written: Callable[[str], Path], workspace: Workspace, lite0: FrozenExtractor
) -> None:
    path = written(PAIR)
    lines = plan(workspace, path)
    assert [line.split()[1:5] for line in lines[:2]] == [["to", "run", a, VICTIM] for a in ("none", "noise")]
    assert lines[-1] == "2 cells, 0 done"
    assert not workspace.store.exists()
    done = typed(workspace, "sweep", str(path), "--offline", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["cell"]["attack"]["name"] for row in json.loads(done.stdout)] == ["none", "noise"]
    assert "ok        noise al_efficientnet_lite0" in done.stderr
    assert {r.key[:12] for r in load_records(workspace.store)} == {line.split()[0] for line in lines[:2]}
    assert plan(workspace, path)[-1] == "2 cells, 2 done"
    again = typed(workspace, "sweep", str(path), "--offline", "--json")
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert again.stderr == ""
    table = typed(workspace, "sweep", str(path), "--offline").stdout
    assert "2 of 2 cells have a record" in table


def test_a_sweep_takes_what_run_has_made_already(
    written: Callable[[str], Path], workspace: Workspace, lite0: FrozenExtractor
) -> None:
    path = written(PAIR)
    record = run(cells(path)[1], workspace)
    lines = plan(workspace, path)
    assert [line.split()[1] for line in lines[:2]] == ["to", "done"]
    assert lines[1].split()[0] == record.key[:12]


def test_a_cell_that_fails_is_named_and_the_others_go_on(
    written: Callable[[str], Path], workspace: Workspace, lite0: FrozenExtractor
) -> None:
    path = written(PAIR.replace("victim.queries: 10", "victim.queries: [5000, 10]"))  # more labels than the pool has
    done = typed(workspace, "sweep", str(path), "--offline")
    assert done.returncode == 3, done.stderr
    assert "2 of 4 cells have a record" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("molebench: 2 cells failed: ")
    assert "fewer queries" in last
    assert len(load_records(workspace.store)) == 2
    attempts = list(workspace.store.rglob("attempts/01.json"))
    assert len(attempts) == 2
    assert "Traceback" not in done.stderr


def test_an_attack_that_breaks_fails_its_own_cell_only(
    written: Callable[[str], Path],
    workspace: Workspace,
    lite0: FrozenExtractor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Noise, "craft", broken)
    path = written(PAIR.replace("[none, noise]", "[noise, none]") + "seed: 7\n")  # a seed the cache has not seen
    done = typed(workspace, "sweep", str(path), "--offline", "--executor", "serial")
    assert done.returncode == 3, done.stderr
    assert "1 of 2 cells have a record" in done.stdout
    assert "boom" in done.stderr.splitlines()[-1]
    (attempt,) = workspace.store.rglob("attempts/01.json")
    assert "boom" in json.loads(attempt.read_text("utf-8"))["message"]
    assert [r.cell["attack"]["name"] for r in load_records(workspace.store)] == ["none"]
