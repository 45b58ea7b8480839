"""A submission as a package: unpacked into a folder of its own, and nothing of it is run for that.

Only a wheel is taken, and only the one whose sha256 the form gives: from the submission's folder, or else from where
pip gets packages. It brings nothing with it: what it imports is what molebench has installed.
"""

import subprocess
import sys
from pathlib import Path

from molebench.errors import MolebenchError, first_line
from molebench.submission import wheel

PATIENCE = 600.0  # seconds for each of pip's two turns
COMMON = ("--quiet", "--disable-pip-version-check", "--isolated", "--no-deps", "--only-binary", ":all:")


def unpacked(requirement: str, folder: Path, to: Path, offline: bool) -> Path:
    """The folder that holds a package, which is made below `to`. folder: the submission's."""
    to.mkdir(parents=True)
    pinned, packages, name = to / "requirements.txt", to / "packages", requirement.split()[0]
    pinned.write_text(f"{requirement}\n", "utf-8")
    wanted = ["--require-hashes", "--requirement", str(pinned)]
    if not any(folder.glob("*.whl")) and not offline:
        folder = to / "wheels"
        pip(name, "download", *COMMON, *wanted, "--dest", str(folder))
        for path in folder.iterdir():  # nobody has looked at it yet
            if found := next(wheel.unpacking(path), ""):
                raise MolebenchError(f"package {name}: {found}")
    local = ["--no-index", "--find-links", str(folder.absolute())]
    pip(name, "install", *COMMON, *local, *wanted, "--no-compile", "--no-warn-script-location", "--target", packages)
    for path in [packages, *packages.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # whoever it runs as must be able to read it
    return packages


def pip(name: str, *words: str | Path) -> None:
    """Has pip do something for a package; MolebenchError where it cannot."""
    command = [sys.executable, "-m", "pip", *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise MolebenchError(f"package {name} cannot be had: pip took longer than {PATIENCE:g} s") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
        raise MolebenchError(f"package {name} cannot be had: {first_line(said[0])}")
