"""Where things are on this machine: data, cache and store folders, and whether the network may be used.

MOLEBENCH_DATA, MOLEBENCH_CACHE, MOLEBENCH_STORE name the folders; the defaults follow platformdirs.
Every file of ours is written beside its place and renamed into it, so that a killed run leaves none half. The name of
one that is being written is `.<name>.tmp`; its writer holds its lock, so that the next one may take over a dead one's.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp

import platformdirs

from molebench.errors import MolebenchError, cannot_write
from molebench.locks import NO_FLOCK, grasped, unlocked
from molebench.progress import Progress, silent
from molebench.sandbox.box import Jail
from molebench.types import FileFact

TEMPORARY = ".tmp"


@dataclass(frozen=True)
class Workspace:
    """data: files the user has. cache: what can be made again. store: records. offline: no connection. stages: folder
    of the stage cache, where it is not the cache's own. explain: whether each stage says why it runs. isolate: whether
    each defense gets a process of its own. jail: where the plug-ins that it names run, whatever isolate says."""

    data: Path
    cache: Path
    store: Path
    offline: bool = False
    progress: Progress = silent
    stages: Path | None = None
    explain: bool = False
    isolate: bool = False
    jail: Jail | None = None

    @classmethod
    def from_environment(
        cls, store: Path | None = None, offline: bool = False, progress: Progress = silent, isolate: bool = False
    ) -> "Workspace":
        """The folders that the environment names, or the platform's."""
        dirs = platformdirs.PlatformDirs("molebench", appauthor=False)
        return cls(
            data=_folder("MOLEBENCH_DATA", Path(dirs.user_data_dir) / "data"),
            cache=_folder("MOLEBENCH_CACHE", Path(dirs.user_cache_dir)),
            store=store or _folder("MOLEBENCH_STORE", Path(dirs.user_data_dir) / "store"),
            offline=offline or _said("MOLEBENCH_OFFLINE"),
            progress=progress,
            isolate=isolate or _said("MOLEBENCH_ISOLATE"),
        )

    def sets_apart(self, name: str) -> bool:
        """Whether a defense of this name gets a process of its own."""
        return self.isolate or (self.jail is not None and name in self.jail.names)

    def environment(self, threads: int) -> dict[str, str]:
        """What a process that works for this one is told of folders, plug-ins and threads."""
        return {
            "MOLEBENCH_DATA": str(self.data),
            "MOLEBENCH_CACHE": str(self.cache),
            "MOLEBENCH_STORE": str(self.store),
            "MOLEBENCH_OFFLINE": "1" if self.offline else "0",
            "MOLEBENCH_ISOLATE": "1" if self.isolate else "0",
            **{name: os.environ[name] for name in ("MOLEBENCH_PLUGINS", "MOLEBENCH_DEVICE") if name in os.environ},
            "OMP_NUM_THREADS": str(threads),
        }

    def file(self, name: str, hint: str) -> Path:
        """A file of the data folder, or an error that says how to get it."""
        path = self.data / name
        if not path.is_file():
            raise MolebenchError(f"no {name} in MOLEBENCH_DATA ({self.data}); {hint}")
        return path


def _said(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().absolute()


@contextmanager
def writing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well, removed when it does not.

    durable: its bytes are on the disk before it has its name; what is checked when it is read can do without.
    """
    done = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = claimed(path)
    except OSError as error:
        raise cannot_write(str(path.parent), error) from error
    try:
        yield temporary
        if durable:
            settled(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        done = True
    except OSError as error:
        raise cannot_write(str(path.parent), error) from error
    finally:
        if not done:
            with suppress(OSError):  # on a disk that has turned read-only it stays; what went wrong is said already
                temporary.unlink()
        unlocked(handle)


def claimed(path: Path) -> tuple[Path, int]:
    """An empty file beside `path`, and its descriptor with its lock.

    Its name is always the same unless somebody else is writing `path`, so that what a dead writer left is taken over.
    Where the file system has no flock, nobody can tell who is dead, and every file has a name of its own.
    """
    unique = ""
    try:
        while (handle := grasped(temporary := path.with_name(f".{path.name}{unique}{TEMPORARY}"))) is None:
            unique = f".{secrets.token_hex(4)}"
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        temporary.unlink(missing_ok=True)
        handle, name = mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        return Path(name), handle
    os.ftruncate(handle, 0)
    return temporary, handle


def settled(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():  # not every file system does folders
            raise
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_fact(path: Path) -> FileFact:
    """sha256 and size of a file; of a folder, over its files' relative names and contents, hidden ones left out."""
    if not path.is_dir():
        return FileFact(sha256(path), path.stat().st_size)
    h, size = hashlib.sha256(), 0
    for file in sorted(f for f in path.rglob("*") if f.is_file()):
        inside = file.relative_to(path)
        if not any(part.startswith(".") for part in inside.parts):
            h.update(inside.as_posix().encode("utf-8", "surrogateescape") + f"\0{sha256(file)}\n".encode())
            size += file.stat().st_size
    return FileFact(h.hexdigest(), size)
