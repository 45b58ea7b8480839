"""A submission as a package: unpacked into a folder of its own, and nothing of it is run for that.

Only a wheel is taken, and only the one whose sha256 the form gives: from the submission's folder, or else from where
pip gets packages. It brings nothing with it: what it imports is what molebench has installed.
"""

import subprocess
import sys
from pathlib import Path

from molebench.errors import MolebenchError, first_line


def unpacked(requirement: str, folder: Path, to: Path, offline: bool) -> Path:
    """The folder that holds a package, which is made below `to`. folder: the submission's."""
    to.mkdir(parents=True)
    pinned, packages = to / "requirements.txt", to / "packages"
    pinned.write_text(f"{requirement}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--isolated"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-compile", "--no-warn-script-location"]
    local = ["--find-links", str(folder.absolute())] if any(folder.glob("*.whl")) else []
    local += ["--no-index"] if local or offline else []
    done = subprocess.run(
        [*command, *local, "--target", str(packages), "--requirement", str(pinned)], capture_output=True, text=True
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
        raise MolebenchError(f"package {requirement.split()[0]} cannot be had: {first_line(said[0])}")
    for path in [packages, *packages.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # whoever it runs as must be able to read it
    return packages
