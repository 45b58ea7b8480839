"""YAML without its traps: a mapping of words to plain values, read from a file that nobody needs to trust.

Refused are anchors and aliases (a few lines of which can stand for gigabytes), tags, keys that come twice or are no
words, deep nesting and large files.
"""

from pathlib import Path
from typing import Any

import yaml

from molebench.errors import MolebenchError

MOST_BYTES = 1 << 20
MOST_DEEP = 20  # levels; a sweep with published rows has 6


class _Strict(yaml.SafeLoader):
    """PyYAML's safe loader, less what a sweep file never needs."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused(f"the alias *{event.anchor}: write it out", event)
        if event.anchor is not None:
            raise _refused(f"the anchor &{event.anchor}: write it out where it is needed", event)
        if event.tag is not None:
            raise _refused(f"the tag {event.tag.replace('tag:yaml.org,2002:', '!!')}: plain values only", event)
        if self.depth >= MOST_DEEP:
            raise _refused(f"more than {MOST_DEEP} levels", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key that is a list or a mapping: a key is one word", key)
            if key.tag != "tag:yaml.org,2002:str":
                raise _refused(f"the key {key.value}, which is no word: put it in quotes", key)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} comes twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refused(what: str, at: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, f"not allowed here is {what}", at.start_mark)


def load_mapping(path: Path, what: str, keys: str) -> dict[str, Any]:
    """What a YAML file maps; every fault is one line that names the file. what, keys: for messages, such as sweep."""
    text = _text(path, what)
    try:
        content = _Strict(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number or a date that is none
        raise MolebenchError(f"{what} {path.name} cannot be read as YAML: {_said(error)}") from error
    if not isinstance(content, dict):
        raise MolebenchError(f"{what} {path.name} holds no mapping; expected keys such as {keys}")
    return content


def _text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise MolebenchError(f"cannot read {what} {path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise MolebenchError(f"{what} {path.name} is larger than {MOST_BYTES >> 20} MiB; split it into several files")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MolebenchError(f"{what} {path.name} cannot be read as YAML: {error}; save it as UTF-8") from error


def _said(error: Exception) -> str:
    """A fault and where it is, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and (mark := error.problem_mark):
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())[:200]
