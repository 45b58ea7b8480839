"""The name of a submission: its folder's, its plug-in's, and nobody else's."""

import keyword
import re
from collections.abc import Iterator
from pathlib import Path

from molebench import places
from molebench.drafts import ROLES
from molebench.submission.form import FILE, SLUG, Faulty, Form, beside

DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # of Windows: no file there can have such a name


def faults(slug: str) -> Iterator[str]:
    """What is wrong with a name by itself."""
    if not SLUG.fullmatch(slug):
        yield (
            f"slug {ascii(slug)[:80]}: expected 3 to 40 lower-case letters of a-z, digits and _, a letter first, such "
            "as my_defense"
        )
    elif keyword.iskeyword(slug) or DEVICES.fullmatch(slug) or slug in ROLES:
        yield f"slug {slug} is a word of Python's, of Windows' or of --set's; choose another, such as my_{slug}"
    elif taken := [kind for kind in places.KINDS if any(there.name == slug for there in places.ours(kind))]:
        yield f"slug {slug} is the name of one of molebench's own {taken[0]}; choose another"


def placed(form: Form, folder: Path) -> Iterator[str]:
    """What is wrong with a name where it stands: beside the other submissions."""
    others = {path.parent.name for path in folder.absolute().parent.glob(f"*/{FILE}")} - {folder.absolute().name}
    if form.slug != folder.absolute().name:
        whose = "; that is another submission's" if form.slug in others else ""
        yield f"slug {form.slug} is not the name of the folder, {ascii(folder.absolute().name)[1:-1]}{whose}"
    if form.supersedes == form.slug:
        yield f"supersedes: {form.slug} is this submission itself; name the older one"
    elif form.supersedes:
        yield from older(form, folder.absolute().parent / form.supersedes)


def older(form: Form, folder: Path) -> Iterator[str]:
    """What is wrong with the submission that one supersedes."""
    try:
        there = beside(folder)
    except Faulty as error:
        gone = f"there is no submission {form.supersedes} beside this one"
        yield from (f"supersedes: {fault}" for fault in (error.faults if (folder / FILE).is_file() else [gone]))
        return
    if there.kind != form.kind:
        yield f"supersedes: {form.supersedes} is {there.kind}, this one is {form.kind}; it takes one of its kind"
