"""What CI may do and does: pinned actions, no right too many, no secret, and commands that run on any machine."""

import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from molebench.cli import app
from tests.conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
READ = {"contents": "read"}
FEW = 3  # committed records: all of them take a minute
RIGHTS = {("leaderboard.yml", "deploy"): {"pages": "write", "id-token": "write"}}  # all other jobs: READ

each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def workflow(path: Path) -> dict[Any, Any]:
    """A workflow; YAML 1.1 reads its key `on` as True."""
    found: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in workflow(path)["jobs"].values():
        yield from job["steps"]


def commands(path: Path) -> Iterator[list[str]]:
    """The words of each line that a workflow has run, up to where its output goes."""
    for step in steps(path):
        for line in step.get("run", "").splitlines():
            yield list(itertools.takewhile(lambda word: word not in ("|", ">", "2>&1"), shlex.split(line)))


def test_there_is_a_workflow_for_the_tests_the_wheel_the_board_and_submissions() -> None:
    assert [path.name for path in FILES] == ["leaderboard.yml", "submission.yml", "test.yml", "wheel.yml"]
    assert list(FOLDER.iterdir()) != []
    assert {path.suffix for path in FOLDER.iterdir()} == {".yml"}  # .yaml would run and not be looked at here


# Rights


@each
def test_no_job_has_more_rights_than_it_needs(path: Path) -> None:
    content = workflow(path)
    assert content["permissions"] == {}
    for name, job in content["jobs"].items():
        assert job["permissions"] == RIGHTS.get((path.name, name), READ), name


@each
def test_every_job_ends_in_time_and_makes_way_for_a_later_one(path: Path) -> None:
    content = workflow(path)
    assert all(0 < job["timeout-minutes"] <= 120 for job in content["jobs"].values())
    assert set(content["concurrency"]) == {"group", "cancel-in-progress"}


@each
def test_what_a_stranger_sends_meets_no_secret_and_no_cache(path: Path) -> None:
    text = path.read_text("utf-8")
    assert set(workflow(path)[True]) <= {"pull_request", "push", "workflow_dispatch"}
    assert "secrets" not in text
    assert not re.search(r"^\s*cache", text, re.MULTILINE)
    assert "actions/cache" not in text


@each
def test_no_text_of_an_event_becomes_part_of_a_command(path: Path) -> None:
    assert [step["run"] for step in steps(path) if "${{" in step.get("run", "")] == []


# Actions


def test_every_action_is_pinned_to_one_commit_with_its_version_beside_it() -> None:
    pins: dict[str, set[str]] = {}
    for path in FILES:
        uses = re.findall(r"uses: (.*)", path.read_text("utf-8"))
        assert len(uses) == sum("uses" in step for step in steps(path))
        for line in uses:
            found = re.fullmatch(r"(actions/[a-z-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert found, f"{path.name}: {line}"
            pins.setdefault(found[1], set()).add(found[2])
    assert all(len(commits) == 1 for commits in pins.values()), pins


@each
def test_a_checkout_leaves_no_credential_behind(path: Path) -> None:
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_only_what_main_holds_is_deployed_and_the_job_that_deploys_runs_nothing_else() -> None:
    content = workflow(FOLDER / "leaderboard.yml")
    deploy = content["jobs"]["deploy"]
    assert content[True]["push"]["branches"] == ["main"]
    assert deploy["if"] == "github.ref == 'refs/heads/main'"  # by hand, any branch can be chosen
    assert set(deploy["needs"]) == content["jobs"].keys() - {"deploy"}
    assert [step["uses"].partition("@")[0] for step in deploy["steps"]] == ["actions/deploy-pages"]
    stores = [words[words.index("--store") + 1] for words in commands(FOLDER / "leaderboard.yml") if "--store" in words]
    assert set(stores) == {"leaderboard/results"}


def test_a_submission_is_judged_by_the_base_branch_and_is_data_itself() -> None:
    path = FOLDER / "submission.yml"
    content = workflow(path)
    assert content[True] == {"pull_request": {"paths": ["leaderboard/submissions/**"]}}
    assert [job["timeout-minutes"] for job in content["jobs"].values()] == [20]
    base, head = (step["with"] for step in steps(path) if step.get("uses", "").startswith("actions/checkout@"))
    assert base["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert "path" not in base
    assert (head["ref"], head["path"]) == ("${{ github.event.pull_request.head.sha }}", "submitted")
    assert [step for step in steps(path) if "working-directory" in step] == []  # nothing runs among the data
    assert content["defaults"] == {"run": {"shell": "bash"}}  # a failure is one through a pipe too
    run = [" ".join(words) for words in commands(path)]
    order = [
        i
        for start in ("git", ".venv/bin/molebench submit scope", "make verify-submission")
        for i in starting(run, start)
    ]
    assert order == sorted(order)
    assert len(order) == 3
    assert "--no-renames" in run[order[0]]  # a file that is moved away from elsewhere is touched there


def starting(lines: list[str], start: str) -> list[int]:
    """Which lines start so."""
    return [i for i, line in enumerate(lines) if line.startswith(start)]


def test_make_does_with_a_submission_what_ci_does() -> None:
    words = ["make", "--dry-run", "verify-submission", "DIR=x y", "STORE=s"]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    lines = [line.partition("-m molebench ")[2] for line in done.stdout.splitlines() if "-m molebench" in line]
    assert lines == ['submit check "x y"', 'verify "x y" --profile tiny --store "s"']


def test_zizmor_finds_nothing() -> None:
    zizmor = shutil.which("zizmor", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if zizmor is None:
        pytest.skip("no zizmor: pip install 'molebench[dev]'")
    look = [zizmor, "--offline", "--persona=auditor", "--strict-collection", "--no-progress", "--color=never", "."]
    done = subprocess.run(look, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout


# The same commands run locally


@each
def test_every_command_exists_with_its_options(path: Path) -> None:
    run = list(commands(path))
    assert run
    for words in run:
        program, *rest = words
        if program == "make":
            subprocess.run(["make", "--dry-run", *rest], cwd=ROOT, check=True, capture_output=True)
        elif Path(program).name == "molebench":
            understood(rest)
        elif Path(program).name == "python":
            assert rest[0] == "-m"
            assert importlib.util.find_spec(rest[1]), words
            assert [word for word in rest if word.startswith("tests/") and not (ROOT / word).is_file()] == []
        else:
            assert program in ("diff", "git", "sudo"), words


def understood(words: list[str]) -> None:
    """Parses a molebench command as typing it does, without running it; a mistake is an error."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("molebench", words)
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(command.name, rest, parent=context)


def test_the_board_is_built_here_as_it_is_there(tmp_path: Path) -> None:
    there = tmp_path / ".venv" / "bin"
    there.mkdir(parents=True)
    (there / "molebench").write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m molebench "$@"\n')
    (there / "molebench").chmod(0o755)
    for folder in sorted((ROOT / "leaderboard" / "results" / "cells").iterdir())[:FEW]:
        shutil.copytree(folder, tmp_path / "leaderboard" / "results" / "cells" / folder.name)
    build = [step["run"] for step in workflow(FOLDER / "leaderboard.yml")["jobs"]["build"]["steps"] if "run" in step]
    ours = [run for run in build if "make" not in run]
    assert len(ours) == 2
    for run in ours:
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", run], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
