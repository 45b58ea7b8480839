"""Where things are on this machine: data, cache and store folders, and whether the network may be used.

MOLEBENCH_DATA, MOLEBENCH_CACHE, MOLEBENCH_STORE name the folders; the defaults follow platformdirs.
Every file of ours is written beside its place and renamed into it, so that a killed run leaves none half.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import platformdirs

from molebench.errors import MolebenchError, cannot_write
from molebench.progress import Progress, silent
from molebench.types import FileFact


@dataclass(frozen=True)
class Workspace:
    """data: files the user has. cache: what can be made again. store: records. offline: no connection."""

    data: Path
    cache: Path
    store: Path
    offline: bool = False
    progress: Progress = silent

    @classmethod
    def from_environment(
        cls, store: Path | None = None, offline: bool = False, progress: Progress = silent
    ) -> "Workspace":
        """The folders that the environment names, or the platform's."""
        dirs = platformdirs.PlatformDirs("molebench", appauthor=False)
        return cls(
            data=_folder("MOLEBENCH_DATA", Path(dirs.user_data_dir) / "data"),
            cache=_folder("MOLEBENCH_CACHE", Path(dirs.user_cache_dir)),
            store=store or _folder("MOLEBENCH_STORE", Path(dirs.user_data_dir) / "store"),
            offline=offline or os.environ.get("MOLEBENCH_OFFLINE", "") not in ("", "0"),
            progress=progress,
        )

    def file(self, name: str, hint: str) -> Path:
        """A file of the data folder, or an error that says how to get it."""
        path = self.data / name
        if not path.is_file():
            raise MolebenchError(f"no {name} in MOLEBENCH_DATA ({self.data}); {hint}")
        return path


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().absolute()


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well, removed when it does not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as handle:
            temporary = Path(handle.name)
    except OSError as error:
        raise cannot_write(str(path.parent), error) from error
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(str(path.parent), error) from error
    finally:
        temporary.unlink(missing_ok=True)


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
