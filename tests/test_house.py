"""The house keeps its own rules: lint and types clean, README's commands exist, no path of a machine anywhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

from molebench.drafts import KINDS, draft
from tests.conftest import LONG, ROOT


def test_ruff_finds_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_code_is_formatted() -> None:
    words = [sys.executable, "-m", "ruff", "format", "--check", "."]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_mypy_strict_finds_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_drafts_are_clean_by_ruff_and_mypy(tmp_path: Path) -> None:  # here, where mypy has read PyTorch already
    for kind in KINDS:
        draft(kind, f"my_{kind}", tmp_path)
        draft(kind, f"a_name_of_thirty_letters_{kind:.5}", tmp_path)  # no line gets too long
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    ours = ["--config", 'lint.per-file-ignores = {"test_*.py" = ["S", "D1"]}']  # as in a folder of tests
    for words in ([*ruff, "check", *config, *ours], [*ruff, "format", "--check", *config]):
        done = subprocess.run([*words, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    words = [sys.executable, "-m", "mypy", "--config-file", "setup.cfg", *map(str, tmp_path.glob("*.py"))]
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stdout


def test_the_makefile_and_ci_run_the_commands_that_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    called = [line for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines() if line.startswith("make")]
    assert called == ["make test"]


def test_the_files_that_are_begun_first_are_there() -> None:
    assert [name for name in LONG if not (ROOT / "tests" / f"{name}.py").is_file()] == []
