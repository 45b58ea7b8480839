"""The board as a folder of static pages, made from records alone, that opens from a disk.

    <out>/index.html, board-*.html, ...  the pages (leaderboard/pages.py); nothing in them comes from elsewhere
    <out>/cell/<key>.html                a page for each record
    <out>/data/<key>.json                the records behind it; data/, tables/, cite/, charts/: downloads
    <out>/static/, vendor/               style and scripts
    <out>/.molebench-site                the files above, one a line: what may be replaced by the next build

It is built beside its place and put there whole. The same records give the same bytes.
"""

import gc
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from molebench.errors import MolebenchError
from molebench.leaderboard.charted import every
from molebench.leaderboard.downloads import charts, downloads, of_tables, painting
from molebench.leaderboard.failures import failures
from molebench.leaderboard.loading import load
from molebench.leaderboard.pages import pages
from molebench.leaderboard.placing import standings
from molebench.leaderboard.rendering import navigation, rendered
from molebench.leaderboard.site import File, Site

MARKER = ".molebench-site"


def build(store: Path, out: Path, own: bool = False) -> int:
    """Writes the site of a store's records; returns how many there are. own: they are the reader's own (standings)."""
    check(out)
    with unswept():
        site = assembled(store, own)
        if not site.records:
            raise MolebenchError(f"no record below {store}; make one with molebench run, or name another --store")
        with replacing(out) as folder:
            names = write(folder, files(site))
            write(folder, iter([File(MARKER, "".join(f"{name}\n" for name in sorted(names)).encode())]))
        return len(site.records)


@contextmanager
def unswept() -> Iterator[None]:
    """No search for unreachable cycles inside: records are very many objects, in no cycles, and looking through them
    again and again takes a third of a large build."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def assembled(store: Path, own: bool = False) -> Site:
    """A store's records and what is made of them."""
    loaded = load(store)
    found = standings(loaded, own)
    charts = every(loaded.records, loaded.folders, found)
    return Site(
        loaded.records, loaded.folders, found, charts, failures(store), loaded.tiers, loaded.invalid, loaded.forms
    )


def files(site: Site) -> Iterator[File]:
    """Every file of a site, one by one."""
    links = navigation(site)
    with painting(site) as pictures:
        for page in pages(site):
            yield rendered(page, links)
            yield from of_tables(page)
        yield from downloads(site)
        yield from charts(site, pictures)


def check(out: Path) -> None:
    """Refuses a place that holds anything but an earlier build."""
    try:
        folder, foreign = not out.is_symlink() and (out.is_dir() or not out.exists()), stranger(out)
    except OSError as error:  # a name that is too long, a folder that cannot be read
        raise cannot_build(out, error) from error
    if not folder:
        raise MolebenchError(f"--out {out} is no folder; name a new or an empty one")
    if foreign:
        raise MolebenchError(
            f"--out {out} holds {foreign}, which no build has made; move it away, or name a new or an empty folder"
        )


def stranger(out: Path) -> str | None:
    """The first file found below a folder that an earlier build has not made; it may be a large one, so no list."""
    marker = out / MARKER
    ours = {MARKER, *marker.read_text("utf-8", "replace").splitlines()} if marker.is_file() else set()
    there = (f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_symlink() or not f.is_dir())
    return next((name for name in there if name not in ours), None)


def write(folder: Path, files: Iterator[File]) -> set[str]:
    """Files by their path below a folder, none twice; returns their paths."""
    written, folders = set[str](), set[Path]()
    for file in files:
        if file.path in written:
            raise MolebenchError(f"two things on the board would be {file.path}; move away the record of one of them")
        path = folder / file.path
        if path.parent not in folders:
            path.parent.mkdir(exist_ok=True)
            folders.add(path.parent)
        path.write_bytes(file.content)
        written.add(file.path)
    return written


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place when the block ends well, and is removed when it does not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise cannot_build(out, error) from error
    try:
        new, old = beside / "new", beside / "old"
        new.mkdir()
        yield new
        exchange(new, out, old)
    except OSError as error:
        raise cannot_build(out, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def exchange(new: Path, out: Path, old: Path) -> None:
    """Puts `new` where `out` was; where that fails, `out` is as before."""
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise


def cannot_build(out: Path, error: OSError) -> MolebenchError:
    """Why the folder of the site cannot be written."""
    return MolebenchError(f"cannot write the board to {out}: {error.strerror or error}; name another folder with --out")
