"""What a sweep shows while it runs: a live table on a terminal, plain lines elsewhere, JSON lines for machines.

All of it on standard error; standard output is the result's.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from molebench import jobs
from molebench.jobs import Ended, Event, Said
from molebench.progress import EVERY, say
from molebench.standing import Standing, duration

if TYPE_CHECKING:
    from rich.console import Group

Form = Literal["auto", "rich", "lines", "jsonl", "none"]
SHOWN = 12  # cells in flight in the live table; more are counted


@runtime_checkable
class Display(Protocol):
    """What shows events; `tick` comes several times a second."""

    def hear(self, event: Event) -> None:
        """Something happened."""

    def tick(self) -> None:
        """Time has passed."""


def ended_words(event: Ended, label: str) -> str:
    """The end of a cell, for people."""
    why = f": {event.message}" if event.message else ""
    return f"{event.state:<9} {label}, {duration(event.seconds)}{why}"


class Lines:
    """A line for each cell that ends, and every ten seconds one of how it stands."""

    def __init__(self, standing: Standing, labels: dict[str, str]) -> None:
        self.standing, self.labels, self.said = standing, labels, time.time()

    def hear(self, event: Event) -> None:
        """Ends, and what cells say."""
        if isinstance(event, Ended) and event.state != "busy":
            say(ended_words(event, self.labels.get(event.key, event.key[:12])))
        elif isinstance(event, Said):
            say(f"  {event.key[:12]}  {event.line}")

    def tick(self) -> None:
        """How it stands."""
        if (now := time.time()) - self.said >= EVERY:
            self.said = now
            say(self.standing.words(now))


class JsonLines:
    """Every event as one line of JSON, and every second how it stands."""

    def __init__(self, standing: Standing) -> None:
        self.standing, self.said = standing, 0.0

    def hear(self, event: Event) -> None:
        """As it is."""
        say(jobs.line(event))

    def tick(self) -> None:
        """Totals, rate and time left."""
        if (now := time.time()) - self.said < 1:
            return
        self.said = now
        say(totals(self.standing, now))


def totals(standing: Standing, now: float) -> str:
    """How a sweep stands, as one line of JSON."""
    import json

    return json.dumps(
        {
            "event": "standing",
            "sweep": standing.name,
            "total": standing.total,
            "done": standing.done,
            "failed": standing.failed,
            "in_flight": len(standing.flights),
            "cells_per_minute": round(standing.per_minute(now), 3),
            "seconds_left": standing.seconds_left(now),
        }
    )


class Nothing:
    """No output."""

    def hear(self, event: Event) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""


class Live:
    """rich's: a bar over all cells, and a line for each cell in flight; what ended badly scrolls by above."""

    def __init__(self, standing: Standing, labels: dict[str, str]) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.standing, self.labels = standing, labels
        self.live = RichLive(console=Console(stderr=True), refresh_per_second=4, get_renderable=self.table)

    def hear(self, event: Event) -> None:
        """Ends that are no record, and what cells say."""
        if isinstance(event, Ended) and event.state not in ("ok", "busy"):
            self.above(ended_words(event, self.labels.get(event.key, event.key[:12])))
        elif isinstance(event, Said):
            self.above(f"  {event.key[:12]}  {event.line}")

    def above(self, line: str) -> None:
        """A line that stays."""
        self.live.console.print(line, markup=False, highlight=False)

    def tick(self) -> None:
        """rich refreshes by itself."""

    def table(self) -> "Group":
        """The bar, the totals, the cells in flight."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        standing, rows = self.standing, Table.grid(padding=(0, 2))
        for flight in list(standing.flights.values())[:SHOWN]:
            far = f"{flight.does} {flight.done}/{flight.total}" if flight.does else ""
            rows.add_row(Text(flight.worker), Text(flight.label), Text(far), duration(time.time() - flight.since))
        more = len(standing.flights) - SHOWN
        bar = ProgressBar(total=max(standing.total, 1), completed=standing.done, width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(standing.name, bar, Text(standing.words(time.time())))
        return Group(head, rows, *([Text(f"and {more} more")] if more > 0 else []))


@contextmanager
def display(form: Form, standing: Standing, labels: dict[str, str]) -> Iterator[Display]:
    """What `--progress` asks for; auto is a live table on a terminal and lines elsewhere."""
    if form == "auto":
        form = "rich" if sys.stderr.isatty() else "lines"
    if form == "rich":
        live = Live(standing, labels)
        with live.live:
            yield live
        return
    if form == "lines":
        yield Lines(standing, labels)
    elif form == "jsonl":
        yield JsonLines(standing)
    else:
        yield Nothing()
