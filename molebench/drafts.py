"""Drafts: a plug-in and its test, written from templates that are working examples, to write one's own over."""

import keyword
import re
import sys
from pathlib import Path
from string import Template

from molebench import places
from molebench.errors import MolebenchError, unknown
from molebench.workspace import writing

KINDS = ("attack", "victim", "defense", "dataset")
ROLES = ("attack", "victim", "defense", "dataset", "extractor", "scorer")  # parts that --set knows already
LONGEST = 30  # so that the draft's lines stay short
TEMPLATES = Path(__file__).parent / "templates" / "new"
USED = {
    "attack": "--attack {name} --victim al_efficientnet_lite0",
    "victim": "--attack feature_collision --victim {name}",
    "defense": "--attack feature_collision --victim al_efficientnet_lite0 --defense {name}",
    "dataset": "--attack feature_collision --victim al_efficientnet_lite0 --dataset {name}",
}


def draft(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Writes NAME.py and test_NAME.py; refuses a name that cannot be used or is taken, and a file that is there."""
    check(kind, name)
    paths = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in paths:
        if path.exists():
            raise MolebenchError(f"{path} is there already and is not overwritten; choose another name, or --out DIR")
    words = {"name": name, "cls": class_name(name), "title": title(name)}
    for path, template in zip(paths, (f"{kind}.py.txt", f"test_{kind}.py.txt"), strict=True):
        text = (TEMPLATES / template).read_text("utf-8")
        with writing(path) as temporary:
            temporary.write_text(Template(text).substitute(words), "utf-8")
    return paths


def title(name: str) -> str:
    """A name in words, as a sentence begins."""
    return name.replace("_", " ").capitalize()


def class_name(name: str) -> str:
    """A name as a class has it: my_attack is MyAttack."""
    return "".join(word.capitalize() for word in name.split("_"))


def usable(name: str) -> bool:
    """Whether a file, a class and an option may have this name."""
    plain = name.isascii() and name.isidentifier() and name == name.lower() and name[0] != "_"
    other = keyword.iskeyword(name) or name in sys.stdlib_module_names or name in ROLES
    return plain and not other and not name.startswith(("test_", "conftest")) and len(name) <= LONGEST


def check(kind: str, name: str) -> None:
    """Refuses a kind that there is not, a name that is no name, and one that is taken."""
    if kind not in KINDS:
        raise unknown("kind of plug-in", kind, KINDS)
    if not usable(name):
        raise MolebenchError(
            f"{kind} {name!r}: a plug-in's name is that of its file; expected at most {LONGEST} lower-case letters, "
            f"digits and _, a letter first, no module of Python's, no test and no word of --set, such as my_{kind}"
        )
    lines = (TEMPLATES / f"{kind}.py.txt").read_text("utf-8").splitlines()
    imported = {word for line in lines if line.startswith(("from", "import")) for word in re.findall(r"\w+", line)}
    if {name, class_name(name)} & imported:
        raise MolebenchError(
            f"{kind} {name}: its file imports something of that name; choose another, such as my_{name}"
        )
    if there := places.places(f"{kind}s").get(name):
        raise MolebenchError(f"{kind} {name} is a taken name: it is {there.shown}; choose another")


def next_steps(kind: str, name: str, file: Path, test: Path) -> str:
    """What to type next."""
    return "\n".join(
        [
            f"wrote {file} and {test}",
            f"try it:   molebench run {USED[kind].format(name=name)} --profile tiny --plugin {file}",
            f"check it: molebench conformance {file}",
            f"test it:  python -m pytest {test}",
            f'ship it:  in your own package\'s pyproject.toml, [project.entry-points."molebench.{kind}s"]: '
            f'{name} = "your_package.{name}"',
            f"or give it to molebench: {kind}s/{name}.py and tests/test_{name}.py of a checkout",
        ]
    )
