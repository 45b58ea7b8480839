"""A submission as a package: one exact version, known by its hash, and a wheel that unpacks to what it should.

A wheel is a zip. Its directory says how many files it has, how they are called and how large they are; that is read
here and no file of it.
"""

import hashlib
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[0-9][0-9A-Za-z.!+]*)"
    r" --hash=sha256:(?P<hash>[0-9a-f]{64})"
)
MOST_FILES = 2_000
MOST_BYTES = 100 * 2**20  # unpacked
MOST_RATIO = 100  # unpacked, of what is packed


def requirement(package: str) -> Iterator[str]:
    """What is wrong with a line of requirement."""
    if not PINNED.fullmatch(package):
        yield "package: expected one exact version with its hash, such as name==1.2.3 --hash=sha256:<64 hex digits>"


def matching(package: str, file: str, data: bytes) -> Iterator[str]:
    """What is wrong with a wheel of the folder that should be the package."""
    if not (pinned := PINNED.fullmatch(package)):
        return
    name, version = file.split("-")[:2]
    if normal(name) != normal(pinned["name"]) or version != pinned["version"]:
        yield f"{file} is not {pinned['name']} {pinned['version']}, which package names"
    if (digest := hashlib.sha256(data).hexdigest()) != pinned["hash"]:
        yield f"{file} has the sha256 {digest}; package names {pinned['hash']}"


def normal(name: str) -> str:
    """A distribution's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def unpacking(path: Path) -> Iterator[str]:
    """What would go wrong where a wheel is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.infolist()
    except (
        zipfile.BadZipFile,
        struct.error,
        ArithmeticError,
        OSError,
        ValueError,
        NotImplementedError,
        EOFError,
    ) as error:
        yield f"{path.name} is no wheel: {str(error)[:80]}"
        return
    if len(inside) > MOST_FILES:
        yield f"{path.name} holds {len(inside)} files; at most {MOST_FILES} are allowed"
    if outside := [each.filename for each in inside if leaves(each)]:
        yield f"{path.name}: {ascii(outside[0])[:80]} would be written outside of its folder, or is a link"
    if len({each.filename.casefold() for each in inside}) < len(inside):
        yield f"{path.name} holds one name twice"
    total, packed = sum(each.file_size for each in inside), path.stat().st_size
    if total > MOST_BYTES or total > MOST_RATIO * packed:
        yield (
            f"{path.name} unpacks to {total} bytes from {packed}; at most {MOST_BYTES} are allowed, and {MOST_RATIO} "
            "times its size"
        )


def leaves(each: zipfile.ZipInfo) -> bool:
    """Whether a file of an archive would leave the folder that it is unpacked to."""
    path, link = PurePosixPath(each.filename), stat.S_ISLNK(each.external_attr >> 16)
    named = ".." in path.parts or path.is_absolute() or re.search(r"[\\:\0]", each.filename)
    return bool(link or named)
