"""A cell that is there is found again by its names and the text of the code, without importing what it would run."""

import subprocess
import sys
from pathlib import Path

import pytest

from molebench import codehash
from molebench.grid import Cell, resolve
from molebench.recalling import note, recalled, remember
from molebench.runner import run
from molebench.store import Store
from molebench.workspace import Workspace
from tests.commands import SIZES, SMALL, folders, typed
from tests.conftest import ROOT

CELL = Cell(
    attack="noise",
    victim="al_efficientnet_lite0",
    profile="tiny",
    parameters={word.partition("=")[0]: word.partition("=")[2] for word in SIZES},
)
PROGRAM = """
import sys
from molebench.cli import main
sys.argv = ["molebench", *sys.argv[1:]]
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def home(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A store with one cell, run and noted."""
    made = Workspace(fetched.data, tmp_path_factory.mktemp("recalled"), tmp_path_factory.mktemp("store"))
    (made.cache / "weights").symlink_to((fetched.cache / "weights").resolve())
    assert recalled(CELL, made) is None
    run(CELL, made)
    assert recalled(CELL, made) is None
    remember(CELL, resolve(CELL), made)
    return made


def test_what_ran_is_recalled_with_all_that_its_record_says(home: Workspace) -> None:
    found = recalled(CELL, home)
    assert found == Store(home.store).get(resolve(CELL).key)
    assert found is not None
    assert recalled(CELL.model_copy(update={"seed": 1}), home) is None


def test_the_same_words_print_the_same_without_pytorch(home: Workspace) -> None:
    words = ("run", "--attack", "noise", *SMALL)
    first = typed(home, *words)
    again = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**folders(home), "PATH": ""},
        check=True,
    )
    assert again.stdout == first.stdout
    assert "accuracy_poisoned" in again.stdout
    assert again.stderr.splitlines()[-1] == "False"


def test_edited_code_is_looked_up_again(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = codehash.code_sha256
    edited = {"molebench.attacks.noise": "0" * 64}
    monkeypatch.setattr(codehash, "code_sha256", lambda module: edited.get(module) or sha(module))
    assert recalled(CELL, home) is None


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"key": "x", "modules": {}}', '{"key": 1, "modules": [2]}'])
def test_a_note_that_says_nothing_is_passed_over(home: Workspace, text: str) -> None:
    path = note(CELL, home)
    kept = path.read_text("utf-8")
    path.write_text(text, "utf-8")
    assert recalled(CELL, home) is None
    path.write_text(kept, "utf-8")
    assert recalled(CELL, home)


def test_a_name_that_means_another_file_is_looked_up_again(home: Workspace) -> None:
    path = note(CELL, home)
    kept = path.read_text("utf-8")
    path.write_text(kept.replace("molebench.attacks.noise", "molebench.attacks.none"), "utf-8")
    assert recalled(CELL, home) is None
    path.write_text(kept, "utf-8")


def test_a_damaged_record_is_not_recalled(home: Workspace) -> None:
    path = Store(home.store).cell(resolve(CELL).key) / "record.json"
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b'"seeds"', b'"sedes"', 1))
    assert recalled(CELL, home) is None
    path.write_bytes(kept)


def test_a_cell_with_a_file_of_the_user_s_is_never_noted(home: Workspace, tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "x.txt").write_text("x", "utf-8")
    cell = CELL.model_copy(update={"dataset": "folder", "parameters": {"dataset.path": str(tmp_path / "images")}})
    remember(cell, resolve(cell), home)
    assert not note(cell, home).exists()
