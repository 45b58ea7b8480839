"""How the ranks are made: the page that says it, in the words of the code that makes them."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from molebench.leaderboard.plugins import paragraphs
from molebench.leaderboard.site import Page, Site
from molebench.ranking import LEVEL, SEEDS

RANKING = "molebench.ranking"


def method(site: Site) -> Iterator[Page]:
    """method.html."""
    figures = sorted({f"{each.setting.scenario}: {each.figure}" for each in site.standings})
    context = {"figures": figures, "words": list(paragraphs(docstring(RANKING))), "level": LEVEL, "seeds": SEEDS}
    yield Page("method.html", "method.html.j2", "Method", context)


def docstring(module: str) -> str:
    """What a module says of itself, read as text; nothing where there is none."""
    found = find_spec(module)
    if found is None or found.origin is None:
        return ""
    return ast.get_docstring(ast.parse(Path(found.origin).read_text("utf-8"))) or ""
