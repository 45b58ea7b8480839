"""What of this installation a process in a box must see to run molebench: the interpreter, its libraries, our code.

Not seen: the rest of the checkout (records, tests, history), our data sets and those of scikit-learn, since the labels
of test items are among them.
"""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import molebench
from molebench.sandbox.box import TMP, Box, Limits

KINDS = ("attacks", "defenses", "victims")  # the plug-in folders that stand beside the package in a checkout
WITHHELD = ("datasets", "leaderboard", "benchmarks")  # ... and those that an installation has inside the package
ENVIRONMENT = ("bin", "include", "lib", "lib64", "share")  # the folders of a virtual environment
USUAL = Limits()
SYSTEM = Path("/usr")  # every driver shows it


def installed(limits: Limits = USUAL) -> Box:
    """A box that holds what is needed to start this interpreter and to import molebench, and nothing else."""
    package = Path(molebench.__file__).parent
    environment = {
        "HOME": TMP,
        "LANG": "C.UTF-8",
        "LOGNAME": "nobody",  # libraries ask for a name, and there is no /etc/passwd
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(package.parent),
        "PYTHONSAFEPATH": "1",
    }
    files = {str(path): path for path in sorted({*interpreter(), *code(package)})}
    return Box(files, environment, limits, tuple(str(path) for path in withheld(package)))


def interpreter() -> Iterator[Path]:
    """The folders of the interpreter and of its virtual environment, by every name that they go by."""
    for prefix in (sys.base_prefix, sys.prefix):
        for path in (Path(prefix), Path(prefix).resolve()):
            if not path.is_relative_to(SYSTEM):
                yield path


def code(package: Path) -> Iterator[Path]:
    """Our package, and in a checkout the plug-in folders beside it."""
    yield package
    if (package.parent / "setup.cfg").is_file():
        yield package.parent / "setup.cfg"  # by which the package knows that it is one
        yield from (package.parent / kind for kind in KINDS)


def withheld(package: Path) -> Iterator[Path]:
    """Folders below those that are seen which are not for a defense's eyes."""
    yield from (package / name for name in WITHHELD if (package / name).is_dir())
    yield from beside(package)
    spec = find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (data := Path(folder) / "datasets" / "data").is_dir():
            yield data


def beside(package: Path) -> Iterator[Path]:
    """What else a checkout holds, where the interpreter's folders are around it: a virtual environment that was made of
    it, or /usr."""
    root = package.parent
    seen = any(root.is_relative_to(each) for each in (SYSTEM, *interpreter()))
    if seen and (root / "setup.cfg").is_file():
        needed = [package, *(root / name for name in (*KINDS, *ENVIRONMENT)), Path(sys.prefix), Path(sys.base_prefix)]
        for path in sorted(root.iterdir()):
            if path.is_dir() and not path.is_symlink() and not any(each.is_relative_to(path) for each in needed):
                yield path
