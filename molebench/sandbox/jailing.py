"""Makes a jail for plug-ins that nobody has read: their files by name, and what molebench needs inside.

    with jailed(chosen(), {"my_filter": folder / "defense.py"}, workspace) as jail:
        run(cell, replace(workspace, jail=jail))

A file is seen as /plugin/<name>.py, so that it is an ordinary plug-in of that name to who is asked inside; a folder is
one of installed packages, whose entry points say which plug-ins there are. Neither data nor records are seen.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from molebench.errors import MolebenchError
from molebench.provenance import threads
from molebench.sandbox.box import CACHE, TMP, Box, Driver, Jail, Limits
from molebench.sandbox.installation import USUAL, installed
from molebench.workspace import Workspace

PLUGINS = "/plugin"


@contextmanager
def jailed(
    driver: Driver | None, plugins: Mapping[str, Path], workspace: Workspace, limits: Limits = USUAL
) -> Iterator[Jail]:
    """A jail for plug-ins by name: each a file, or a folder of installed packages. It holds copies of the files, which
    are gone afterwards. Without a driver they run plainly, in a process of their own all the same."""
    if gone := [path.name for path in plugins.values() if not path.exists()]:
        raise MolebenchError(f"there is no {gone[0]} to run; give the file of a plug-in, or a folder of packages")
    with TemporaryDirectory(prefix="molebench-") as folder:
        Path(folder).chmod(0o755)  # whoever they run as must be able to read them
        files = {name: copied(path, Path(folder) / f"{name}.py") for name, path in plugins.items() if path.is_file()}
        libraries = {name: path.absolute() for name, path in plugins.items() if name not in files}
        make = shut if driver else plain
        box, places = make(files, libraries, workspace, limits)
        yield Jail(driver, box, frozenset(plugins), places)


def copied(path: Path, to: Path) -> Path:
    """A copy that everybody may read, of a file that is no link to another."""
    if path.is_symlink():
        raise MolebenchError(f"{path.name} is a link; a submission holds its files itself")
    to.write_bytes(path.read_bytes())
    to.chmod(0o644)
    return to


def shut(
    files: Mapping[str, Path], libraries: Mapping[str, Path], workspace: Workspace, limits: Limits
) -> tuple[Box, dict[str, str]]:
    """The box of plug-ins, under paths that are the same on every machine, and these by their names."""
    del workspace
    base = installed(limits)
    places = {name: f"{PLUGINS}/{name}.py" for name in files} | {name: f"{PLUGINS}/{name}" for name in libraries}
    shown = {places[name]: path for name, path in files.items()}
    packages = {places[name]: path for name, path in libraries.items()}
    environment = {
        **base.environment,
        "MOLEBENCH_DATA": f"{TMP}/data",
        "MOLEBENCH_CACHE": CACHE,
        "MOLEBENCH_STORE": f"{TMP}/store",
        "MOLEBENCH_OFFLINE": "1",
        **computed(shown, packages, base.environment["PYTHONPATH"]),
    }
    return replace(base, files={**base.files, **shown, **packages}, environment=environment), places


def plain(
    files: Mapping[str, Path], libraries: Mapping[str, Path], workspace: Workspace, limits: Limits
) -> tuple[Box, dict[str, str]]:
    """What plug-ins that are trusted are told, and where each lies; they see whatever this process does."""
    del limits
    shown, packages = ([str(path) for path in each.values()] for each in (files, libraries))
    code = os.pathsep.join(filter(None, (installed().environment["PYTHONPATH"], os.environ.get("PYTHONPATH"))))
    own = replace(workspace, offline=True, isolate=False).environment(threads())
    places = {name: str(path) for name, path in {**files, **libraries}.items()}
    return Box(environment={**own, **computed(shown, packages, code)}), places


def computed(files: Iterable[str], packages: Iterable[str], code: str) -> dict[str, str]:
    """Variables of either: where plug-ins and packages are, and with how many threads to compute."""
    return {
        "MOLEBENCH_PLUGINS": os.pathsep.join(files),
        "MOLEBENCH_THREADS": str(threads()),
        "OMP_NUM_THREADS": str(threads()),
        "PYTHONPATH": os.pathsep.join([code, *packages]),
    }
