"""Cells and sweeps: what makes a key, what a sweep file may say, and sweeps that run, skip and go on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from molebench.attacks.noise import Noise
from molebench.errors import MolebenchError
from molebench.grid import Cell, Resolved, Sweep, load_sweep, resolve
from molebench.nets import FrozenExtractor
from molebench.runner import run
from molebench.store import load_records
from molebench.workspace import Workspace
from tests.commands import SIZES, VICTIM, one_line, typed


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


# Sweep files


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def cells(path: Path) -> list[Cell]:
    return list(load_sweep(path).cells())


def test_a_sweep_is_the_product_of_its_lists_with_seeds_slowest(written: Callable[[str], Path]) -> None:
    found = cells(written(f"victim: [{VICTIM}]\nattack: [none, noise]\nseed: [0, 1]\nset: {{victim.head: [nn1, nn2]}}"))
    assert [(c.seed, c.attack, c.parameters["victim.head"]) for c in found] == [
        (0, "none", "nn1"),
        (0, "none", "nn2"),
        (0, "noise", "nn1"),
        (0, "noise", "nn2"),
        (1, "none", "nn1"),
        (1, "none", "nn2"),
        (1, "noise", "nn1"),
        (1, "noise", "nn2"),
    ]


def test_a_scalar_stands_for_a_list_of_one_and_the_file_s_name_for_a_name(written: Callable[[str], Path]) -> None:
    path = written(
        f"victim: {VICTIM}\nattack: noise\nseed: 3\ndataset: digits\ndefense: none\nset: {{attack.psnr: 20}}"
    )
    assert load_sweep(path).name == "mine"
    assert cells(path) == [
        Cell(attack="noise", victim=VICTIM, dataset="digits", parameters={"attack.psnr": 20}, seed=3)
    ]


def test_a_parameter_reaches_only_the_attacks_that_have_it(written: Callable[[str], Path]) -> None:
    found = cells(written(f"victim: {VICTIM}\nattack: [none, noise]\nset: {{attack.psnr: [20, 30]}}"))
    assert [(c.attack, c.parameters) for c in found] == [
        ("none", {}),
        ("noise", {"attack.psnr": 20}),
        ("noise", {"attack.psnr": 30}),
    ]


def test_the_sweeps_that_come_with_the_house_resolve() -> None:
    for path in sorted((Path(__file__).parents[1] / "benchmarks").glob("*.yaml")):
        found = [resolve(cell).key for cell in cells(path)]
        assert len(found) == len(set(found)) > 1


def plan(workspace: Workspace, path: Path) -> list[str]:
    """The lines of a dry run."""
    done = typed(workspace, "sweep", str(path), "--dry-run", "--offline")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "attack: [noise, noise]",
        "attack: [noise]\nset: {attack.psnr: [30, 30.0, '30']}",
        "attack: [noise]\ndataset: [photo_patches, null]",
        "attack: [noise]\nseed: [0, 0]",
        "attack: [noise]\ndefense: [none, []]",
    ],
    ids=["attack", "number and text", "default dataset", "seed", "no defense"],
)
def test_one_cell_written_twice_is_one_cell(text: str, written: Callable[[str], Path], fresh: Workspace) -> None:
    lines = plan(fresh, written(f"victim: {VICTIM}\n{text}"))
    assert lines[-1] == "1 cells, 0 done"


PAPER = f"""
victim: {VICTIM}
attack: noise
set: {{attack.psnr: [20, 30]}}
published:
  {{source: A paper, table: Table 1, decimals: 3, attack: noise, rows: [{{dataset: Photos, ours: {{photo_patches: }},
  victim: {VICTIM}, set: {{attack.psnr: 20}}, figures: {{accuracy_clean: 0.5}}}}]}}
"""


def test_a_published_row_names_the_cell_that_the_sweep_runs(written: Callable[[str], Path]) -> None:
    sweep = load_sweep(written(PAPER))
    assert sweep.published
    cell = sweep.published_cell(sweep.published.rows[0], "noise", "photo_patches", 0)
    assert resolve(cell).key in {resolve(c).key for c in sweep.cells()}
    assert cell.parameters == {"attack.psnr": 20}


def test_a_control_has_no_parameter_of_the_attack_alone(written: Callable[[str], Path]) -> None:
    sweep = load_sweep(written(PAPER.replace("attack: noise\n", "attack: [noise, unperturbed]\n", 1)))
    assert sweep.published
    assert sweep.published_cell(sweep.published.rows[0], "unperturbed", "photo_patches", 0).parameters == {}


def with_more(more: str) -> str:
    """The same with more in its row."""
    return PAPER.replace("figures:", f"{more}figures:")


def test_a_published_row_is_about_every_model_and_draw_of_the_sweep(written: Callable[[str], Path]) -> None:
    text = """
victim: offline_resnet18
dataset: [digits, fashion_mnist_mini]
attack: [mole_recruitment, optimized_moles]
set: {victim.seed: [5, 6], attack.rho_min: [0.1, 0.5], victim.epochs: 3}
seed: [0, 1]
published:
  {source: A paper, table: Table 1, decimals: 1, attack: optimized_moles, rows: [
  {dataset: Digits, ours: {digits: }, victim: offline_resnet18, set: {attack.rho_min: 0.5}, figures: {delta_total: -5}},
  {dataset: Digits, ours: {digits: }, victim: offline_resnet18, set: {victim.seed: 6, attack.rho_min: 0.1},
   attack: mole_recruitment, pair: 3<8, figures: {delta_a: -5}}]}
"""
    sweep = load_sweep(written(text))
    assert sweep.published
    first, second = sweep.published.rows
    mine = list(sweep.published_cells(first, "optimized_moles", "digits"))
    assert [(c.seed, c.parameters["victim.seed"], c.parameters["attack.rho_min"]) for c in mine] == [
        (0, 5, 0.5),
        (0, 6, 0.5),
        (1, 5, 0.5),
        (1, 6, 0.5),
    ]
    assert {resolve(c).key for c in mine} < {resolve(c).key for c in sweep.cells()}
    only = list(sweep.published_cells(second, "mole_recruitment", "digits"))
    assert [(c.seed, c.parameters) for c in only] == [
        (0, {"victim.seed": 6, "victim.epochs": 3}),
        (1, {"victim.seed": 6, "victim.epochs": 3}),
    ]
    assert (sweep.published.attacks, second.title) == (
        ["optimized_moles", "mole_recruitment"],
        "Digits, seed 6, rho_min 0.1, mole_recruitment, 3<8",
    )


def test_one_trial_of_everything_comes_before_the_next_model_and_that_before_the_next_draw(
    written: Callable[[str], Path],
) -> None:
    found = cells(
        written(
            "victim: offline_resnet18\ndataset: [digits, fashion_mnist_mini]\nattack: mole_recruitment\n"
            "set: {victim.epochs: [2, 3], victim.seed: [5, 6]}\nseed: [0, 1]"
        )
    )
    assert [(c.seed, c.parameters["victim.seed"]) for c in found] == [
        trial for trial in ((0, 5), (0, 6), (1, 5), (1, 6)) for _ in range(4)
    ]
    assert [(c.dataset, c.parameters["victim.epochs"]) for c in found[:4]] == [
        (dataset, epochs) for dataset in ("digits", "fashion_mnist_mini") for epochs in (2, 3)
    ]


BAD = {
    "no file": (None, "cannot read sweep"),
    "empty": ("", "holds no mapping"),
    "a list": ("- noise\n- none", "holds no mapping"),
    "a tab": (f"victim: {VICTIM}\nattack:\n\t- noise", "is not YAML"),
    "an open bracket": (f"victim: [{VICTIM}\nattack: noise", "is not YAML"),
    "an object": ("!!python/object/apply:os.getcwd []", "is not YAML"),
    "two documents": ("attack: noise\n---\nattack: none", "is not YAML"),
    "unknown key": (f"victim: {VICTIM}\nattack: noise\natack: none", "atack"),
    "no attack": (f"victim: {VICTIM}", "attack"),
    "no victim": ("attack: noise", "victim"),
    "an empty list": (f"victim: {VICTIM}\nattack: []", "attack"),
    "a key twice": (f"victim: {VICTIM}\nattack: [none]\nattack: [noise]", "attack"),
    "profile": (f"victim: {VICTIM}\nattack: noise\nprofile: huge", "'tiny', 'small' or 'paper'"),
    "seed in words": (f"victim: {VICTIM}\nattack: noise\nseed: [one]", "seed"),
    "negative seed": (f"victim: {VICTIM}\nattack: noise\nseed: [0, -1]", "seed"),
    "set as a list": (f"victim: {VICTIM}\nattack: noise\nset: [attack.psnr]", "set"),
    "a parameter nobody has": (f"victim: {VICTIM}\nattack: noise\nset: {{attack.psrn: [20]}}", "psnr"),
    "a part nobody has": (f"victim: {VICTIM}\nattack: noise\nset: {{atack.psnr: [20]}}", "did you mean 'attack'?"),
    "no part": (f"victim: {VICTIM}\nattack: noise\nset: {{psnr: [20]}}", "part.parameter=value"),
    "unknown attack": (f"victim: {VICTIM}\nattack: [none, noize]", "did you mean 'noise'?"),
    "unknown attack with a parameter": (
        f"victim: {VICTIM}\nattack: noize\nset: {{attack.psnr: 20}}",
        "did you mean 'noise'?",
    ),
    "a value out of range": (f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: [30, -1]}}", "float > 0"),
    "not a number": (f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: .nan}}", "psnr"),
    "a nested value": (f"victim: {VICTIM}\nattack: noise\nset: {{attack.psnr: [[20]]}}", "psnr"),
    "a published figure nobody knows": (PAPER.replace("accuracy_clean", "acc_clean"), "no figure named 'acc_clean'"),
    "a published key nobody knows": (PAPER.replace("decimals: 3", "decimals: 3, decimal: 3"), "keys are source"),
    "a row's key nobody knows": (PAPER.replace("victim: al", "vctim: al").replace("vctim", "victim", 1), "vctim"),
    "a published number in words": (PAPER.replace("0.5", "half"), "figures.accuracy_clean"),
    "a published number that is none": (PAPER.replace("0.5", ".nan"), "figures.accuracy_clean"),
    "no published rows": (PAPER.split("[{dataset")[0] + "[]}", "published.rows"),
    "published as a list": (f"victim: {VICTIM}\nattack: noise\npublished: [0.5]", "published"),
    "a published attack that is not swept": (PAPER.replace("attack: noise, rows", "attack: none, rows"), "none of"),
    "a published row about two cells": (PAPER.replace(" set: {attack.psnr: 20},", ""), "which attack.psnr"),
    "a row of another attack that is not swept": (with_more("attack: none, "), "none of this sweep's (noise)"),
    "a pair of one class": (with_more("pair: dog, "), "attacked<confounding, such as dog<cat"),
    "a figure that no pair has": (with_more("pair: dog<cat, "), "no accuracy_clean of one pair; there is: rho, n"),
    "a figure of a pair without one": (PAPER.replace("accuracy_clean", "rho"), "rho is of one pair; say which"),
    "a spread of no figure": (
        with_more("spread: {accuracy: 1}, "),
        "a spread of accuracy, which is none of its figures",
    ),
    "a negative spread": (with_more("spread: {accuracy_clean: -1}, "), "spread.accuracy_clean"),
    "no text": ("\x00\x01", "is not YAML"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD)
def test_a_wrong_sweep_is_one_line_and_nothing_runs(
    text: str | None, says: str, written: Callable[[str], Path], fresh: Workspace
) -> None:
    path = fresh.store.parent / "none.yaml" if text is None else written(text)
    line = one_line(typed(fresh, "sweep", str(path), "--offline", "--dry-run"))
    assert says in line
    assert not fresh.store.exists()


def test_a_sweep_that_is_a_folder_or_no_text_is_named(tmp_path: Path, fresh: Workspace) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    assert "cannot read sweep" in one_line(typed(fresh, "sweep", str(tmp_path), "--offline"))
    assert "is not YAML" in one_line(typed(fresh, "sweep", str(tmp_path / "binary.yaml"), "--offline"))


def test_a_sweep_made_in_python_forbids_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="extra_forbidden"):
        Sweep.model_validate({"name": "x", "attack": ["none"], "victim": [VICTIM], "workers": 3})


# Sweeps that run


SETTINGS = ", ".join(f"{name}: {value}" for name, value in (size.split("=") for size in SIZES))
PAIR = f"profile: tiny\nvictim: {VICTIM}\nattack: [none, noise]\nset: {{{SETTINGS}}}\n"


def test_a_sweep_says_what_it_would_do_does_it_and_skips_it_then(
    written: Callable[[str], Path], workspace: Workspace, lite0: FrozenExtractor
) -> None:
    path = written(PAIR)
    lines = plan(workspace, path)
    assert [line.split()[1:5] for line in lines[:2]] == [["to", "run", a, VICTIM] for a in ("none", "noise")]
    assert lines[2] == "2 cells, 0 done"
    assert not workspace.store.exists()
    done = typed(workspace, "sweep", str(path), "--offline", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["cell"]["attack"]["name"] for row in json.loads(done.stdout)] == ["none", "noise"]
    assert "cell 2/2" in done.stderr
    assert {r.key[:12] for r in load_records(workspace.store)} == {line.split()[0] for line in lines[:2]}
    assert plan(workspace, path)[-1] == "2 cells, 2 done"
    again = typed(workspace, "sweep", str(path), "--offline", "--json")
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert again.stderr == ""
    table = typed(workspace, "sweep", str(path), "--offline").stdout
    assert "2 cells done, 0 failed" in table


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
    assert "2 cells done, 2 failed" in done.stdout
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
    done = typed(workspace, "sweep", str(path), "--offline")
    assert done.returncode == 3, done.stderr
    assert "1 cells done, 1 failed" in done.stdout
    assert "boom" in done.stderr.splitlines()[-1]
    (attempt,) = workspace.store.rglob("attempts/01.json")
    assert "boom" in json.loads(attempt.read_text("utf-8"))["message"]
    assert [r.cell["attack"]["name"] for r in load_records(workspace.store)] == ["none"]
