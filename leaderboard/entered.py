"""What has been submitted: the forms beside the project's records, and the records that came with them.

    leaderboard/submissions/<slug>/submission.yaml, defense.py or attack.py, records/<key>/...

A record that came with a submission is its author's word, until the store has one of the same cell.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from molebench.errors import MolebenchError
from molebench.submission.form import FILE, Faulty, Form, read

BESIDE = "submissions"  # the folder of them, beside that of the records


def beside(store: Path) -> Path:
    """Where the submissions are that belong to a store."""
    return store.parent / BESIDE


def forms(folder: Path) -> dict[str, Form]:
    """The form of every submission, by slug; MolebenchError for one that cannot be read."""
    found = {}
    for path in sorted(folder.glob(f"*/{FILE}")):
        try:
            form = read(path.parent)
        except Faulty as error:
            raise MolebenchError(f"submission {path.parent.name}: {error}; molebench submit check says all") from error
        if form.slug != path.parent.name:
            raise MolebenchError(f"submission {path.parent.name} calls itself {form.slug}; rename the folder")
        found[form.slug] = form
    return found


def successors(forms: Mapping[str, Form]) -> dict[str, str]:
    """By slug, the submission that has taken its place."""
    return {form.supersedes: form.slug for form in forms.values() if form.supersedes}


def claimed(folder: Path, known: Iterable[str]) -> list[Path]:
    """The records that came with submissions, without the cells that are known already."""
    there, found = set(known), {path.parent.name: path for path in sorted(folder.glob("*/records/*/record.json"))}
    return [path for key, path in sorted(found.items()) if key not in there]
