"""The code of a submission, read and never run: what stands in it is what the form says of it.

It says nothing about what the code does. That is the sandbox's business; the list of imports is a courtesy to
a reviewer.
"""

import ast
import io
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator
from typing import Any, TypeGuard

from molebench import places
from molebench.codehash import canonical
from molebench.errors import listed
from molebench.hooks import MOMENTS
from molebench.submission.form import Form

KNOWN = ("molebench", "numpy", "scipy", "sklearn", "torch", "jaxtyping", "annotated_types", "skimage", "PIL")
REACHING = ("ctypes", "importlib", "multiprocessing", "os", "pickle", "shutil", "signal", "socket", "subprocess", "sys")
ACTING = (*MOMENTS, "suspicion")


def parsed(name: str, data: bytes) -> tuple[ast.Module | None, str]:
    """The tree of a source, or why there is none."""
    if why := foreign_coding(name, data):
        return None, why
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is the author's
            tree = ast.parse(data.decode("utf-8"))
        canonical(tree)  # which its digest is over
        return tree, ""
    except (RecursionError, MemoryError):  # the parser's own limits, and those of who walks the tree
        return None, f"{name} is nested too deeply to be read; write it flat"
    except (SyntaxError, ValueError) as error:
        at = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        deep = "too many" in why and ("nested" in why or "indentation" in why)
        return None, f"{name}{at}: {'it is nested too deeply' if deep else 'it is not Python'}: {why[:100]}"


def foreign_coding(name: str, data: bytes) -> str:
    """Why a source is not read as UTF-8; '' where it is. A line that names another coding has Python run what no
    reviewer sees: in UTF-7 a comment may go on as code."""
    try:
        coding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:  # no such coding, or bytes that are none of its
        return f"{name}: {str(error)[:100]}; save it as UTF-8, without a line that names a coding"
    return "" if coding in ("utf-8", "utf-8-sig") else f"{name} says that it is in {coding}; save it as UTF-8"


def faults(name: str, kind: str, data: bytes, tree: ast.Module, form: Form | None) -> Iterator[str]:
    """What is wrong with a source, and what in it is not as the form says."""
    if not ast.get_docstring(tree):
        yield f"{name} has no docstring; open it with one sentence on what it does, the maths, and the paper"
    yield from foreign(name, data)
    marks = [mark.rstrip("s") for mark in places.marked(tree)]
    if marks != [kind]:
        came = f"marks {', '.join(f'@{m}' for m in marks)}" if marks else "marks none"
        yield f"{name} {came}; expected exactly one object, marked @{kind} of molebench.cards"
        return
    if (made := marked_class(tree, kind)) is None:
        yield f"{name}: no class stands under @{kind}(...), by that name; expected a frozen dataclass"
    elif form:
        yield from differing(name, made, form)


def foreign(name: str, data: bytes) -> Iterator[str]:
    """Names that are not ASCII: they may look like others."""
    try:
        words = [token for token in tokenize.tokenize(io.BytesIO(data).readline) if not token.string.isascii()]
        strange = [word for word in words if word.type == tokenize.NAME]
        inside = [word for word in words if word.type == tokenize.STRING and not is_text(word.string)]
    except (tokenize.TokenError, SyntaxError, RecursionError, MemoryError) as error:
        yield f"{name} cannot be cut into words: {str(error)[:100]}"
        return
    for word in strange[:1]:
        yield f"{name}, line {word.start[0]}: the name {word.string!a} is not ASCII and may look like another"
    for word in inside[:1]:
        yield f"{name}, line {word.start[0]}: a name in an f-string is not ASCII and may look like another"


def is_text(string: str) -> bool:
    """Whether all in a string's literal that is not ASCII is text: no name in an f-string, which is one word until
    Python 3.12. With a sign in its place that stands in no code, what was text can still be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(re.sub(r"[^\x00-\x7f]", "$", string))
    except SyntaxError:
        return False
    return True


def marked_class(tree: ast.Module, kind: str) -> ast.ClassDef | None:
    """The class that the decorator of its kind marks."""
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and decorated(node, kind)), None)


def decorated(node: ast.ClassDef, kind: str) -> ast.Call | None:
    """The call of a class's decorator of this kind."""
    for each in node.decorator_list:
        if isinstance(each, ast.Call):
            word = each.func.attr if isinstance(each.func, ast.Attribute) else getattr(each.func, "id", "")
            if word == kind:
                return each
    return None


def differing(name: str, made: ast.ClassDef, form: Form) -> Iterator[str]:
    """Where a class is not what the form says of it: parameters, moments, scenarios, what it sees."""
    there = {str(getattr(node.target, "id", "")) for node in made.body if is_field(node)}
    if missing := sorted(there - set(form.params)):
        yield f"params: {name} has {listed(missing)} too; give every parameter its value"
    if extra := sorted(set(form.params) - there):
        yield f"params: {name} has no {listed(extra)}; its parameters are {listed(sorted(there)) or 'none'}"
    methods = {node.name for node in made.body if isinstance(node, ast.FunctionDef)}
    if form.kind == "attack" and "craft" not in methods:
        yield f"{name}: class {made.name} has no method craft(view, rng)"
    if form.kind == "defense":
        yield from acting(name, made, methods, form)
    yield from carded(name, made, form)


def is_field(node: ast.stmt) -> TypeGuard[ast.AnnAssign]:
    """Whether a line of a dataclass's body is a field of it."""
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        return False
    return "ClassVar" not in {getattr(each, "id", getattr(each, "attr", "")) for each in ast.walk(node.annotation)}


def acting(name: str, made: ast.ClassDef, methods: set[str], form: Form) -> Iterator[str]:
    """Moments that are declared and not there, and the other way round."""
    declared = set(form.card.moments)
    for moment in sorted(declared - methods):
        yield f"card, moments: {moment} is declared, but class {made.name} of {name} has no such method"
    for moment in sorted((methods & set(ACTING)) - declared):
        yield f"card, moments: class {made.name} of {name} acts at {moment}; declare it, or rename the method"


def carded(name: str, made: ast.ClassDef, form: Form) -> Iterator[str]:
    """Words of the decorator that are not the form's, where they can be read."""
    call = decorated(made, form.kind)
    given = {word.arg: literal(word.value) for word in call.keywords if word.arg} if call else {}
    for word, said in (("scenarios", form.card.scenarios), ("sees", form.card.sees)):
        came = given.get(word, ())
        if isinstance(came, tuple | list) and sorted(map(str, came)) != sorted(said):
            here, there = listed(said) or "nothing", listed(map(str, came)) or "nothing"
            yield f"card, {word}: {here} in the form, {there} in {name}; say the same"


def literal(node: ast.expr) -> Any:
    """A constant; None where it has to be computed."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def notes(name: str, tree: ast.Module) -> Iterator[str]:
    """What a reviewer may want to look at; nothing of it is a fault."""
    imported = {word for node in ast.walk(tree) for word in modules(node)}
    strange = sorted(w for w in imported if w in REACHING or (w not in KNOWN and w not in sys.stdlib_module_names))
    if strange:
        yield f"{name} imports {listed(strange)}"


def modules(node: ast.AST) -> list[str]:
    """The top names that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return []
