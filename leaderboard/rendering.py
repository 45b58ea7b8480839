"""Pages to HTML: one environment for all of them, everything escaped, everything that is not known an error."""

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molebench.leaderboard.charted import MOST
from molebench.leaderboard.naming import paper_links, readable, slug
from molebench.leaderboard.site import SUBJECTS, File, Page, Site, board_page, cell_page, subject_page
from molebench.leaderboard.tables import script_json

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
FURTHER = {
    "cells.html": "All cells",
    "papers.html": "Papers' tables",
    "threats.html": "Threat models",
    "coverage.html": "Coverage",
    "metrics.html": "Metrics",
    "method.html": "Method",
}


@cache
def environment() -> "Environment":
    """The templates, read and compiled once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
        cache_size=-1,
    )
    made.globals.update(once=once, cell_page=cell_page, subject_page=subject_page, board_page=board_page)
    made.globals.update(slug=slug, paper_links=paper_links, most_charts=MOST)
    made.filters["script_json"] = inert
    return made


@lru_cache(maxsize=1024)
def once(macro: str, *given: Any) -> "Markup":
    """What a macro makes of this, kept for the next page that wants the same: a chart stands on many."""
    made: Markup = getattr(environment().get_template("macros.html.j2").module, macro)(*given)
    return made


def shown(value: Any) -> Any:
    """What a template prints: a text is cut where it is very long, and what cannot be seen in it is named."""
    return readable(value) if type(value) is str else value


def inert(value: Any) -> Any:
    """JSON for a script element, which needs no escaping any more."""
    from markupsafe import Markup

    return Markup(script_json(value))  # noqa: S704 - no letter that HTML reads is left in it


def navigation(site: Site) -> tuple[tuple[str, str], ...]:
    """The pages that every page leads to: address and text."""
    boards = [(board_page(scenario), f"Board: {scenario}") for scenario in site.scenarios]
    lists = [(f"{kinds}.html", kinds.capitalize()) for kinds in SUBJECTS.values()]
    return ("index.html", "Overview"), *boards, *lists, *FURTHER.items()


def rendered(page: Page, links: Sequence[tuple[str, str]]) -> File:
    """A page's file. links: where every page leads."""
    html = environment().get_template(page.template).render(page=page, links=links, **page.context)
    return File(page.path, html.encode())
