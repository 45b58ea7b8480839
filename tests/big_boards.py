"""What a board of very many records costs: time and memory of its build, weight of its pages."""

import gzip
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.board_records import fill
from tests.conftest import ROOT

BUILD = """
import json, re, resource, sys, time
from pathlib import Path
from molebench.leaderboard.build import build
start = time.perf_counter()
records = build(Path(sys.argv[1]), Path(sys.argv[2]))
status = Path("/proc/self/status")  # its peak begins anew with a program; ru_maxrss has that of who began it, too
own = re.findall(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else []
kib = [int(own[0]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
kib.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(json.dumps([records, time.perf_counter() - start, *(each / 1024 for each in kib)]))
"""
LOADED = re.compile(r'<(?:script|img)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"')


@dataclass(frozen=True)
class Built:
    """mib: peak resident memory of the process that builds. helper_mib: of the largest that helps it check records."""

    site: Path
    records: int
    seconds: float
    mib: float
    helper_mib: float


def built(folder: Path, records: int) -> Built:
    """A board of made-up records, built in a process of its own."""
    fill(folder / "store", records)
    command = [sys.executable, "-c", BUILD, str(folder / "store"), str(folder / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Built(folder / "site", *json.loads(done.stdout.splitlines()[-1]))


def weight(page: Path) -> int:
    """Bytes of a page and of all that it loads, compressed as a server sends them."""
    text = page.read_text("utf-8")
    others = {(page.parent / (found[1] or found[2])).resolve() for found in LOADED.finditer(text)}
    shards = {
        (page.parent / name).resolve() for each in re.findall('data-shards="([^"]*)"', text) for name in each.split()
    }
    return sum(len(gzip.compress(path.read_bytes())) for path in {page, *others, *shards})
