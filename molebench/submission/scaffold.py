"""A submission to write one's own over: the form with what an author must fill in, and a plug-in that works."""

from pathlib import Path
from string import Template

from molebench import drafts
from molebench.errors import MolebenchError, unknown
from molebench.submission import slugs
from molebench.submission.form import FILE, SOURCES, Faulty
from molebench.workspace import writing

TEMPLATES = Path(__file__).parents[1] / "templates" / "submission"


def scaffold(slug: str, kind: str, out: Path) -> Path:
    """Writes OUT/SLUG; refuses a slug that cannot be used and a folder that is there."""
    if kind not in SOURCES:
        raise unknown("kind of submission", kind, SOURCES)
    if found := list(slugs.faults(slug)):
        raise Faulty(found)
    if (folder := out / slug).exists():
        raise MolebenchError(f"{folder} is there already and is not overwritten; choose another slug, or --out DIR")
    words = {"name": slug, "slug": slug, "cls": drafts.class_name(slug), "title": drafts.title(slug)}
    templates = {FILE: TEMPLATES / f"{kind}.yaml.txt", SOURCES[kind]: drafts.TEMPLATES / f"{kind}.py.txt"}
    for name, template in templates.items():
        with writing(folder / name) as temporary:
            temporary.write_text(Template(template.read_text("utf-8")).substitute(words), "utf-8")
    return folder


def next_steps(folder: Path, kind: str) -> str:
    """What to type next."""
    return "\n".join(
        [
            f"wrote {folder / FILE} and {folder / SOURCES[kind]}",
            f"write:  your method over {SOURCES[kind]}, and what is marked FILL IN in {FILE}",
            f"check:  molebench submit check {folder}",
            f"run:    molebench verify {folder} --profile tiny",
            f"submit: a pull request that adds leaderboard/submissions/{folder.name} and nothing else",
        ]
    )
