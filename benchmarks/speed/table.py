"""The tables: of all figures, of the lines of growth, and of what they come to at a larger scale.

    python -m benchmarks.speed.table bench.json

prints the first, of a run that `make bench` has kept.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.speed import growth
from benchmarks.speed.figures import Figure, number
from benchmarks.speed.growth import Series, line_of, small
from benchmarks.speed.measured import Measured, of_benchmarks
from benchmarks.speed.scale import CELLS, CORES, NODES, at_imagenet, long, pool_gb, shortest, sweeps


def markdown(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> str:
    """A table; cells as they are written, since tabulate would write numbers anew."""
    return tabulate(list(rows), headers, tablefmt="github", disable_numparse=True)


def machine_line(machine: Mapping[str, Any]) -> str:
    """The machine in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads used, {machine['memory_gib']} GiB, "
        f"load {machine['load_at_start']} at the start; {versions}; commit {machine['commit']}."
    )


def of_figures(figures: Iterable[Figure]) -> str:
    """One row a figure."""
    rows = [(f.area, f.name, f"{number(f.value)} {f.unit}".strip(), f.asked, f.reached) for f in figures]
    return markdown(rows, ("area", "figure", "measured", "asked for", "reached"))


def of_growth(many: Iterable[Series]) -> str:
    """One row a line."""
    lines = [(each, line_of(each)) for each in many]
    rows = [
        (each.name, ", ".join(map(number, each.sizes)), small(line.slope), small(line.start), f"{line.share:.4f}")
        for each, line in lines
    ]
    return markdown(rows, ("time of", "n", "each", "at n = 0", "R²"))


def of_scale(measured: Measured) -> str:
    """ImageNet's scale, a row a job; memory; and a sweep on a cluster, a row a length of cells."""
    jobs = [
        (each.what, long(each.seconds), long(each.on(NODES)) if each.spread else "-") for each in at_imagenet(measured)
    ]
    cells = [(long(each.cell), long(each.seconds), f"{each.busy:.0%}") for each in sweeps(measured)]
    line = next(line_of(each) for each in measured.growth if each.name == growth.CELLS)
    note = (
        f"Features of all images: {pool_gb():.1f} GB in float32. {number(CELLS)} cells on {NODES} nodes of {CORES} "
        f"cores; with {small(line.slope)} a cell the head keeps them busy if cells take {long(shortest(line))} or more:"
    )
    jobs_table = markdown(jobs, ("ResNet-50, 224 px", f"{CORES} cores as here", f"{NODES} such nodes"))
    return f"{jobs_table}\n\n{note}\n\n{markdown(cells, ('a cell takes', 'the sweep takes', 'share in cells'))}"


def main(*files: str) -> None:
    """Prints the table of each file."""
    for file in files:
        found = of_benchmarks(Path(file).read_text("utf-8"))
        sys.stdout.write(f"{machine_line(found.machine)}\n\n{of_figures(found.figures)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
