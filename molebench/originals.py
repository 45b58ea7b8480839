"""A publisher's file: the user's, the system's, the one downloaded before, or a fresh one; never another of its name.

A dataset that is made of such files says which in `originals()`, so that `data verify` can check them, and turns
them into arrays once: `converted` keeps those in the cache.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from molebench.downloads import partial
from molebench.errors import MolebenchError
from molebench.sources import Source, Url, first_that_answers
from molebench.stages import Arrays, exclusive, load_arrays, save_arrays
from molebench.types import FileFact
from molebench.workspace import Workspace, sha256


@dataclass(frozen=True)
class Original:
    """A published file of a dataset. known: the sha256 of every form that holds the same data, packed or not; the first
    is the one that records name, and `size` its bytes. names: where it may be below MOLEBENCH_DATA; the first is also
    its place among the downloads. folders: where a system may have it. hint: what else a user can do.
    """

    dataset: str
    names: tuple[str, ...]
    known: tuple[str, ...]
    size: int
    sources: tuple[Source, ...]
    hint: str
    folders: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What its publisher calls it."""
        return Path(self.names[0]).name

    @property
    def fact(self) -> FileFact:
        """sha256 and size of its first form: what a record says, whichever form was read."""
        return FileFact(self.known[0], self.size)

    def places(self, workspace: Workspace) -> Iterator[Path]:
        """Every path at which the file is, the user's first."""
        users = [workspace.data / name for name in self.names]
        systems = [folder / Path(name).name for folder in self.folders for name in self.names]
        found = (path for path in (*users, *systems, self.download(workspace)) if path.is_file())
        yield from dict.fromkeys(found)

    def download(self, workspace: Workspace) -> Path:
        """Where the file is once downloaded."""
        return workspace.cache / "downloads" / self.names[0]

    def partials(self, workspace: Workspace) -> Iterator[Path]:
        """What downloads that were cut have left."""
        folder = self.download(workspace).parent
        cut = {partial(source.url, source.digest, folder) for source in self.sources if isinstance(source, Url)}
        yield from (path for path in cut if path.is_file())

    def get(self, workspace: Workspace) -> Path:
        """The file, downloaded where it is nowhere yet; one that is not the published one is an error."""
        path = next(self.places(workspace), None) or self._fetched(workspace)
        if fault := self.fault(path):
            raise MolebenchError(f"dataset {self.dataset}: {path} {fault}; {self.remedy(path, workspace)}")
        return path

    def fault(self, path: Path) -> str:
        """Why this is not the published file; '' where it is."""
        try:
            digest = sha256(path)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if digest in self.known:
            return ""
        return (
            f"is not the published file: {path.stat().st_size} bytes with sha256 {digest[:16]}, expected "
            f"{self.size} bytes with {self.known[0][:16]}{', or that packed' if len(self.known) > 1 else ''}"
        )

    def remedy(self, path: Path, workspace: Workspace) -> str:
        """What to do about a file at fault."""
        if path == self.download(workspace):
            return f"remove it, then run: molebench data fetch {self.dataset}"
        return f"remove it, or replace it with {self.sources[0].label}. {self.hint}"

    def _fetched(self, workspace: Workspace) -> Path:
        path = self.download(workspace)
        if workspace.offline:
            self._ask(path, workspace)  # says so, and writes nothing
        with exclusive(path):
            if not path.is_file():  # another process may have had it first
                self._ask(path, workspace)
        return path

    def _ask(self, path: Path, workspace: Workspace) -> None:
        what = f"dataset {self.dataset} ({self.name})"
        first_that_answers(what, self.sources, path, workspace, self.hint)


def converted(tag: str, read: Callable[[], Arrays], workspace: Workspace) -> Arrays:
    """The arrays of a dataset, from the cache or read once. tag: names dataset and content."""
    kept = workspace.cache / "data" / f"{tag}.safetensors"
    if found := load_arrays(kept):
        return found[0]
    save_arrays(kept, arrays := read())
    return arrays
