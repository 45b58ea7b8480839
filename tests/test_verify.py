"""A submission verified as a user does: run in a sandbox, held to its claims, its records on the board."""

import json
import shutil
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from molebench.attesting import attest, attestations
from molebench.commands.verify import row
from molebench.errors import MolebenchError
from molebench.grid import Cell
from molebench.leaderboard.build import build
from molebench.leaderboard.loading import load
from molebench.leaderboard.placing import standings
from molebench.sandbox.box import Driver
from molebench.store import Store, load_records
from molebench.submission import packages, verifying
from molebench.submission.check import accepted
from molebench.submission.form import read
from molebench.submission.verifying import cells, judge
from molebench.workspace import Workspace
from tests.commands import SIZES, folders, predictions, typed
from tests.conftest import molebench
from tests.stored import FIRST, KEY
from tests.submitted import BREAK, SLUG, claim, fill, filled, renamed, with_records

SETTINGS = {name: int(value) for name, value in (word.split("=") for word in SIZES)}
WIDE = {"value": 0.0, "low": -90.0, "high": 90.0}
LOUD = '''"""Loud: adds the brightest images it has, as they are."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import attack
from molebench.types import AttackView, Poison, ThreatModel


@attack(paper="a test", threat=ThreatModel(may=frozenset({"inject"}), knows=frozenset({"data"})), scenarios=("active",))
@dataclass(frozen=True)
class Loud:
    """n_poison: how many."""

    n_poison: int = 40

    def craft(self, view: AttackView, rng: np.random.Generator) -> Poison:
        """The brightest."""
        index = np.argsort(view.base.x.reshape(len(view.base), -1).mean(axis=1))[-self.n_poison :]
        return Poison(view.base[index], index)
'''


def submitted(home: Path, **words: Any) -> Path:
    """A defense that keeps what it likes, with a claim that holds: of one seed, small."""
    folder = filled(home)
    return fill(folder, claims=[claim(folder, **WIDE, seeds=[0], set=SETTINGS, **words)])


def verified(folder: Path, home: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    """What typing it does."""
    return typed(home, "verify", str(folder), "--offline", *words)


def test_a_claim_that_holds_puts_records_on_the_board_and_says_how_they_came(
    driver: Driver, tmp_path: Path, fresh: Workspace
) -> None:
    folder = submitted(tmp_path / "submissions")
    done = verified(folder, fresh)
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout
    assert "tier: reproduced-tiny, 1 records" in done.stdout
    [record] = load_records(fresh.store)
    made = {c.name: c for c in record.components}[SLUG]
    assert made.origin == "submission"
    assert attestations(fresh.store)[record.record_sha256].by == f"molebench verify, {driver.name}"
    assert not (fresh.cache / "verifying").exists() or not list((fresh.cache / "verifying").iterdir())
    assert build(fresh.store, tmp_path / "site") == 1
    assert SLUG in (tmp_path / "site" / "data" / "board.csv").read_text("utf-8")
    page = (tmp_path / "site" / f"defense-{SLUG.replace('_', '-')}.html").read_text("utf-8")
    assert "A. Author" in page
    assert "reproduced-tiny" in (tmp_path / "site" / "cell" / f"{record.key}.html").read_text("utf-8")


def test_inside_and_outside_the_sandbox_it_answers_the_same_and_outside_says_so(
    driver: Driver, tmp_path: Path, fresh: Workspace
) -> None:
    folder, found = submitted(tmp_path / "submissions"), list[dict[str, bytes]]()
    for words in ((), ("--i-trust-this-code",)):
        store = tmp_path / f"store{len(found)}"
        home = Workspace(fresh.data, fresh.cache, store)
        assert verified(folder, home, *words).returncode == 0
        found.append(predictions(home))
    assert found[0] == found[1]
    assert len(found[0]) > 1
    [said] = attestations(store).values()
    assert (said.tier, said.by) == ("local-trusted", "molebench verify, unguarded")


def test_a_claim_that_does_not_hold_is_named_and_nothing_is_written(
    driver: Driver, tmp_path: Path, fresh: Workspace
) -> None:
    folder = submitted(tmp_path / "submissions")
    fill(folder, claims=[claim(folder, value=80.0, low=79.0, high=81.0)])
    done = verified(folder, fresh)
    assert done.returncode == 4
    assert "does not hold" in done.stdout
    assert "80.0 [79.0, 81.0]" in done.stdout
    assert "1 of 1 claims do not hold; nothing was written" in done.stderr
    assert not fresh.store.exists()


def test_code_that_ends_its_process_is_named_and_nothing_is_written(
    driver: Driver, tmp_path: Path, fresh: Workspace
) -> None:
    folder = submitted(tmp_path / "submissions")
    source = (folder / "defense.py").read_text("utf-8")
    (folder / "defense.py").write_text(
        source.replace("import numpy", "import os\n\nos._exit(0)\nimport numpy", 1), "utf-8"
    )
    done = verified(folder, fresh)
    assert done.returncode == 3
    assert f"defense {SLUG} at screen_pool: its process ended" in done.stderr
    assert not fresh.store.exists()


def test_the_parent_never_imports_what_is_submitted(driver: Driver, tmp_path: Path, fresh: Workspace) -> None:
    folder, proof = submitted(tmp_path / "submissions"), tmp_path / "was_here"
    source = (folder / "defense.py").read_text("utf-8")
    spy = f"from pathlib import Path\ntry:\n    Path({str(proof)!r}).touch()\nexcept OSError:\n    pass\nimport numpy"
    (folder / "defense.py").write_text(source.replace("import numpy", spy, 1), "utf-8")
    assert verified(folder, fresh).returncode == 0
    assert not proof.exists()
    assert verified(folder, fresh, "--i-trust-this-code").returncode == 0
    assert proof.exists()  # where it is let out it leaves it: the test would see it


def test_without_a_sandbox_it_refuses_and_says_how_to_get_one(tmp_path: Path, fresh: Workspace) -> None:
    folder = submitted(tmp_path / "submissions")
    done = molebench("verify", str(folder), "--offline", env={**folders(fresh), "PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "no sandbox to run a submission in" in done.stderr
    assert "apt-get install bubblewrap" in done.stderr
    assert not fresh.store.exists()


def test_a_faulty_submission_is_not_run(tmp_path: Path, fresh: Workspace) -> None:
    folder = fill(submitted(tmp_path / "submissions"), licence="mine", title="‮evil")
    done = verified(folder, fresh)
    assert done.returncode == 2
    faults = done.stderr.splitlines()
    assert all(line.startswith("fault: submission.yaml") for line in faults)
    assert all(any(word in line for line in faults) for word in ("licence", "U+202E"))
    assert not fresh.store.exists()


def test_a_profile_without_a_claim_names_those_that_have_one(tmp_path: Path, fresh: Workspace, driver: Driver) -> None:
    done = verified(submitted(tmp_path / "submissions"), fresh, "--profile", "small")
    assert done.returncode == 2
    assert "claims nothing at profile small; try --profile tiny" in done.stderr


@pytest.mark.parametrize("status", ["ok", "unhealthy", "invalid"])
def test_no_claim_rests_on_a_record_that_broke_the_rules(status: str, tmp_path: Path) -> None:
    form = read(with_records(tmp_path))
    verdict = judge(form.claims[0], [renamed(BREAK, status=status)])
    assert verdict.holds == (status != "invalid")
    assert row(1, verdict)[-1] == ("does not hold: a record is invalid" if status == "invalid" else "holds")


PATHS = {
    "a folder of ours": {"dataset": "folder", "set": {"dataset.path": "~"}},
    "a file of ours": {"set": {"extractor.weights": "/etc/passwd"}},
}


@pytest.mark.parametrize("words", PATHS.values(), ids=PATHS)
def test_a_claim_names_no_file_of_the_machine_that_verifies_it(words: dict[str, Any], tmp_path: Path) -> None:
    folder = filled(tmp_path / "submissions")
    fill(folder, claims=[claim(folder, **WIDE, seeds=[0], **words)])
    home = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)
    with pytest.raises(MolebenchError, match=r"^set: \w+\.\w+ = .* is a path; a submission reads no file of whoever"):
        verifying.verified(folder, accepted(folder), None, home)


def test_a_break_meets_a_submitted_defense_beside_it(driver: Driver, tmp_path: Path, fresh: Workspace) -> None:
    submitted(home := tmp_path / "submissions")
    folder = filled(home, "loud_break", "attack")
    (folder / "attack.py").write_text(LOUD, "utf-8")
    sizes = {name: value for name, value in SETTINGS.items() if not name.startswith("attack.")}
    words = {**WIDE, "seeds": [0], "set": sizes, "defenses": [SLUG], "metric": "delta_total_defended"}
    fill(folder, claims=[claim(folder, **words)], params={"n_poison": 10})
    done = verified(folder, fresh)
    assert done.returncode == 0, done.stderr
    [record] = load_records(fresh.store)
    assert record.cell["attack"]["name"] == "loud_break"
    assert [part["name"] for part in record.cell["defenses"]] == [SLUG]
    assert record.poison.n == 10
    [board] = standings(load(fresh.store), own=True)
    assert [(entry.defense, entry.worst) for entry in board.entries] == [(SLUG, "loud_break")]


def test_a_package_is_unpacked_by_its_hash_and_asked_by_its_entry_point(
    driver: Driver, tmp_path: Path, fresh: Workspace
) -> None:
    folder = submitted(tmp_path / "submissions")
    wheel = packed(folder, (folder / "defense.py").read_text("utf-8"))
    (folder / "defense.py").unlink()
    fill(folder, package=f"calm-screen==1.0 --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}")
    done = verified(folder, fresh)
    assert done.returncode == 0, done.stderr
    [record] = load_records(fresh.store)
    assert SLUG in {c.name for c in record.components}


def packed(folder: Path, source: str) -> Path:
    """A wheel whose one module is a submission's code."""
    info, path = "calm_screen-1.0.dist-info", folder / "calm_screen-1.0-py3-none-any.whl"
    files = {
        "its_module.py": source,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: calm-screen\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[molebench.defenses]\n{SLUG} = its_module\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))
    return path


def from_an_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has pip look for packages in a folder of indices."""
    real, words = subprocess.run, ["--index-url", folder.as_uri()]
    monkeypatch.setattr(subprocess, "run", lambda command, **more: real([*command, *words], **more))


@pytest.mark.parametrize("bomb", [False, True])
def test_a_wheel_from_the_index_is_looked_at_before_it_is_unpacked(
    bomb: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home := tmp_path / "index" / "calm-screen").mkdir(parents=True)
    wheel = packed(home, "x = 1\n")
    if bomb:
        with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("its_data.py", bytes(2**21))
    pinned = f"calm-screen==1.0 --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}"
    (home / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>', "utf-8")
    from_an_index(tmp_path / "index", monkeypatch)
    (submission := tmp_path / "it").mkdir()
    if bomb:
        with pytest.raises(MolebenchError, match=r"^package calm-screen==1\.0: .* unpacks to 2\d+ bytes from"):
            packages.unpacked(pinned, submission, tmp_path / "to", offline=False)
        assert not list(tmp_path.rglob("its_data.py"))
    else:
        there = packages.unpacked(pinned, submission, tmp_path / "to", offline=False)
        assert (there / "its_module.py").read_text("utf-8") == "x = 1\n"


def test_a_package_that_does_not_come_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, waits = subprocess.run, ["sleep", "20"]
    monkeypatch.setattr(subprocess, "run", lambda command, **more: real(waits, **more))
    monkeypatch.setattr(packages, "PATIENCE", 0.2)
    with pytest.raises(MolebenchError, match=r"^package calm==1\.0 cannot be had: pip took longer than 0\.2 s$"):
        packages.unpacked(f"calm==1.0 --hash=sha256:{'0' * 64}", tmp_path, tmp_path / "to", offline=False)


def test_other_seeds_than_the_claim_s_are_a_maintainer_s_to_choose(tmp_path: Path) -> None:
    form = read(submitted(tmp_path / "submissions"))
    assert [cell.seed for cell in cells(form, form.claims[0])] == [0]
    named = cells(form, form.claims[0], (7, 8))
    assert named[0] == Cell(
        attack="feature_collision",
        victim="al_efficientnet_lite0",
        defenses=(SLUG,),
        parameters=SETTINGS,
        profile="tiny",
        seed=7,
    )
    assert named[1].seed == 8


def test_a_record_that_nobody_can_reproduce_is_set_aside_and_one_that_is_the_same_is_vouched_for(
    driver: Driver, tmp_path: Path, fresh: Workspace
) -> None:
    folder = submitted(tmp_path / "submissions")
    assert verified(folder, fresh, "--i-trust-this-code").returncode == 0
    [first] = load_records(fresh.store)
    assert verified(folder, fresh).returncode == 0
    [same] = load_records(fresh.store)
    assert same.record_sha256 == first.record_sha256
    assert attestations(fresh.store)[first.record_sha256].tier == "reproduced-tiny"
    forged = json.loads(first.text())
    for arm in forged["arms"].values():
        arm["predictions_sha256"] = "0" * 64
    record = type(first).model_validate(forged).sealed()
    (fresh.store / "cells" / first.key / "record.json").write_text(record.text(), "utf-8")
    attest(fresh.store, [record], "reproduced", "nobody")
    assert verified(folder, fresh).returncode == 0
    [new] = load_records(fresh.store)
    assert {n: a.predictions_sha256 for n, a in new.arms.items()} == {
        n: a.predictions_sha256 for n, a in first.arms.items()
    }
    assert [path.name for path in (fresh.store / "superseded").iterdir()] == [f"{first.key}-01-unreproduced"]


LIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "what was measured of the poison": {
        "poison": {"sha256": "0" * 64, "n": 1, "violations": [], "unmet": [], "facts": {}}
    },
    "its health": {"status": "invalid"},
    "what it was shown": {"trusted_data": {"trusted": 0}},
}


@pytest.mark.parametrize("lie", LIES)
def test_of_a_record_with_the_same_predictions_nothing_is_vouched_for_that_did_not_come_out_again(
    lie: str, tmp_path: Path
) -> None:
    made, store = Store(tmp_path / "made"), Store(tmp_path / "store")
    record, forged = renamed(BREAK), renamed(BREAK, **LIES[lie])
    for each, said in ((made, record), (store, forged)):
        shutil.copytree(FIRST / "cells" / KEY, each.cell(record.key))
        (each.cell(record.key) / "record.json").write_text(said.text(), "utf-8")
    made.save_poison(record.poison.sha256, {"base": np.arange(3)})
    there = verifying.taken(record, made, store)
    assert (there == forged) == (lie == "nothing")
    assert store.get(record.key) == there
    poison = store.root / "poisons" / f"{record.poison.sha256}.safetensors"
    assert poison.is_file() == (lie != "nothing")
    assert len(list(store.root.glob("superseded/*-01-unreproduced"))) == (lie != "nothing")
