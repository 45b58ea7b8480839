"""The board as a folder: one page of static HTML, made from records alone, that opens from a disk.

    <out>/index.html  style.css          the page; no script, nothing from elsewhere
    <out>/data/<key>.json                the records behind it
    <out>/.molebench-site                the files above, one a line: what may be replaced by the next build

It is built beside its place and put there whole. The same records give the same bytes.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from molebench.errors import MolebenchError
from molebench.leaderboard.rows import Board, board
from molebench.store import load_records

HERE = Path(__file__).parent
MARKER = ".molebench-site"


def build(store: Path, out: Path) -> int:
    """Writes the site of a store's records; returns how many there are."""
    check(out)
    records = load_records(store)
    if not records:
        raise MolebenchError(f"no record below {store}; make one with molebench run, or name another --store")
    files = {"index.html": page(board(records)), "style.css": (HERE / "static" / "style.css").read_text("utf-8")}
    files |= {f"data/{record.key}.json": record.text() for record in records}
    with replacing(out) as folder:
        write(folder, files | {MARKER: "".join(f"{name}\n" for name in sorted(files))})
    return len(records)


def page(board: Board) -> str:
    """index.html; whatever a record says appears as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("index.html.j2").render(board=board)


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


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Text files by their path below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")


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
