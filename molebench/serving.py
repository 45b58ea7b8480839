"""What the process of a plug-in's own does, whatever the plug-in: it builds one, is sent requests, and answers each.

What it is comes in the first message on standard input, then a request in each. Every call runs in a fork of this
process, which has imported the plug-in and done nothing else: what a call leaves in memory is gone with it, so that no
arm tells the next one anything. What the plug-in prints goes to standard error, on standard output there are answers
and nothing else, and standard input it finds empty. All ends when the process does that began it.
"""

import faulthandler
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BufferedIOBase
from typing import Any

from molebench import messages, registry
from molebench.errors import CellFailed, MolebenchError, blamed
from molebench.messages import Message, received
from molebench.provenance import computing_threads
from molebench.workspace import Workspace

SAID = 2**13  # characters of the longest error
Answer = Callable[[Message], Message]


def serve(ready: Callable[[Mapping[str, Any]], Answer]) -> None:
    """Serves until its standard input ends. ready: makes what answers from what it is told first."""
    faulthandler.enable()
    requests, replies = taken()
    if (task := received(requests)) is None:
        return
    os.environ.update(task.head["environment"])
    try:
        answer = ready(task.head)
    except MolebenchError as error:
        send(replies, *failed(error))
        return
    with computing_threads():
        while (request := received(requests)) is not None:
            send(replies, *apart(answer, request, (requests, replies)))


def taken() -> tuple[BufferedIOBase, BufferedIOBase]:
    """The streams of messages, where no print and no read of the defense's can reach them."""
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return streams


def built(kind: str, name: str, values: Mapping[str, Any]) -> Any:
    """The plug-in."""
    plugin = registry.find(f"{kind}s", name)
    with blamed(f"{kind} {name}"):
        return plugin.build(plugin.resolve(values, "paper"))


def extractor_of(name: str, values: Mapping[str, Any]) -> Any:
    """An extractor, made without threads: OpenMP's are lost in a fork, and what waits for them waits for ever."""
    import torch

    torch.set_num_threads(1)
    plugin = registry.find("extractors", name)
    with blamed(f"extractor {name}"):
        return plugin.build(plugin.resolve(values, "paper")).load(Workspace.from_environment())[0]


def apart(answer: Answer, request: Message, streams: tuple[BufferedIOBase, BufferedIOBase]) -> Message:
    """The answer to a request, computed in a fork; or how the fork ended."""
    reading, writing = os.pipe()
    flush()
    if (child := os.fork()) == 0:
        try:
            for stream in (reading, *(each.fileno() for each in streams)):
                os.close(stream)
            with os.fdopen(writing, "wb") as out:
                send(out, *answer(request))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        if streams[0] in select.select([answers, streams[0]], [], [])[0]:  # nobody asks twice: it has ended
            os.kill(child, signal.SIGKILL)
            os._exit(1)
        said = relayed(answers, request.head["most"])
    _, status = os.waitpid(child, 0)
    return said or Message({"ended": os.waitstatus_to_exitcode(status)}, {})


def relayed(answers: BufferedIOBase, most: int) -> Message | None:
    """What a fork sends; what is no message is the defense's failure too."""
    try:
        return received(answers, most)
    except MolebenchError as error:
        return failed(error)


def judged(compute: Callable[[], Message]) -> Message:
    """An answer, or how it fails: in the words in which it would without a process of its own."""
    try:
        return compute()
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
