"""One file from the web: what a cut left is continued, and nothing counts before its digest is right.

The bytes so far stand in the target's folder as `.<name>.<digest>.part`. The name says what the whole must be, so a
partial of another file is never continued, and any mirror of the same file may continue it. A partial stays after a
cut only; a whole file with another digest is removed. Callers see to it that one process at a time fetches a file.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from molebench.errors import first_line
from molebench.progress import Progress, silent

if TYPE_CHECKING:
    from requests import Response

TRIES = 4  # requests that one call makes of one server
PAUSE = 1.0  # seconds before the second request; one more before each later one
TIMEOUT = (10.0, 60.0)  # seconds to connect, and to wait for the next bytes
CHUNK = 2**18
BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers after which asking again may help
PAGES = (b"<!doctype html", b"<html", b"<head")


class DownloadFailed(Exception):
    """This address does not give the file now; the message says why."""


class Cut(Exception):
    """The connection ended before the file did, or the server asks to come again."""


def download(url: str, digest: str, target: Path, progress: Progress = silent) -> None:
    """Writes the file behind `url` to `target` once its digest ('sha256:...' or 'md5:...') is the given one."""
    part = partial(url, digest, target.parent)
    try:
        if not _is(part, digest):
            _complete(url, digest, part, progress)
        part.replace(target)
    except OSError:
        part.unlink(missing_ok=True)  # on a full disk it would be in the way
        raise


def partial(url: str, digest: str, folder: Path) -> Path:
    """Where the bytes so far of a file with this digest stand."""
    return folder / f".{filename(url)}.{digest.partition(':')[2][:16]}.part"


def filename(url: str) -> str:
    """The last part of an address's path."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2] or "file"


def _complete(url: str, digest: str, part: Path, progress: Progress) -> None:
    """Asks until `part` is the whole file with the right digest, a few times."""
    said = ""
    for attempt in range(TRIES):
        time.sleep(attempt * PAUSE)
        resumed = _size(part) > 0
        try:
            _append(url, part, progress)
        except Cut as cut:
            said = str(cut)
            continue
        if _is(part, digest):
            return
        size = _size(part)
        part.unlink(missing_ok=True)
        said = f"what it sent ({size} bytes) has not the known {digest.partition(':')[0]}"
        if not resumed:  # otherwise the first half may have been the wrong one
            raise DownloadFailed(said)
    kept = f"; {_size(part)} bytes are kept, and the next try goes on from there" if _size(part) else ""
    raise DownloadFailed(f"{said} (asked {TRIES} times){kept}")


def _append(url: str, part: Path, progress: Progress) -> None:
    """Adds to `part` what is missing of the file, or raises Cut."""
    import requests

    start = _size(part)
    # identity, for a .gz file is to arrive as it is
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        answer = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise (Cut if start else DownloadFailed)(first_line(error)) from error
    with answer:
        _pour(answer, part, _agreed(answer, start, part), progress)


def _agreed(answer: "Response", start: int, part: Path) -> int:
    """Where the bytes that the server is about to send begin: where we asked, or at the beginning."""
    said = f"{answer.status_code} {answer.reason}"
    if answer.status_code in BUSY:
        raise Cut(said)
    span = answer.headers.get("Content-Range", "")
    if start and (answer.status_code == 416 or (answer.status_code == 206 and not span.startswith(f"bytes {start}-"))):
        part.unlink(missing_ok=True)
        raise Cut(f"{said}: it does not continue our partial file")
    if answer.status_code not in (200, 206):
        raise DownloadFailed(said)
    return start if answer.status_code == 206 else 0


def _pour(answer: "Response", part: Path, start: int, progress: Progress) -> None:
    """Writes a response's bytes behind the first `start` of `part`."""
    chunks = _chunks(answer)
    first = next(chunks, b"")
    if not start and first.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        raise DownloadFailed("the server sent a web page, not the file")
    promised = answer.headers.get("Content-Length", "")
    missing = int(promised) if promised.isdigit() else 0
    if missing > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    shown = progress if missing else silent
    with (
        shown(f"{filename(answer.url)}, kB", (start + missing) // 1000) as advance,
        part.open("ab" if start else "wb") as file,
    ):
        done = 0
        for chunk in chain([first], chunks):
            file.write(chunk)
            advance(file.tell() // 1000 - done)
            done = file.tell() // 1000


def _chunks(answer: "Response") -> Iterator[bytes]:
    """A response's bytes as they were sent; an end before the promised length is a Cut."""
    from urllib3.exceptions import HTTPError

    try:
        yield from answer.raw.stream(CHUNK, decode_content=False)
    except HTTPError as error:
        raise Cut(f"the connection was cut ({first_line(error)})") from error


def _is(path: Path, digest: str) -> bool:
    """Whether the file is there and has this digest."""
    algorithm, _, wanted = digest.partition(":")
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest() == wanted


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
