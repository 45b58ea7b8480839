"""Keeps a run of the benchmarks: measured.json, and from it the tables of docs/performance.md and the growth picture.

    python -m benchmarks.speed.keep bench.json [more.json ...]

Of a figure that several files have, the last one's is kept. Figures kept before stay where none of the files has them
and `--add` is said.
"""

import sys
from functools import reduce
from operator import or_
from pathlib import Path

from benchmarks.speed import measured as keeping
from benchmarks.speed import picture
from benchmarks.speed.measured import Measured, kept, of_benchmarks
from benchmarks.speed.table import machine_line, of_figures, of_growth, of_scale

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MARK = "<!-- measured: {} -->"


def blocks(measured: Measured) -> dict[str, str]:
    """What stands between the marks of a name."""
    return {
        "figures": f"{machine_line(measured.machine)}\n\n{of_figures(measured.figures)}",
        "growth": of_growth(measured.growth),
        "scale": of_scale(measured),
    }


def filled(page: str, texts: dict[str, str]) -> str:
    """The page with each block's text between its marks; every block has its place."""
    for name, text in texts.items():
        begin, end = MARK.format(name), MARK.format(f"end of {name}")
        if (page.count(begin), page.count(end)) != (1, 1):
            raise ValueError(f"expected one place for the block {name!r}, between {begin} and {end}")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"
    return page


def keep(measured: Measured) -> None:
    """Writes all three."""
    keeping.FILE.write_text(measured.text(), "utf-8")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), blocks(measured)), "utf-8")
    picture.draw(measured)


def main(*words: str) -> None:
    """As on the command line."""
    found = [of_benchmarks(Path(word).read_text("utf-8")) for word in words if word != "--add"]
    before = [kept(keeping.FILE.read_text("utf-8"))] if "--add" in words else []
    keep(reduce(or_, before + found))


if __name__ == "__main__":
    main(*sys.argv[1:])
