"""Writing small archives laid out as published ones are, for the tests of several datasets."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def tar_gz(path: Path, folder: str, contents: Mapping[str, bytes]) -> Path:
    """A tar.gz of one folder and its files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        top = tarfile.TarInfo(folder)
        top.type = tarfile.DIRTYPE
        tar.addfile(top)
        for name, data in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
