"""The command line as a user meets it: what it lists, what it says of a mistake, and whole runs up to the record."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from molebench import registry
from molebench.nets import FrozenExtractor
from molebench.record import Record
from molebench.store import Store, load_predictions, load_records
from molebench.workspace import Workspace
from tests.commands import SMALL, TINY, VICTIM, folders, new_home, one_line, predictions, typed
from tests.conftest import ROOT, molebench

# What there is


def test_listing_imports_neither_torch_nor_tensorflow_nor_timm() -> None:
    program = (
        "import sys; sys.argv = ['molebench', 'list', '--json']\n"
        "from molebench.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as left:\n    assert not left.code\n"
        "print(sorted({'torch', 'tensorflow', 'timm', 'scipy', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "[]"
    assert {row["name"] for row in json.loads(done.stdout)} >= {"feature_collision", VICTIM, "photo_patches"}


@pytest.mark.parametrize("kind", ["attacks", "victims", "defenses", "datasets", "extractors", "benchmarks"])
def test_every_file_of_a_folder_is_listed_with_a_summary(kind: str, fresh: Workspace) -> None:
    there = ROOT / ("molebench/extractors" if kind == "extractors" else kind)
    files = {f.stem for f in there.glob("*.yaml" if kind == "benchmarks" else "*.py")}
    rows = json.loads(typed(fresh, "list", kind, "--json").stdout)
    assert {row["name"] for row in rows} == files
    assert all(row["kind"] == kind and row["summary"] for row in rows)
    text = typed(fresh, "list", kind).stdout
    assert all(f"  {row['name']}" in text and row["summary"] in text for row in rows)


@pytest.mark.parametrize("name", sorted({n for kind in registry.KINDS for n in registry.files(kind)}))
def test_every_plug_in_is_described_with_each_of_its_parameters(name: str, fresh: Workspace) -> None:
    text = typed(fresh, "describe", name).stdout
    for card in json.loads(typed(fresh, "describe", name, "--json").stdout):
        plugin = registry.find(f"{card['kind']}s", name)
        assert [p["name"] for p in card["parameters"]] == list(plugin.parameters)
        assert all(p["allowed"] and p["meaning"] for p in card["parameters"]), card["parameters"]
        assert all(f"  {p['name']} = " in text for p in card["parameters"])
        assert card["summary"].splitlines()[0] in text


def test_describe_gives_types_ranges_and_defaults(fresh: Workspace) -> None:
    (card,) = json.loads(typed(fresh, "describe", "feature_collision", "--json").stdout)
    allowed = {p["name"]: (p["allowed"], p["default"]) for p in card["parameters"]}
    assert allowed["steps"] == ("int >= 1", 75)
    assert allowed["target"] == ("zero | one | mean | neighbour", "zero")
    assert allowed["tolerance"][0] == "float >= 0 and < 1"
    assert card["threat_model"] == {
        "may": ["inject", "perturb"],
        "knows": ["data", "extractor"],
        "norm": None,
        "bound": None,
    }


def test_citing_a_victim_cites_its_network_the_paper_and_molebench(fresh: Workspace) -> None:
    text = typed(fresh, "cite", "al_resnet50").stdout
    assert [key in text for key in ("he2016resnet", "mueller2021adversarial", "@software{molebench")] == [True] * 3
    assert text.count("{") == text.count("}")


def test_the_doctor_finds_nothing_wrong_where_nothing_is(workspace: Workspace) -> None:
    done = typed(workspace, "doctor", "--offline", "--json")
    found = {row["what"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0
    assert found["store folder"] == {"what": "store folder", "ok": True, "says": str(workspace.store)}
    assert found["network"]["says"] == "not used (offline)"
    assert "ok     store folder" in typed(workspace, "doctor", "--offline").stdout


def test_the_doctor_names_a_store_that_is_a_file(workspace: Workspace) -> None:
    workspace.store.write_text("not a folder")
    done = typed(workspace, "doctor", "--offline")
    assert done.returncode == 4
    assert "FAULT  store folder: cannot write below" in done.stdout


# Mistakes


RUN = ("run", "--attack", "feature_collision", *TINY)
NOT_THERE = {
    "attack": (("run", "--attack", "feature_colision", *TINY), "did you mean 'feature_collision'?"),
    "victim": (("run", "--attack", "noise", "--victim", "al_resnet"), "did you mean 'al_resnet50'?"),
    "dataset": ((*RUN, "--dataset", "photo_patch"), "did you mean 'photo_patches'?"),
    "defense": ((*RUN, "--defense", "non"), "did you mean 'none'?"),
    "profile": ((*RUN, "--profile", "tinny"), "did you mean 'tiny'?"),
    "parameter": ((*RUN, "--set", "attack.n_posion=5"), "did you mean 'n_poison'?"),
    "part": ((*RUN, "--set", "atack.steps=5"), "did you mean 'attack'?"),
    "parameter of another attack": (("run", "--attack", "noise", *TINY, "--set", "attack.steps=5"), "n_poison, psnr"),
    "the victim's extractor": ((*RUN, "--set", "victim.extractor=resnet50"), "head"),
    "kind": (("list", "attack"), "did you mean 'attacks'?"),
    "plug-in": (("describe", "noize"), "did you mean 'noise'?"),
    "plug-in to cite": (("cite", "feature_collide"), "feature_collision"),
    "data": (("data", "fetch", "resnet5", "--offline"), "did you mean 'resnet50'?"),
}


@pytest.mark.parametrize(("words", "hint"), NOT_THERE.values(), ids=NOT_THERE)
def test_a_name_that_does_not_exist_is_answered_with_the_nearest(
    words: Sequence[str], hint: str, bare: Workspace
) -> None:
    line = one_line(typed(bare, *words))
    assert " named '" in line
    assert hint in line
    assert not bare.store.exists()
    assert not bare.cache.exists()


WRONG = {
    "steps=0": ("attack.steps=0", "attack feature_collision: steps = '0'; expected int >= 1 (default 75)"),
    "steps=abc": ("attack.steps=abc", "attack feature_collision: steps = 'abc'; expected int >= 1 (default 75)"),
    "steps=nan": ("attack.steps=nan", "attack feature_collision: steps = 'nan'; expected int >= 1 (default 75)"),
    "steps=1.5": ("attack.steps=1.5", "steps = '1.5'; expected int >= 1"),
    "steps=": ("attack.steps=", "steps = ''; expected int >= 1"),
    "lr=nan": ("attack.lr=nan", "attack feature_collision: lr = 'nan'; expected float > 0 (default 1.5)"),
    "lr=inf": ("attack.lr=inf", "attack feature_collision: lr = 'inf'; expected float > 0 (default 1.5)"),
    "lr=-1": ("attack.lr=-1", "lr = '-1'; expected float > 0"),
    "tolerance=1": ("attack.tolerance=1", "tolerance = '1'; expected float >= 0 and < 1"),
    "balance=maybe": ("attack.balance=maybe", "balance = 'maybe'; expected bool"),
    "head=nn3": ("victim.head=nn3", f"victim {VICTIM}: head = 'nn3'; expected nn1 | nn2 (default 'nn1')"),
    "head=inf": ("victim.head=inf", "expected nn1 | nn2"),
    "seed=-1": ("victim.seed=-1", "seed = '-1'; expected int >= 0 or nothing"),
    "no equals sign": ("attack.steps", "--set attack.steps: expected part.parameter=value"),
    "no dot": ("steps=5", "--set steps=5: expected part.parameter=value"),
    "nothing": ("", "expected part.parameter=value"),
}


@pytest.mark.parametrize(("setting", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_named_with_what_is_allowed(setting: str, says: str, bare: Workspace) -> None:
    assert says in one_line(typed(bare, *RUN, "--set", setting))
    assert not bare.store.exists()
    assert not bare.cache.exists()


OPTIONS = {
    "negative seed": ((*RUN, "--seed", "-1"), ("--seed", "-1")),
    "no number as a seed": ((*RUN, "--seed", "one"), ("--seed", "one")),
    "no trials": ((*RUN, "--trials", "0"), ("--trials", "0")),
    "no victim": (("run", "--attack", "noise"), ("--victim",)),
    "unknown option": ((*RUN, "--sed", "1"), ("--sed", "--seed")),
    "unknown command": (("rnu",), ("rnu",)),
}


@pytest.mark.parametrize(("words", "says"), OPTIONS.values(), ids=OPTIONS)
def test_a_wrong_option_is_one_line_too(words: Sequence[str], says: Sequence[str], bare: Workspace) -> None:
    line = one_line(typed(bare, *words))
    assert all(part in line for part in says)
    assert not bare.store.exists()


@pytest.mark.parametrize("threads", ["two", "-1"])
def test_a_wrong_number_of_threads_is_named(threads: str, workspace: Workspace) -> None:
    line = one_line(typed(workspace, "run", "--attack", "none", *TINY, threads=threads))
    assert "MOLEBENCH_THREADS" in line
    assert threads in line


def test_a_mistake_in_a_real_process_is_one_line_without_a_traceback(bare: Workspace) -> None:
    done = molebench(*RUN, "--set", "attack.steps=0", env=folders(bare))
    assert one_line(done).startswith("molebench: attack feature_collision: steps = '0'")


def test_a_reader_that_left_ends_the_listing_quietly(bare: Workspace) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `molebench list | head -0` does
    words = [sys.executable, "-m", "molebench", "list"]
    env = {**os.environ, **folders(bare)}
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env, check=False)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode in (0, 141)


# Whole runs


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """Folders that do not exist yet."""
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


@pytest.fixture(scope="module")
def home(fetched: Workspace, lite0: FrozenExtractor, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return new_home(fetched, tmp_path_factory.mktemp("home"))


COLLISION = ("run", "--attack", "feature_collision", *SMALL)


@pytest.fixture(scope="module")
def first(home: Workspace) -> subprocess.CompletedProcess[str]:
    """A feature collision, run as a user would, in a process of its own."""
    return molebench(*COLLISION, "--json", env=folders(home))


def the_record(done: subprocess.CompletedProcess[str]) -> Record:
    """The one record in what a command printed."""
    (row,) = json.loads(done.stdout)
    return Record.model_validate(row)


def test_a_run_prints_nothing_but_a_json_array_of_its_record(
    first: subprocess.CompletedProcess[str], home: Workspace
) -> None:
    assert first.returncode == 0, first.stderr
    record = the_record(first)
    assert record == Store(home.store).get(record.key)
    assert record.digest() == record.record_sha256
    assert "Traceback" not in first.stderr


def test_the_figures_follow_from_the_predictions_on_disk(
    first: subprocess.CompletedProcess[str], home: Workspace
) -> None:
    record = the_record(first)
    found = {n: load_predictions(Store(home.store).cell(record.key), arm) for n, arm in record.arms.items()}
    assert set(found) == {"clean_undefended", "poisoned_undefended", "control_undefended"}
    right = {name: arrays["y"] == arrays["predicted"] for name, arrays in found.items()}
    clean, poisoned = (
        100.0 * right[name].sum() / len(right[name]) for name in ("clean_undefended", "poisoned_undefended")
    )
    values = {name: metric.value for name, metric in record.metrics.items()}
    assert values["accuracy_clean"] == pytest.approx(clean / 100)
    assert values["accuracy_poisoned"] == pytest.approx(poisoned / 100)
    assert values["delta_total"] == pytest.approx(poisoned - clean)
    assert values["accuracy_control"] == pytest.approx(right["control_undefended"].mean())
    for name, arm in record.arms.items():
        k = len(record.data.classes)
        table = np.zeros((k, k), dtype=int)
        np.add.at(table, (found[name]["y"], found[name]["predicted"]), 1)
        assert arm.confusion == table.tolist()
        assert (sum(arm.n), sum(arm.correct)) == (len(right[name]), right[name].sum())


def test_the_attack_collides_and_is_asked_for(first: subprocess.CompletedProcess[str]) -> None:
    record = the_record(first)
    assert record.metrics["collision_ratio"].value < 0.25
    assert record.poison.n == 10
    assert record.poison.violations == []


def test_a_second_run_takes_the_record_from_the_store(first: subprocess.CompletedProcess[str], home: Workspace) -> None:
    path = Store(home.store).cell(the_record(first).key) / "record.json"
    before = path.stat()
    again = typed(home, *COLLISION, "--json")
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert again.stderr == ""  # no progress: nothing was computed
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_without_json_a_table_and_the_record_s_place_are_printed(
    first: subprocess.CompletedProcess[str], home: Workspace
) -> None:
    record, lines = the_record(first), typed(home, *COLLISION).stdout.splitlines()
    assert lines[0].startswith(f"feature_collision against {VICTIM} on photo_patches, no defense, profile tiny, seed 0")
    assert "95 % over test items" in lines[1]
    row = next(line.split() for line in lines if line.startswith("accuracy_clean "))
    assert row[1] == f"{record.metrics['accuracy_clean'].value:.3f}"
    (place,) = [line.removeprefix("record: ") for line in lines if line.startswith("record: ")]
    assert json.loads(Path(place).read_text("utf-8")) == json.loads(first.stdout)[0]


def test_another_attack_in_the_same_folders_reuses_the_clean_arm(
    first: subprocess.CompletedProcess[str], home: Workspace, tmp_path: Path
) -> None:
    stages = home.cache / "stages"
    before = set(stages.rglob("*.safetensors"))
    words = ("run", "--attack", "noise", *SMALL, "--json")
    record = the_record(typed(replace(home, store=tmp_path / "store"), *words))
    made = sorted(f.parent.name for f in set(stages.rglob("*.safetensors")) - before)
    # the poisoned arm, its poison, and the control's from the attack's stream; clean and control arms were there
    assert made == ["arms", "features", "poison", "poison"]
    assert {"arm clean", "arm control"} <= set(record.reused)
    assert {"features of pool", "features of test1", "features of test2"} <= set(record.reused)
    clean = "clean_undefended"
    assert record.arms[clean].predictions_sha256 == the_record(first).arms[clean].predictions_sha256


def test_fresh_folders_give_the_same_predictions_to_the_byte(
    first: subprocess.CompletedProcess[str], home: Workspace, fetched: Workspace, tmp_path: Path
) -> None:
    elsewhere = new_home(fetched, tmp_path / "elsewhere")
    record = the_record(typed(elsewhere, *COLLISION, "--json"))
    mine = {n: b for n, b in predictions(home).items() if record.key in n or record.poison.sha256 in n}
    assert len(mine) == 5  # three arms, the poison, and what the pictures need
    assert predictions(elsewhere) == mine
    assert record.metrics == the_record(first).metrics


def test_two_trials_are_two_records_and_a_table_over_seeds(
    first: subprocess.CompletedProcess[str], home: Workspace
) -> None:
    text = typed(home, *COLLISION, "--trials", "2").stdout
    assert "seeds 0-1" in text.splitlines()[0]
    assert "95 % over 2 seeds" in text.splitlines()[1]
    places = [Path(line.removeprefix("record: ")) for line in text.splitlines() if line.startswith("record: ")]
    records = [Record.model_validate_json(place.read_text("utf-8")) for place in places]
    assert [r.seeds["cell"] for r in records] == [0, 1]
    assert records[0] == the_record(first)
    assert records[0].group == records[1].group
    mean = np.mean([r.metrics["accuracy_clean"].value for r in records])
    row = next(line.split() for line in text.splitlines() if line.startswith("accuracy_clean "))
    assert row[1] == f"{mean:.3f}"
    both = json.loads(typed(home, *COLLISION, "--trials", "2", "--json").stdout)
    assert [Record.model_validate(row) for row in both] == records


@pytest.mark.parametrize("form", ["md", "html", "csv", "latex", "plain"])
def test_a_report_names_every_record_in_each_format(
    form: str, first: subprocess.CompletedProcess[str], home: Workspace
) -> None:
    text = typed(home, "report", "--format", form).stdout
    assert load_records(home.store)
    assert text.replace("\\_", "_").count("feature_collision") == 1  # one row: seeds are averaged


def test_a_report_in_an_unknown_format_names_those_there_are(
    first: subprocess.CompletedProcess[str], home: Workspace
) -> None:
    assert "no report format named 'htm'; did you mean 'html'?" in one_line(typed(home, "report", "--format", "htm"))


def test_a_report_without_records_says_how_to_make_one(bare: Workspace) -> None:
    assert "make one with molebench run" in one_line(typed(bare, "report"))
