"""The process of a defense's own: it builds one, is sent views, and sends back arrays.

    python -m molebench.defending         started by molebench.isolating

What it is comes in the first message on standard input, then a view in each. Every call runs in a fork of this process,
which has imported the defense and done nothing else: what a call leaves in memory is gone with it, so that no arm tells
the next one anything. What the defense prints goes to standard error, on standard output there are answers and nothing
else, and standard input it finds empty. All ends when the process does that began it.
"""

import faulthandler
import os
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedIOBase
from typing import Any

import numpy as np

from molebench import messages, registry
from molebench.errors import CellFailed, MolebenchError, blamed
from molebench.hooks import View
from molebench.messages import Message, received
from molebench.provenance import computing_threads
from molebench.workspace import Workspace

SAID = 2**13  # characters of the longest error


def main() -> None:
    """Serves until its standard input ends."""
    faulthandler.enable()
    requests, replies = taken()
    if (task := received(requests)) is None:
        return
    os.environ.update(task.head["environment"])
    try:
        defense, extractor = ready(task.head)
    except MolebenchError as error:
        send(replies, *failed(error))
        return
    with computing_threads():
        while (request := received(requests)) is not None:
            send(replies, *apart(defense, extractor, request, (requests, replies)))


def taken() -> tuple[BufferedIOBase, BufferedIOBase]:
    """The streams of messages, where no print and no read of the defense's can reach them."""
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return streams


def ready(task: Mapping[str, Any]) -> tuple[Any, Any]:
    """The defense and, where its card sees it, the extractor."""
    name, values = task["defense"]
    plugin = registry.find("defenses", name)
    with blamed(f"defense {name}"):
        defense = plugin.build(plugin.resolve(values, "paper"))
    return defense, extractor_of(*task["extractor"]) if task["extractor"] else None


def extractor_of(name: str, values: Mapping[str, Any]) -> Any:
    """An extractor, made without threads: OpenMP's are lost in a fork, and what waits for them waits for ever."""
    import torch

    torch.set_num_threads(1)
    plugin = registry.find("extractors", name)
    with blamed(f"extractor {name}"):
        return plugin.build(plugin.resolve(values, "paper")).load(Workspace.from_environment())[0]


def apart(defense: Any, extractor: Any, request: Message, streams: tuple[BufferedIOBase, BufferedIOBase]) -> Message:
    """The answer to a request, computed in a fork; or how the fork ended."""
    reading, writing = os.pipe()
    flush()
    if (child := os.fork()) == 0:
        try:
            for stream in (reading, *(each.fileno() for each in streams)):
                os.close(stream)
            with os.fdopen(writing, "wb") as out:
                send(out, *answered(defense, extractor, request))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        if streams[0] in select.select([answers, streams[0]], [], [])[0]:  # nobody asks twice: it has ended
            os.kill(child, signal.SIGKILL)
            os._exit(1)
        answer = relayed(answers, request.head["most"])
    _, status = os.waitpid(child, 0)
    return answer or Message({"ended": os.waitstatus_to_exitcode(status)}, {})


def relayed(answers: BufferedIOBase, most: int) -> Message | None:
    """What a fork sends; what is no message is the defense's failure too."""
    try:
        return received(answers, most)
    except MolebenchError as error:
        return failed(error)


def answered(defense: Any, extractor: Any, request: Message) -> Message:
    """What a defense says to a view, or how it fails: in the words in which it would without a process of its own."""
    head, name, moment = request.head, request.head["name"], request.head["moment"]
    shown: dict[str, Any] = {**request.arrays, **head["plain"]}
    view = View(**shown, extractor=extractor if head["extractor"] else None)
    try:
        with blamed(f"defense {name} at {moment}"):
            answer = np.array(getattr(defense, moment)(view, messages.drawing(head["rng"])))
            if not messages.numbers(answer) or answer.nbytes > head["most"]:
                most = head["most"] // 8
                words = f"returned {answer.dtype} {answer.shape} at {moment}; expected at most {most} numbers"
                raise CellFailed(f"defense {name} {words}")
            return Message({}, {"answer": answer})
    except MolebenchError as error:
        return failed(error)
    except MemoryError:
        return failed(MolebenchError("it ran out of memory"))
    except OSError as error:
        return failed(MolebenchError(f"{type(error).__name__}: {error}"))
    finally:
        flush()


def failed(error: MolebenchError) -> Message:
    """A failure; whole: whether its words say whose it is."""
    return Message({"failed": str(error)[:SAID], "whole": isinstance(error, CellFailed)}, {})


def flush() -> None:
    """Hands on what was printed."""
    with suppress(OSError, ValueError):  # the defense may have closed them
        sys.stdout.flush()
        sys.stderr.flush()


def send(stream: BufferedIOBase, head: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Writes a message."""
    for piece in messages.pieces(head, arrays):
        stream.write(piece)
    stream.flush()


if __name__ == "__main__":
    main()
