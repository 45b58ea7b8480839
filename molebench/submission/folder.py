"""The files of a submission: which may be there, and how large; all else is refused before it is opened.

    submission.yaml, defense.py or attack.py, LICENSE, README.md      at most 64 KB each, UTF-8
    NAME.whl                                                          at most 10 MB, where the form names a package
    records/<key>/record.json, <arm>.safetensors                      what `molebench verify` wrote, at most 1 MB each

Nothing is followed: a link, wherever it points, is a fault.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from molebench.errors import MolebenchError
from molebench.submission import texts
from molebench.submission.form import FILE, SOURCES

KIB, MIB = 2**10, 2**20
TEXTS = (FILE, *SOURCES.values(), "LICENSE", "README.md")
WHEEL = re.compile(r"[A-Za-z0-9_.!+]+-[A-Za-z0-9_.!+]+(-[A-Za-z0-9_.]+){3,4}\.whl")
OF_RECORD = re.compile(r"records/[0-9a-f]{64}/(record\.json|[a-z_]{1,60}\.safetensors)")
FOLDERS = re.compile(r"records(/[0-9a-f]{64})?")
MOST_FILES = 600  # 60 cells of ten files
MOST_BYTES = 32 * MIB
MOST_SHOWN = 160  # characters of a strange name


@dataclass
class Files:
    """What a folder holds that may be read, and what is wrong with it. sizes: by path below the folder."""

    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def read(self, name: str) -> bytes:
        """The bytes of a file that may be read."""
        with (self.folder / name).open("rb") as file:
            return file.read(self.sizes[name] + 1)

    @property
    def wheels(self) -> list[str]:
        """The wheels among them."""
        return [name for name in self.sizes if name.endswith(".whl")]

    @property
    def records(self) -> list[Path]:
        """The records among them."""
        return [self.folder / name for name in sorted(self.sizes) if name.endswith("/record.json")]


def looked_at(folder: Path) -> Files:
    """The files of a submission's folder; MolebenchError where there is no folder."""
    try:
        mode = folder.lstat().st_mode
    except OSError as error:
        raise MolebenchError(
            f"there is no folder {folder} ({error.strerror}); molebench submit new writes one"
        ) from error
    if not stat.S_ISDIR(mode):
        raise MolebenchError(f"{folder} is {sort(mode)}; expected the folder of a submission")
    found = Files(folder)
    for name, info in walked(folder, found):
        if fault := refused(name, info):
            found.faults.append(fault)
        elif not stat.S_ISDIR(info.st_mode):
            found.sizes[name] = info.st_size
    if (total := sum(found.sizes.values())) > MOST_BYTES:
        found.faults.append(f"the folder holds {total} bytes; at most {MOST_BYTES} are allowed")
    for name in [name for name in found.sizes if name in TEXTS]:
        found.faults += texts.content(name, found.read(name))
        if not texts.readable(found.read(name)):
            del found.sizes[name]
    return found


def walked(folder: Path, found: Files) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry below a folder with what lstat says; not into a folder that has no business there."""
    todo, seen = [folder], 0
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if (seen := seen + 1) > MOST_FILES:
                    found.faults.append(f"the folder holds more than {MOST_FILES} files")
                    return
                name, info = Path(entry.path).relative_to(folder).as_posix(), entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode) and FOLDERS.fullmatch(name):
                    todo.append(Path(entry.path))
                yield name, info


def refused(name: str, info: os.stat_result) -> str:
    """Why an entry may not be there; '' where it may."""
    said = ascii(name)[1:-1][:MOST_SHOWN]
    if stat.S_ISDIR(info.st_mode):
        return "" if FOLDERS.fullmatch(name) else f"{said} is a folder; the only one allowed is records/<key of a cell>"
    if not stat.S_ISREG(info.st_mode):
        return f"{said} is {sort(info.st_mode)}; plain files alone are allowed"
    if (most := largest(name)) is None:
        return f"{said} is no file of a submission; allowed: {', '.join(TEXTS)}, a wheel, records/<key>/*"
    if info.st_size > most:
        return f"{said} has {info.st_size} bytes; at most {most} are allowed"
    return ""


def largest(name: str) -> int | None:
    """The most bytes that a file of this name may have; None where there may be none of it."""
    if name in TEXTS:
        return 64 * KIB
    if WHEEL.fullmatch(name):
        return 10 * MIB
    return MIB if OF_RECORD.fullmatch(name) else None


SORTS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFREG: "a file",
}


def sort(mode: int) -> str:
    """What an entry is that is no folder."""
    return SORTS.get(stat.S_IFMT(mode), "no plain file")
