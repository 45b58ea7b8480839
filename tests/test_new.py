"""Drafts of `molebench new`: they work as they are and replace nothing; tests/test_house.py asks for their style."""

import importlib.util
import os
from pathlib import Path
from unittest import mock

import pytest

from molebench import places
from molebench.drafts import KINDS, draft
from molebench.workspace import Workspace
from tests.commands import folders, one_line, typed


@pytest.fixture(autouse=True)
def _no_plug_ins_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_passes_conformance_and_its_own_test_as_it_is(kind: str, tmp_path: Path, workspace: Workspace) -> None:
    _, test = draft(kind, f"my_{kind}", tmp_path)
    spec = importlib.util.spec_from_file_location(test.stem, test)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [f for name, f in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 2
    with mock.patch.dict(os.environ, folders(workspace)):
        for each in tests:
            each()


def test_the_command_writes_to_the_folder_and_says_what_to_type_next(tmp_path: Path, fresh: Workspace) -> None:
    lines = typed(fresh, "new", "attack", "bright_ones", "--out", str(tmp_path / "mine")).stdout.splitlines()
    file = tmp_path / "mine" / "bright_ones.py"
    assert lines[0] == f"wrote {file} and {file.with_name('test_bright_ones.py')}"
    assert f"--attack bright_ones --victim al_efficientnet_lite0 --profile tiny --plugin {file}" in lines[1]
    assert lines[2].endswith(f"molebench conformance {file}")
    assert '[project.entry-points."molebench.attacks"]: bright_ones = "your_package.bright_ones"' in lines[4]
    assert "class BrightOnes:" in file.read_text("utf-8")
    assert "bright_ones" in typed(fresh, "list", "attacks", "--plugin", str(file)).stdout


def test_without_a_folder_it_writes_where_one_is(
    tmp_path: Path, fresh: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed(fresh, "new", "defense", "calm")
    assert sorted(f.name for f in tmp_path.glob("*.py")) == ["calm.py", "test_calm.py"]


@pytest.mark.parametrize("there", ["calm.py", "test_calm.py"])
def test_a_file_that_is_there_is_not_overwritten(there: str, tmp_path: Path, fresh: Workspace) -> None:
    (tmp_path / there).write_text("mine")
    line = one_line(typed(fresh, "new", "defense", "calm", "--out", str(tmp_path)))
    assert f"{tmp_path / there} is there already and is not overwritten" in line
    assert [f.name for f in tmp_path.glob("*calm*")] == [there]
    assert (tmp_path / there).read_text() == "mine"


REFUSED = {
    "taken": (("attack", "noise"), "attack noise is a taken name: it is attacks/noise.py (molebench)"),
    "a dash": (("attack", "my-attack"), "expected at most 30 lower-case letters, digits and _"),
    "a keyword": (("attack", "class"), "such as my_attack"),
    "a capital": (("victim", "Steady"), "such as my_victim"),
    "a path": (("attack", "../evil"), "expected at most 30 lower-case"),
    "a leading _": (("attack", "_hidden"), "a letter first"),
    "nothing": (("attack", ""), "a letter first"),
    "too long": (("attack", "a" * 31), "at most 30"),
    "another's name in the file": (("dataset", "samples"), "its file imports something of that name"),
    "a part that --set knows": (("victim", "victim"), "no word of --set"),
    "a module of Python's": (("attack", "random"), "no module of Python's"),
    "a test of its own": (("attack", "test_x"), "no test"),
    "no kind": (("atack", "mine"), "did you mean 'attack'?"),
    "a kind without a draft": (("scorer", "mine"), "no kind of plug-in named 'scorer'"),
}


@pytest.mark.parametrize(("words", "says"), REFUSED.values(), ids=REFUSED)
def test_a_name_that_cannot_be_used_is_refused(
    words: tuple[str, str], says: str, tmp_path: Path, fresh: Workspace
) -> None:
    assert says in one_line(typed(fresh, "new", *words, "--out", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
