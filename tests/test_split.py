"""`split:` datasets: the same plug-in under another name, for victims that learn in tasks and for no other."""

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from molebench import places, registry
from molebench.cards import victim
from molebench.conformance import ask, named
from molebench.errors import MolebenchError
from molebench.grid import Cell, resolve
from molebench.leaderboard.rows import rows
from molebench.not_run import available, is_here
from molebench.published import PublishedRow
from molebench.questions.bench import Bench, Subject
from molebench.questions.runs import its_dataset_and_extractor_are_there
from molebench.record import Record
from molebench.report import departures, edited
from molebench.runner import changed
from molebench.store import Store
from molebench.sweep_file import load_sweep
from molebench.workspace import Workspace
from tests.commands import one_line, typed
from tests.continual_records import told
from tests.plugin_files import DATASET

LEARNERS = [v for v in registry.files("victims") if registry.find("victims", v).card.scenarios == ("continual",)]
CELL = Cell(attack="none", victim="cl_finetune", dataset="split:photo_patches", profile="tiny")


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """Nothing anywhere."""
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


# One plug-in, two names


def test_a_split_dataset_is_the_same_plug_in_under_another_name() -> None:
    whole, split = (registry.find("datasets", name) for name in ("photo_patches", "split:photo_patches"))
    assert (whole.name, split.name) == ("photo_patches", "split:photo_patches")
    assert (split.make, split.place, split.module) == (whole.make, whole.place, whole.module)
    assert split.parameters == whole.parameters
    assert split.doc.startswith(whole.doc)
    assert "victim.tasks" in split.doc.removeprefix(whole.doc)
    assert registry.provenance("dataset", split.name) == registry.provenance("dataset", whole.name)
    assert registry.bibtex("datasets", "split:digits") == registry.bibtex("datasets", "digits") != ""
    assert registry.kinds_of("split:digits") == ["datasets"]


@pytest.mark.parametrize("kind", [kind for kind in registry.KINDS if kind != "datasets"])
def test_nothing_but_a_dataset_can_be_split(kind: str) -> None:
    for name in registry.files(kind):
        assert not registry.has(kind, f"split:{name}")
        with pytest.raises(MolebenchError, match=f"no {kind.rstrip('s')} named 'split:{name}'"):
            registry.place(kind, f"split:{name}")


def test_a_cell_s_key_tells_a_split_dataset_from_another() -> None:
    assert resolve(CELL).canonical["dataset"]["name"] == "split:photo_patches"
    other = CELL.model_copy(update={"dataset": "split:digits"})
    assert resolve(other).key != resolve(CELL).key


def test_a_plug_in_file_s_dataset_can_be_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    (tmp_path / "flat.py").write_text(DATASET, "utf-8")
    places.use([tmp_path / "flat.py"])
    assert resolve(CELL.model_copy(update={"dataset": "split:flat"})).parts["dataset"].name == "split:flat"


# Who takes which


REFUSED = {
    "a learner of tasks": ("cl_finetune", "fashion_mnist", "is not split: try --dataset split:fashion_mnist"),
    "a learner of tasks, its own": ("cl_lwf", "fashion_mnist_mini", "try --dataset split:fashion_mnist_mini"),
    "an offline victim": ("offline_resnet18", "split:digits", "is split: try --dataset digits"),
    "an active victim": ("al_efficientnet_lite0", "split:digits", "is split: try --dataset digits"),
    "sounds": ("cl_finetune", "fsdd", "takes image; dataset fsdd is audio: try split:cifar10, "),
    "sounds, whole": ("offline_resnet18", "split:fsdd", "dataset split:fsdd is audio: try cifar10, "),
}


@pytest.mark.parametrize(("name", "dataset", "says"), REFUSED.values(), ids=REFUSED)
def test_a_victim_is_told_which_spelling_it_takes(name: str, dataset: str, says: str, bare: Workspace) -> None:
    line = one_line(typed(bare, "run", "--attack", "none", "--victim", name, "--dataset", dataset))
    assert f"victim {name} " in line
    assert says in line


def test_the_line_says_why() -> None:
    with pytest.raises(MolebenchError) as whole:
        resolve(CELL.model_copy(update={"dataset": "digits"}))
    with pytest.raises(MolebenchError) as split:
        resolve(CELL.model_copy(update={"victim": "offline_resnet18", "dataset": "split:digits"}))
    assert [str(error.value) for error in (whole, split)] == [
        "victim cl_finetune learns in tasks; dataset digits is not split: try --dataset split:digits",
        "victim offline_resnet18 does not learn in tasks; dataset split:digits is split: try --dataset digits",
    ]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_continual_victim_s_own_dataset_is_split(name: str) -> None:
    assert resolve(Cell(attack="none", victim=name)).parts["dataset"].name == "split:fashion_mnist_mini"


@pytest.mark.parametrize(("scenario", "dataset"), [("continual", "digits"), ("offline", "split:digits")])
def test_a_card_that_names_a_dataset_of_the_other_spelling_is_at_fault(
    scenario: str, dataset: str, bare: Workspace
) -> None:
    found = registry.find("victims", "cl_finetune")
    carded = victim("a paper", scenario, dataset)(functools.partial(found.make))
    subject = Subject(replace(found, make=carded), Bench(bare))
    (fault,) = ask(its_dataset_and_extractor_are_there, subject).faults
    assert f"dataset {dataset} is" in fault
    assert not ask(its_dataset_and_extractor_are_there, Subject(found, Bench(bare))).faults


# Names that there are not


@pytest.mark.parametrize("words", [["describe"], ["cite"], ["conformance"], ["data", "fetch"], ["data", "verify"]])
def test_a_slip_behind_the_prefix_gets_the_nearest_name_with_it(words: list[str], bare: Workspace) -> None:
    line = one_line(typed(bare, *words, "split:fashon_mnist"))
    assert "named 'split:fashon_mnist'; did you mean 'split:fashion_mnist'?" in line


@pytest.mark.parametrize("name", ["split:fashon_mnist", "split:split:fashion_mnist"])
def test_a_run_on_a_name_that_there_is_not_names_the_nearest(name: str, bare: Workspace) -> None:
    line = one_line(typed(bare, "run", "--attack", "none", "--victim", "cl_finetune", "--dataset", name))
    assert f"no dataset named '{name}'; did you mean 'split:fashion_mnist'? (split:cifar10, " in line


def test_the_prefix_alone_is_no_name(bare: Workspace) -> None:
    line = one_line(typed(bare, "run", "--attack", "none", "--victim", "cl_finetune", "--dataset", "split:"))
    assert "no dataset named 'split:'" in line


# What is said of it


def test_it_is_described_and_cited_as_itself(bare: Workspace) -> None:
    text = typed(bare, "describe", "split:digits").stdout
    assert text.startswith("dataset split:digits\n  Handwritten digits of scikit-learn")
    assert "victim.tasks" in text
    assert json.loads(typed(bare, "describe", "split:digits", "--json").stdout)[0]["name"] == "split:digits"
    cited = typed(bare, "cite", "split:digits").stdout
    assert "alpaydin1998cascading" in cited
    assert cited == typed(bare, "cite", "digits").stdout


def test_it_is_asked_what_the_whole_one_is(bare: Workspace) -> None:
    done = typed(bare, "conformance", "split:digits", "--offline")
    assert done.returncode == 0, done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == {"ok"}
    assert [plugin.name for plugin in named("split:digits")] == ["split:digits"]


def test_its_data_are_fetched_and_verified_by_either_name(bare: Workspace) -> None:
    assert typed(bare, "data", "fetch", "split:digits").stdout == "split:digits: train 1438, test 359, 10 classes\n"
    assert "cifar100 file" in (said := typed(bare, "data", "verify", "split:cifar100").stdout)
    assert said == typed(bare, "data", "verify", "cifar100").stdout
    assert said == typed(bare, "data", "verify", "cifar100", "split:cifar100").stdout


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a sweep."""

    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_a_sweep_names_it_in_a_list_and_its_data_can_be_fetched(sweep: Callable[[str], Path], bare: Workspace) -> None:
    path = sweep("victim: cl_finetune\nattack: none\ndataset: [split:digits, split:photo_patches]\nprofile: tiny")
    assert [cell.dataset for cell in load_sweep(path).cells()] == ["split:digits", "split:photo_patches"]
    lines = typed(bare, "data", "fetch", "--for", str(path)).stdout.splitlines()
    assert [line.split(":")[:2] for line in lines] == [["split", "digits"], ["split", "photo_patches"]]


# Records of it


@pytest.fixture
def record(bare: Workspace) -> Record:
    cell = CELL.model_copy(update={"parameters": {"dataset.crop": 13, "victim.tasks": 2}})
    return told(Store(bare.store), cell, {"accuracy_clean": 0.5, "forgetting": 0.25})


def test_its_code_is_that_of_the_file(record: Record) -> None:
    (part,) = (part for part in record.components if part.kind == "dataset")
    assert part.name == "split:photo_patches"
    assert part.code_sha256 == registry.code_sha256("molebench.datasets.photo_patches")
    assert edited(record) == []
    parts = [p.model_copy(update={"code_sha256": "0" * 64}) if p == part else p for p in record.components]
    older = record.model_copy(update={"components": parts})
    assert edited(older) == ["dataset split:photo_patches"]
    cell = CELL.model_copy(update={"parameters": {"dataset.crop": 13, "victim.tasks": 2}})
    assert changed(older, resolve(cell)) == ["dataset split:photo_patches"]


def test_its_changed_parameters_are_told(record: Record) -> None:
    assert departures(record.cell) == "dataset.crop=13 victim.tasks=2"


def test_a_report_and_the_board_name_it(record: Record, bare: Workspace) -> None:
    assert "| split:photo_patches |" in typed(bare, "report").stdout
    (row,) = rows([record])
    assert row.names["dataset"] == "split:photo_patches"


# Beside published numbers


def test_a_published_row_may_be_about_it(sweep: Callable[[str], Path]) -> None:
    loaded = load_sweep(
        sweep(
            "victim: cl_finetune\nattack: none\ndataset: [split:digits]\n"
            "published: {source: A paper, table: T, decimals: 1, attack: none, rows: [{dataset: Zoo, "
            "ours: {split:digits: , split:cifar10_jpeg: re-encoded, split:nothing: }, victim: cl_finetune, "
            "figures: {accuracy_clean: 0.5}}]}"
        )
    )
    assert loaded.published
    row = loaded.published.rows[0]
    assert row.ours == {"split:digits": None, "split:cifar10_jpeg": "re-encoded", "split:nothing": None}
    assert available(row) == ["split:digits", "split:cifar10_jpeg"]
    assert available(PublishedRow.model_validate(row.model_dump() | {"victim": "cl_oracle"})) == []


def test_it_is_here_where_the_whole_one_is(bare: Workspace) -> None:
    assert is_here("split:digits", bare)
    assert not is_here("split:cifar100", bare)
    (bare.data).mkdir()
    (bare.data / "cifar-100-binary.tar.gz").write_bytes(b"")
    assert is_here("split:cifar100", bare)
    (bare.cache / "data").mkdir(parents=True)
    assert not is_here("split:cifar10", bare)
    (bare.cache / "data" / "cifar10-0.safetensors").write_bytes(b"")
    assert is_here("split:cifar10", bare)
