"""What code that nobody has read says, made fit to be shown: it commands neither a terminal nor a workflow's log."""

from typing import Any

MARK = "submission| "  # a line that begins with :: would be a command to GitHub's runner
LONGEST = 2**13  # characters of an error


def quoted(text: str) -> str:
    """A text in one line, what cannot be printed left out."""
    return "".join(each if each.isprintable() else " " for each in text)[:LONGEST]


class Quoted:
    """A text stream that marks every line and passes on what can be printed."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.begins = stream, True

    def write(self, text: str) -> int:
        """Passes text on, marked."""
        for line in text.splitlines(keepends=True):
            words = line.rstrip("\r\n")
            self.stream.write(f"{MARK * self.begins}{quoted(words)}")
            self.begins = words != line
            self.stream.write("\n" * self.begins)
        return len(text)

    def flush(self) -> None:
        """Flushes the stream behind it."""
        self.stream.flush()
