"""Whether a driver holds: probes that try to get out of a box that it made (molebench.sandbox.probes).

Each run is against limits smaller than any real one, so that it takes a second; what holds them holds larger ones.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from molebench.errors import first_line
from molebench.sandbox import probes
from molebench.sandbox.box import Box, Driver, Limits
from molebench.sandbox.installation import installed

SMALL = Limits(cpu=1, memory=128, processes=24, file=1, disk=4, open_files=64)
SHOWN = "/shown/token"
PATIENCE = 60.0  # seconds
SHARED = ("/var/tmp", "/dev/shm")  # noqa: S108  # where everybody may write, beside the place for temporary files


def faults(driver: Driver) -> str:
    """Why a driver is not to be used, in one line; '' where it holds."""
    if lacking := driver.missing():
        return lacking
    with trial() as (told, box):
        argv = [sys.executable, "-I", "-S", probes.__file__, json.dumps(told)]
        return judged(*ran(driver, argv, box, str(told["token"])))


@contextmanager
def trial() -> Iterator[tuple[Mapping[str, Any], Box]]:
    """What the probes are told, and the box that they shall not get out of."""
    token = secrets.token_hex(16)
    with TemporaryDirectory(prefix="molebench-") as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        Path(folder).chmod(0o755)
        with planted([Path(folder), *map(Path, SHARED)], token) as paths:
            told = {
                "token": token,
                "port": listener.getsockname()[1],
                "parent": os.getpid(),
                "began": Path("/proc/self/stat").read_text("utf-8").rsplit(")", 1)[1].split()[19],
                "secrets": [str(path) for path in paths],
                "shown": SHOWN,
                "folders": list(installed().files),
                **asdict(SMALL),
            }
            there = installed(SMALL)
            yield told, replace(there, files={**there.files, SHOWN: paths[0]})


@contextmanager
def planted(folders: list[Path], token: str) -> Iterator[list[Path]]:
    """A file that everybody may read in each of the folders that can be written; gone afterwards."""
    paths = [folder / f"molebench-{token}" for folder in folders if os.access(folder, os.W_OK)]
    try:
        for path in paths:
            path.write_text(token, "utf-8")
            path.chmod(0o644)
        yield paths
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def ran(driver: Driver, argv: list[str], box: Box, token: str) -> tuple[str, str]:
    """What the probes say, and what else was said."""
    command = driver.command(argv, box)
    environment = {**os.environ, "MOLEBENCH_CANARY": token}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    finally:
        if after := driver.after(command):
            subprocess.run(after, capture_output=True, timeout=PATIENCE, check=False)
    return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def judged(said: str, beside: str) -> str:
    """Which probes got through; one that is not heard of counts as one that did."""
    try:
        found = dict(json.loads(said))
    except (ValueError, TypeError):
        return f"it does not start ({beginning(beside)})"
    got = {name: found.get(name, "was not heard of") for name in probes.EVERY}
    return "; ".join(f"{name}: {first_line(what)}" for name, what in got.items() if what)


def beginning(text: str) -> str:
    """The first line of what a program says, at most 160 characters."""
    return first_line(text.strip() or "it says nothing")
