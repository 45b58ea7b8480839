"""A sandbox driver for all tests of a process, and submissions of tests: files, and what is known of them unread."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from molebench.cards import defense
from molebench.errors import MolebenchError
from molebench.grid import Part
from molebench.isolating import isolated
from molebench.places import Place
from molebench.registry import Plugin
from molebench.sandbox.box import Driver, Jail, Limits
from molebench.sandbox.choosing import chosen
from molebench.sandbox.installation import USUAL
from molebench.sandbox.jailing import jailed
from molebench.workspace import Workspace

SOURCE = '''"""It: a submission of a test."""

import atexit, ctypes, os, pickle, resource, shutil, signal, socket, stat, subprocess, sys, threading, time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molebench import messages
from molebench.cards import defense
from molebench.hooks import View


def read(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


{before}


@defense(paper="a test", scenarios=("active",), sees={sees!r})
@dataclass(frozen=True)
class Submitted:
    """No parameters."""

    def screen_pool(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """Does it."""
        {body}
'''
NAME = "it"


@pytest.fixture(scope="session")
def driver() -> Driver:
    """The first driver that holds."""
    try:
        return chosen()
    except MolebenchError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Ward:
    """Stands for submissions in jails of one driver. token: in the environment of all that runs in them."""

    driver: Driver | None
    folder: Path
    workspace: Workspace
    token: str = field(default_factory=lambda: os.urandom(16).hex())

    @contextmanager
    def stand_in(
        self,
        body: str,
        before: str = "",
        seconds: float = 60.0,
        limits: Limits = USUAL,
        extractor: Part | None = None,
    ) -> Iterator[Any]:
        """What stands for a submission that does this."""
        sees = ("extractor",) if extractor else ()
        path = self.folder / "defense.py"
        path.write_text(SOURCE.format(body=body, before=before, sees=sees), "utf-8")
        with jailed(self.driver, {NAME: path}, self.workspace, limits) as jail:
            proxy = isolated(described(sees), extractor, replace(self.workspace, jail=self.marked(jail)), seconds)
            try:
                yield proxy
            finally:
                proxy._child.end()

    def marked(self, jail: Jail) -> Jail:
        """The jail with the token in its environment."""
        return replace(jail, box=replace(jail.box, environment={**jail.box.environment, "WARD": self.token}))

    def left(self) -> list[str]:
        """The processes that are still there of all that ran."""
        return settled(lambda: list(bearing(self.token)))


def bearing(token: str) -> Iterator[str]:
    """The command lines of processes that have a token among their words or variables."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            if any(token in each for each in (*words, *process.environ().values())):
                yield " ".join(words)[-200:]


def settled(look: Callable[[], list[str]], seconds: float = 10.0) -> list[str]:
    """What is seen once nothing is any more, or what there still is after a while."""
    stop = time.monotonic() + seconds
    while (there := look()) and time.monotonic() < stop:
        time.sleep(0.02)
    return there


def described(sees: tuple[str, ...] = (), name: str = NAME, moment: str = "screen_pool") -> Part:
    """What is known of a submission without importing it: its name, its card and its moments."""

    def never(self: Any, view: Any, rng: Any) -> Any:
        raise AssertionError("a submission is never run by who asks it")

    made = defense(paper="a test", scenarios=("active",), sees=sees)(type(name, (), {moment: never}))
    place = Place("defenses", name, Path("defense.py"), f"molebench.plugins.{name}")
    return Part(Plugin("defense", name, made, ModuleType(name), place, "It."), {}, {})
