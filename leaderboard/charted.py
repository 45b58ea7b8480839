"""Every chart of a site: of each kind in turn the largest, so that no kind crowds out another.

A kind is a file in charts/ with a function `charts`; no list is edited for a new one.
"""

import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final

from molebench.errors import MolebenchError, cannot_write, unknown
from molebench.leaderboard.charts.chart import Chart
from molebench.leaderboard.charts.drawing import ABOUT, drawn
from molebench.leaderboard.standings import Standings
from molebench.record import Record
from molebench.workspace import writing

MOST = 24  # charts of a site


# a kind's charts, the most telling first, each made when it is asked for
Kind = Callable[[Sequence[Record], Mapping[str, Path], Sequence[Standings]], Iterator[Chart]]


@cache
def kinds() -> dict[str, Kind]:
    """The kinds of charts by name."""
    found = {
        each.name: import_module(f"molebench.leaderboard.charts.{each.name}")
        for each in pkgutil.iter_modules([str(Path(__file__).parent / "charts")])
    }
    return {name: module.charts for name, module in sorted(found.items()) if hasattr(module, "charts")}


def every(
    records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings], most: int = MOST
) -> list[Chart]:
    """At most so many charts, by name. folders: of the cells, by key."""
    rounds = zip_longest(*(kind(records, folders, standings) for kind in kinds().values()))
    return sorted(islice((chart for each in rounds for chart in each if chart), most), key=lambda chart: chart.name)


# As files

OURS: Final = re.compile(r"([a-z]+)-[a-z0-9-]*[0-9a-f]{10}\.(svg|png|pdf)")


def ready(folder: Path, form: str) -> list[Path]:
    """What an earlier time has drawn in a folder; one with anything else in it is refused, and an unknown form."""
    if form not in ABOUT:
        raise unknown("form of pictures", form, ABOUT)
    try:
        there = sorted(folder.iterdir()) if folder.exists() or folder.is_symlink() else []
    except OSError as error:  # a file, a folder that cannot be read, a name that is too long
        raise cannot_write(str(folder), error) from error
    for path in there:
        found = OURS.fullmatch(path.name)
        if not found or found[1] not in kinds() or path.is_symlink() or not path.is_file():
            raise MolebenchError(
                f"--charts {folder} holds {path.name[:80]}, which is no chart of ours; name a new or an empty folder"
            )
    return there


def written(found: Sequence[Chart], folder: Path, form: str) -> list[Path]:
    """Draws charts into a folder of their own; those of an earlier time are gone then."""
    earlier = ready(folder, form)
    files = {folder / f"{chart.name}.{form}": drawn(chart, form) for chart in found}
    for path, content in files.items():
        with writing(path) as temporary:
            temporary.write_bytes(content)
    for path in set(earlier) - files.keys():
        path.unlink(missing_ok=True)
    return list(files)
