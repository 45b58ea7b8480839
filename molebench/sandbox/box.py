"""What code that nobody has read is shut into: the files it may read, the limits it may reach, and who shuts it in.

A box is a value; a driver turns it into the command line that starts a process inside. Nothing in a box can be written
but a fresh /tmp, and there is no network. Wall time and the size of answers and of what is printed are held by whoever
asks (molebench.isolating): they need nobody's help inside.
"""

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108  # inside, and a box's own
CACHE = f"{TMP}/cache"  # where molebench keeps its own inside, the weights of extractors among it
LISTS = {"MOLEBENCH_PLUGINS", "PYTHONPATH"}  # variables that name plug-ins by where they lie


@dataclass(frozen=True)
class Limits:
    """cpu: seconds of one process. memory: MiB of address space of one process; PyTorch with an extractor takes 3,500.
    processes: at once, threads among them. file: MiB of one file. disk: MiB of /tmp. open_files: of one process.
    """

    cpu: int = 600
    memory: int = 8192
    processes: int = 64
    file: int = 64
    disk: int = 256
    open_files: int = 256


@dataclass(frozen=True)
class Box:
    """files: what is seen inside, by its absolute path there, read-only; folders may be among them.

    hidden: folders that are seen empty, though one around them is seen. environment: all that there is.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    hidden: tuple[str, ...] = ()


@runtime_checkable
class Driver(Protocol):
    """What starts a process in a box."""

    @property
    def name(self) -> str:
        """As a user names it."""

    def __hash__(self) -> int:
        """A driver is a value."""

    def missing(self) -> str:
        """What has to be installed, in words; '' where all is there."""

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        """What starts argv, a command line of paths inside."""

    def after(self, command: Sequence[str]) -> list[str]:
        """What must be run when the process of a command has been killed; nothing where all of it is gone with it."""


@dataclass(frozen=True)
class Jail:
    """A box for the plug-ins of these names, and who shuts it; without a driver they are trusted, and run plainly.

    A process in it answers once: whatever it left, in memory, in /tmp or in the numbers of its processes, the next one
    finds nothing of it. places: where in the box each plug-in lies.
    """

    driver: Driver | None
    box: Box
    names: frozenset[str]
    places: Mapping[str, str] = field(default_factory=dict)

    def alone(self, names: Container[str]) -> "Jail":
        """The same for some of its plug-ins, which see no other: nobody's file, and nobody's package in their path."""
        gone = {place for name, place in self.places.items() if name not in names}
        told = dict(self.box.environment)
        for variable in LISTS & told.keys():
            told[variable] = os.pathsep.join(each for each in told[variable].split(os.pathsep) if each not in gone)
        files = {inside: path for inside, path in self.box.files.items() if inside not in gone}
        return replace(self, box=replace(self.box, files=files, environment=told))

    def seeing(self, files: Mapping[str, Path]) -> "Jail":
        """The same with more files, by their paths inside."""
        return replace(self, box=replace(self.box, files={**self.box.files, **files}))

    def command(self, argv: Sequence[str]) -> list[str]:
        """What starts argv in it."""
        if self.driver:
            return self.driver.command(argv, self.box)
        return ["env", *(f"{name}={value}" for name, value in self.box.environment.items()), *argv]

    def after(self, command: Sequence[str]) -> list[str]:
        """What must be run when the process of a command has been killed."""
        return self.driver.after(command) if self.driver else []
