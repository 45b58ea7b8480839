"""The pages that say how to add a plug-in: their example is a whole file, and their commands do what they say."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from molebench import places
from molebench.workspace import Workspace
from tests.commands import SMALL, VICTIM, typed
from tests.conftest import ROOT

KINDS = ("attack", "victim", "defense", "dataset")
LONGEST = 95  # lines: a page


@pytest.fixture(autouse=True)
def _no_plug_ins_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")


def page(kind: str) -> str:
    return (ROOT / "docs" / f"adding-{'an' if kind[0] in 'aeiou' else 'a'}-{kind}.md").read_text("utf-8")


def saved(kind: str, folder: Path) -> Path:
    """The example of a page, in a file of the name that the page gives it."""
    (name,) = re.findall(r"^Save this as `(\w+\.py)`", page(kind), re.MULTILINE)
    (example,) = re.findall(r"^```python\n(.*?)^```", page(kind), re.DOTALL | re.MULTILINE)
    (folder / name).write_text(example, "utf-8")
    return folder / name


def command(kind: str, verb: str, file: Path) -> list[str]:
    """The words of the page's one command of this verb, the example's file in its place."""
    (found,) = re.findall(rf"^    molebench ({verb} .*)$", page(kind), re.MULTILINE)
    words = shlex.split(found)
    assert file.name in words
    return [str(file) if word == file.name else word for word in words]


def done(workspace: Workspace, words: list[str]) -> subprocess.CompletedProcess[str]:
    finished = typed(workspace, *words)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_page_is_listed_described_checked_and_run(
    kind: str, tmp_path: Path, workspace: Workspace
) -> None:
    file = saved(kind, tmp_path)
    assert f"  {file.stem} " in done(workspace, command(kind, "list", file)).stdout
    assert f"{kind} {file.stem}" in done(workspace, command(kind, "describe", file)).stdout
    checked = done(workspace, command(kind, "conformance", file)).stdout
    assert {line.split()[0] for line in checked.splitlines()[1:]} == {"ok"}
    run = [VICTIM if word == "al_resnet50" else word for word in command(kind, "run", file)]
    small = (*SMALL[:2], *SMALL[4:])  # the page names the victim
    if "feature_collision" in run:
        small = (*small, "--set", "attack.steps=2")
    assert "delta_total" in done(workspace, [*run, *small]).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_a_page_and_says_how_to_ship(kind: str, tmp_path: Path) -> None:
    text, name = page(kind), saved(kind, tmp_path).stem
    assert len(text.splitlines()) <= LONGEST
    assert f'[project.entry-points."molebench.{kind}s"]\n    {name} = "your_package.{name}"' in text
    assert f"molebench new {kind} my_{kind}" in text


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for link in re.findall(r"\((docs/adding-[\w-]+\.md)\)", readme):
        assert (ROOT / link).is_file()
    assert len(re.findall(r"\(docs/adding-", readme)) == len(KINDS)


def test_the_examples_of_the_offline_page_run_together(tmp_path: Path, workspace: Workspace) -> None:
    text = (ROOT / "docs" / "offline.md").read_text("utf-8")
    files = re.findall(r"Save this as `(\w+\.py)`", text)
    examples = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for name, example in zip(files, examples, strict=True):
        (tmp_path / name).write_text(example, "utf-8")
    attack, victim = (tmp_path / name for name in files)
    plugins = ["--plugin", str(attack), "--plugin", str(victim)]
    names = ["--attack", attack.stem, "--victim", victim.stem, "--dataset", "digits", "--profile", "tiny", "--no-plots"]
    assert "delta_total_vs_control" in done(workspace, ["run", *names, *plugins]).stdout


def test_the_learner_of_the_continual_page_runs(tmp_path: Path, workspace: Workspace) -> None:
    text = (ROOT / "docs" / "continual.md").read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST
    (name,) = re.findall(r"Save this as `(\w+\.py)`", text)
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / name).write_text(example, "utf-8")
    sizes = ("victim.pool=200", "victim.exam=100", "victim.epochs=1", "victim.tasks=2", "attack.scorer=victim")
    given = [word for size in (*sizes, "attack.rho_min=0") for word in ("--set", size)]
    (line,) = re.findall(r"^    molebench (run .* --plugin .*)$", text, re.MULTILINE)
    words = [str(tmp_path / name) if word == name else word for word in shlex.split(line)]
    said = done(workspace, [*words, *given, "--dataset", "split:digits", "--profile", "tiny"]).stdout
    assert "delta_total_rel" in said
    checked = done(workspace, ["conformance", str(tmp_path / name)]).stdout
    assert {line.split()[0] for line in checked.splitlines()[1:]} == {"ok"}
