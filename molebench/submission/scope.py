"""What a pull request with a submission may touch: a new folder of its own, and nothing else.

Merged submissions stay as they are: a new version is a new folder that supersedes the old one.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

from molebench.errors import listed
from molebench.submission.form import SLUG, Faulty

HOME = "leaderboard/submissions"


def changed(listing: bytes) -> list[str]:
    """The paths that `git diff --name-only --no-renames -z` prints; without --no-renames a file that was moved away
    from somewhere else would not be among them."""
    return [name for name in listing.decode("utf-8", "surrogateescape").split("\0") if name]


def submitted(paths: Sequence[str], merged: Collection[str]) -> str:
    """The folder that a pull request adds; Faulty where it touches anything else. merged: slugs that are there."""
    if found := list(faults(paths, merged)):
        raise Faulty(found)
    return f"{HOME}/{slug(paths[0])}"


def faults(paths: Sequence[str], merged: Collection[str]) -> Iterator[str]:
    """Why a pull request is not one with a submission alone."""
    slugs = sorted({slug(path) for path in paths} - {""})
    if not slugs:
        yield f"nothing below {HOME} is touched; there is no submission in it"
    elif len(slugs) > 1:
        yield f"several submissions are touched ({listed(slugs)}); one pull request is one submission"
    if outside := sorted({path for path in paths if not slug(path)}):
        yield f"it touches {listed(ascii(p)[1:-1][:80] for p in outside)}; a submission touches its own folder alone"
    if there := [each for each in slugs if each in merged]:
        yield f"{there[0]} is merged and stays as it is; a new version is a new folder that says supersedes: {there[0]}"


def slug(path: str) -> str:
    """The submission that a path belongs to; '' where it belongs to none."""
    parts = PurePosixPath(path).parts
    inside = len(parts) > 3 and "/".join(parts[:2]) == HOME and ".." not in parts
    return parts[2] if inside and SLUG.fullmatch(parts[2]) else ""
