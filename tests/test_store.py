"""Records on disk: whole or not there, unchanged or named, set aside and kept when the code has moved on."""

import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from molebench.errors import MolebenchError
from molebench.grid import Cell, resolve
from molebench.nets import FrozenExtractor
from molebench.record import Record
from molebench.runner import changed, run
from molebench.stages import canonical, key, load_arrays, save_arrays
from molebench.store import Store, load_predictions, load_records, read_record
from molebench.workspace import Workspace
from tests.commands import SIZES, VICTIM, folders, new_home
from tests.conftest import ROOT

CELL = Cell(attack="noise", victim=VICTIM, profile="tiny", parameters=dict(size.split("=") for size in SIZES))


@pytest.fixture(scope="module")
def made(fetched: Workspace, lite0: FrozenExtractor, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which CELL has been run; never written to again."""
    workspace = new_home(fetched, tmp_path_factory.mktemp("made"))
    run(CELL, workspace)
    return workspace


@pytest.fixture
def store(made: Workspace, tmp_path: Path) -> Store:
    """A copy of that store."""
    shutil.copytree(made.store, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture
def record(store: Store) -> Record:
    (found,) = store.records()
    return found


@pytest.fixture
def path(store: Store, record: Record) -> Path:
    return store.cell(record.key) / "record.json"


def rewritten(path: Path, change: Callable[[dict[str, Any]], object], seal: bool = False) -> None:
    """Changes the content of a record's file; with `seal`, as whoever wrote it could have."""
    content = json.loads(path.read_text("utf-8"))
    change(content)
    text = Record.model_validate(content).sealed().text() if seal else json.dumps(content)
    path.write_text(text, "utf-8")


# Round trips


def test_a_record_read_is_the_record_written(record: Record, path: Path) -> None:
    assert path.read_text("utf-8") == record.text() == canonical(record.plain()) + "\n"
    assert Record.model_validate(record.plain()) == record
    assert record.sealed() == record
    assert record.key == resolve(CELL).key == path.parent.name
    assert load_records(path.parents[2]) == [record]


def test_the_seal_covers_every_field(record: Record) -> None:
    for name in record.plain().keys() - {"record_sha256"}:
        kept = {k: v for k, v in record.plain().items() if k not in (name, "record_sha256")}
        assert record.digest() not in (key(kept), key(kept | {name: "something else"})), name


def test_a_record_names_no_folder_machine_or_user(path: Path, made: Workspace) -> None:
    text = path.read_text("utf-8")
    places = {str(p) for p in (Path.cwd(), Path.home(), ROOT, made.store, made.cache, made.data, path.parents[2])}
    assert [place for place in places if place != "/" and place in text] == []
    assert re.findall(r'"/[^"]*"', text) == []  # no text that begins as an absolute path does
    for word in (socket.gethostname(), os.uname().nodename, getpass.getuser()):
        assert not re.search(rf"\b{re.escape(word)}\b", text), word


def test_a_cell_that_was_never_run_has_no_record(store: Store, record: Record) -> None:
    assert store.get(record.key) == record
    assert store.get("0" * 64) is None


# Damage


DAMAGE: dict[str, Callable[[str], str]] = {
    "cut short": lambda text: text[:-10],
    "empty": lambda text: "",
    "a list": lambda text: f"[{text}]",
    "an unknown field": lambda text: text.replace('{"arms"', '{"bonus":1,"arms"', 1),
    "an unknown field inside": lambda text: text.replace('"definition"', '"better":1,"definition"', 1),
    "not a number": lambda text: re.sub(r'"peak_memory_mib":[0-9.]+', '"peak_memory_mib":NaN', text),
    "infinity": lambda text: re.sub(r'"peak_memory_mib":[0-9.]+', '"peak_memory_mib":Infinity', text),
    "another schema": lambda text: text.replace("molebench.result/1", "molebench.order/1"),
    "a field missing": lambda text: re.sub(r'"scenario":"active",', "", text),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_named_and_never_used(damage: Callable[[str], str], store: Store, path: Path) -> None:
    text = path.read_text("utf-8")
    assert damage(text) != text
    path.write_text(damage(text), "utf-8")
    with pytest.raises(MolebenchError, match=rf"^record {path.parent.name[:12]}/record\.json is damaged .*move it"):
        list(store.records())
    with pytest.raises(MolebenchError, match="is damaged"):
        store.get(path.parent.name)


def test_bytes_that_are_no_text_are_damage_too(store: Store, path: Path) -> None:
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    with pytest.raises(MolebenchError, match="is damaged"):
        list(store.records())


def test_a_number_changed_by_hand_is_noticed(path: Path) -> None:
    rewritten(path, lambda r: r["metrics"]["accuracy_clean"].update(value=1.0))
    with pytest.raises(MolebenchError, match=rf"record {path.parent.name[:12]}/record\.json was changed after it was"):
        read_record(path)


def test_predictions_are_believed_only_while_they_are_the_record_s(path: Path, record: Record) -> None:
    arm = record.arms["clean_undefended"]
    file = path.parent / arm.predictions
    found = load_predictions(path.parent, arm)
    flipped = {**found, "predicted": (found["predicted"] + 1) % 10}
    save_arrays(file, flipped)  # whole, but not what the record says
    with pytest.raises(
        MolebenchError, match=rf"predictions clean_undefended\S+ of cell {record.key[:12]} are missing or"
    ):
        load_predictions(path.parent, arm)
    file.unlink()
    with pytest.raises(MolebenchError, match="are missing or changed"):
        load_predictions(path.parent, arm)


def test_a_poison_is_kept_by_its_content(store: Store, record: Record) -> None:
    (file,) = (store.folder / "poisons").iterdir()
    assert file.name == f"{record.poison.sha256}.safetensors"
    found = load_arrays(file)
    assert found
    assert len(found[0]["x"]) == record.poison.n
    file.write_bytes(b"")
    store.save_poison(record.poison.sha256, found[0])
    again = load_arrays(file)
    assert again
    assert (again[0]["x"] == found[0]["x"]).all()


# Code that changed


def test_a_record_of_other_code_is_set_aside_whole_and_made_again(
    made: Workspace, store: Store, record: Record, path: Path
) -> None:
    rewritten(path, lambda r: r["components"][1].update(code_sha256="0" * 64), seal=True)
    old, files = read_record(path), {f.name: f.read_bytes() for f in path.parent.iterdir()}
    assert changed(old, resolve(CELL)) == ["attack noise"]
    new = run(CELL, replace(made, store=store.folder))
    assert new.components == record.components
    assert new.arms == record.arms
    assert new.metrics == record.metrics
    aside = store.folder / "superseded" / f"{record.key}-01"
    assert {f.name: f.read_bytes() for f in aside.iterdir()} == files
    assert read_record(aside / "record.json") == old
    assert list(store.records()) == [new]


def test_each_record_set_aside_has_a_folder_of_its_own(store: Store, record: Record, path: Path) -> None:
    for _ in range(2):
        store.supersede(record.key)
        assert store.get(record.key) is None
        store.commit(record)
    assert sorted(f.name for f in (store.folder / "superseded").iterdir()) == [f"{record.key}-0{i}" for i in (1, 2)]


def test_failed_attempts_are_numbered_and_make_no_cell(store: Store) -> None:
    for message in ("one", "two"):
        store.failed("f" * 64, {"message": message})
    found = sorted((store.cell("f" * 64) / "attempts").iterdir())
    assert [(f.name, json.loads(f.read_text("utf-8"))["message"]) for f in found] == [
        ("01.json", "one"),
        ("02.json", "two"),
    ]
    assert store.get("f" * 64) is None
    assert len(list(store.records())) == 1


# The order of a commit


KILLED = """
import os, signal
from molebench.cli import main
from molebench.store import Store
Store.commit = lambda store, record: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def test_killed_between_data_and_record_the_cell_does_not_exist_and_is_run_again(
    made: Workspace, record: Record, tmp_path: Path
) -> None:
    workspace = replace(made, store=tmp_path / "killed")
    settings = [word for size in SIZES for word in ("--set", size)]
    words = ["run", "--attack", "noise", "--victim", VICTIM, "--profile", "tiny", "--offline", *settings]
    env = {**os.environ, **folders(workspace)}
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    store = Store(workspace.store)
    left = {f.name for f in store.cell(record.key).iterdir()}
    assert left == {"illustration.safetensors", *(arm.predictions for arm in record.arms.values())}
    assert store.get(record.key) is None
    assert list(store.records()) == []
    again = run(CELL, workspace)
    assert (again.key, again.metrics) == (record.key, record.metrics)
    assert load_records(workspace.store) == [again]
