"""Texts that strangers write for others to read: one line, of a bounded length, that shows what it holds.

What turns the direction of reading, has no width or is drawn like something else could make a page, a log or a review
say what the file does not.
"""

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import urlsplit

UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, format (directions, zero widths), private, line ends
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters and marks that are drawn as nothing
HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,63}")
ADDRESS = re.compile(r"[!-;=?-~]+")  # printable ASCII but < and >
TO_FILL = "FILL IN"  # what a scaffold leaves to its author


def character(text: str, spared: str = "") -> str:
    """The first character that cannot be seen, by its code point; '' where there is none."""
    return next((f"U+{ord(c):04X}" for c in text if c not in spared and unseen(c)), "")


def unseen(c: str) -> bool:
    """Whether a character shows nothing, or changes how others are shown."""
    return c in BLANK or unicodedata.category(c) in UNSEEN


def line(text: str) -> str:
    """What is wrong with a text that should be one plain line; '' where nothing is."""
    if text.startswith(TO_FILL):
        return "is still to be filled in"
    if not text.strip():
        return "is empty"
    if code := character(text):
        return f"holds the character {code}, which cannot be seen; write plain text in one line"
    if text != unicodedata.normalize("NFKC", text):
        return f"is not in Unicode's NFKC form; write {unicodedata.normalize('NFKC', text)!r}"
    return ""


def link(text: str) -> str:
    """What is wrong with an address; '' where nothing is."""
    if text.startswith(TO_FILL):
        return "is still to be filled in, or left out"
    try:
        parts = urlsplit(text)
        plain = parts.scheme == "https" and parts.netloc == (parts.hostname or "") and HOST.fullmatch(parts.netloc)
    except ValueError:
        plain = None
    if plain and ADDRESS.fullmatch(text) and text.startswith("https://"):
        return ""
    return "is no plain address; expected https://, a host's name without user, port or number, and a path"


def content(name: str, data: bytes) -> Iterator[str]:
    """What is wrong with the bytes of a text file."""
    if data.startswith(b"\xef\xbb\xbf"):
        yield f"{name} begins with a byte order mark; save it as UTF-8 without one"
        data = data[3:]
    if b"\0" in data:
        yield f"{name} holds a NUL byte; it is no text"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f"{name} is not UTF-8 (byte {error.start}); save it as UTF-8"
        return
    if alone := re.search(r"\r(?!\n)", text):
        at = text.count("\n", 0, alone.start()) + 1
        yield f"{name}, line {at}: holds a carriage return without a line feed; end lines with LF"
    if code := character(text, spared="\n\r\t\f\0"):
        at = next(i for i, row in enumerate(text.split("\n"), 1) if character(row, spared="\r\t\f\0"))
        yield f"{name}, line {at}: holds the character {code}, which cannot be seen; write it out or remove it"


def readable(data: bytes) -> bool:
    """Whether the bytes of a text file are text at all."""
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False
