"""Files of Hugging Face repositories, checked against the sha256 that the hub states beside them.

No digest is pinned here: what was loaded is named by its sha256 in every record.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from molebench.downloads import TIMEOUT, DownloadFailed, download
from molebench.errors import first_line
from molebench.progress import Progress, silent
from molebench.sources import SourceFailed


@dataclass(frozen=True)
class HubFile:
    """A large file of a Hugging Face repository; its sha256 is what the hub states beside it."""

    repository: str
    file: str

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return f"Hugging Face {self.repository}"

    def fetch(self, target: Path, progress: Progress = silent) -> None:
        """Writes the checked file to `target`, or raises SourceFailed."""
        hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        url = f"{hub}/{self.repository}/resolve/main/{self.file}"
        try:
            download(url, f"sha256:{stated(url)}", target, progress)
        except DownloadFailed as error:
            raise SourceFailed(str(error)) from error


def stated(url: str) -> str:
    """The sha256 that the hub states for a file."""
    import requests

    try:
        answer = requests.head(url, timeout=TIMEOUT)  # the hub's own answer; the file is elsewhere
    except requests.RequestException as error:
        raise SourceFailed(first_line(error)) from error
    digest = answer.headers.get("X-Linked-ETag", "").strip('"')
    if answer.status_code >= 400 or len(digest) != 64:
        raise SourceFailed(f"{answer.status_code} {answer.reason}, and no sha256 of the file")
    return digest
