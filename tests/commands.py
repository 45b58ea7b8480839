"""Typing a command in this process, small cells to type, and reading what came out."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from molebench.cli import main
from molebench.workspace import Workspace

VICTIM = "al_efficientnet_lite0"

TINY = ("--profile", "tiny", "--victim", VICTIM, "--offline", "--no-plots")

SIZES = ("victim.queries=10", "victim.query_batch=5", "victim.pool=160", "victim.epochs=5", "attack.n_poison=10")

SMALL = (*TINY, *(word for size in SIZES for word in ("--set", size)))


def folders(workspace: Workspace, threads: str = "1") -> dict[str, str]:
    """The environment that makes these folders a command's own; one thread, so that busy neighbours matter less."""
    return {
        "MOLEBENCH_DATA": str(workspace.data),
        "MOLEBENCH_CACHE": str(workspace.cache),
        "MOLEBENCH_STORE": str(workspace.store),
        "MOLEBENCH_THREADS": threads,
    }


def typed(workspace: Workspace, *words: str, threads: str = "1") -> subprocess.CompletedProcess[str]:
    """What typing `molebench words` does, in this process, which has torch imported already."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, folders(workspace, threads)),
        mock.patch.object(sys, "argv", ["molebench", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code: Any = 0
        except SystemExit as left:
            code = left.code or 0
    return subprocess.CompletedProcess(list(words), code, out.getvalue(), err.getvalue())


def one_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one line that a command which refused left on stderr, and nothing elsewhere."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def predictions(workspace: Workspace) -> dict[str, bytes]:
    """Every predictions and poison file of a store, by its place in it."""
    files = sorted(workspace.store.rglob("*.safetensors"))
    return {f.relative_to(workspace.store).as_posix(): f.read_bytes() for f in files}


def new_home(fetched: Workspace, folder: Path) -> Workspace:
    """A cache and a store of one's own, the weights being this machine's."""
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / "weights").symlink_to((fetched.cache / "weights").resolve())
    return Workspace(fetched.data, folder / "cache", folder / "store", offline=True)
