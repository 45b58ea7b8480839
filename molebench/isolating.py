"""A defense in a process of its own: what stands for it here, sends it views and gets back arrays.

It acts at the same moments and answers the same, draw for draw. What hangs is killed where an alarm could not reach it,
what dies is named with its exit code, what it leaves in memory is forgotten after each call (molebench.defending), and
it holds nothing of this process: neither its files nor its arrays. What it writes to disk or leaves running in the
background a jail forbids (molebench.sandbox.box), where the workspace has one for it.
"""

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from io import BufferedIOBase
from typing import Any, NamedTuple, cast

import numpy as np

from molebench.errors import CellFailed, MolebenchError, how_ended
from molebench.grid import Part
from molebench.hooks import LONGEST, MOMENTS, View
from molebench.limits import PRINTED, Gauge, OverLimit
from molebench.messages import Message, drawn, pieces, received
from molebench.provenance import threads
from molebench.sandbox.box import CACHE, Jail
from molebench.sandbox.quoting import Quoted, quoted
from molebench.trial import Trial
from molebench.types import Array
from molebench.workspace import Workspace

CHUNK = 2**16  # bytes written or read at once
LEAVING = 1.0  # seconds in which a process ends that has closed its answers
CLEARING = 60.0  # seconds for what is left to do after its end
CODES = frozenset((*range(256), *(-int(each) for each in signal.Signals)))  # with which a process can end
SERVERS = {"defense": "molebench.defending", "attack": "molebench.crafting"}


class Question(NamedTuple):
    """What is asked, in plain values and arrays, who is blamed, and how many bytes of arrays the answer may have."""

    who: str
    head: Mapping[str, Any]
    arrays: Mapping[str, Array]
    most: int


def isolated(part: Part, extractor: Part | None, workspace: Workspace, seconds: float) -> Any:
    """What stands for a defense: its moments, its card and its parameters; a call may take so many seconds."""
    seen = extractor if "extractor" in part.plugin.card.sees else None
    there = [moment for moment in (*MOMENTS, "suspicion") if callable(getattr(part.plugin.made, moment, None))]
    known = {**part.values, "card": part.plugin.card, **{moment: asking(moment) for moment in there}}
    proxy = type(part.name, (), known)()
    proxy._child = child_of(part, seen, workspace, seconds)
    return proxy


def child_of(part: Part, extractor: Part | None, workspace: Workspace, seconds: float) -> "Child":
    """The process of a plug-in that sees an extractor, or none; in its jail, where it has one."""
    jail = jail_of(part.name, extractor, workspace)
    own = replace(workspace, offline=True).environment(threads())  # what it loads is here already
    task = {
        part.plugin.kind: (part.name, part.values),
        "extractor": (extractor.name, extractor.values) if extractor else None,
        "environment": jail.box.environment if jail else own,
    }
    return Child([sys.executable, "-m", SERVERS[part.plugin.kind]], task, seconds, jail)


def jail_of(name: str, extractor: Part | None, workspace: Workspace) -> Jail | None:
    """The jail of a plug-in, where it has one: with the weights of the extractor that it sees, no others, and no other
    submission: an attack's package in the path of a defense could do there what it likes."""
    if workspace.jail is None or name not in workspace.jail.names:
        return None
    jail = workspace.jail.alone({name, extractor.name} if extractor else {name})
    there = (workspace.cache / "weights").glob(f"{extractor.name}-*.safetensors") if extractor else ()
    return jail.seeing({f"{CACHE}/weights/{path.name}": path.resolve() for path in there})


@contextmanager
def gone_after(trial: Trial) -> Iterator[None]:
    """Ends the processes of a trial's defenses when the block does."""
    try:
        yield
    finally:
        for each in filter(None, (trial, trial.matched)):
            for _, defense in each.defenses.defenses:
                if child := getattr(defense, "_child", None):
                    child.end()


def asking(moment: str) -> Callable[..., Array]:
    """The method of one moment."""

    def ask(self: Any, view: View, rng: np.random.Generator) -> Array:
        head, arrays = shown(view)
        most, name = greatest(moment, view), type(self).__name__
        head |= {"name": name, "moment": moment, "rng": drawn(rng), "most": most}
        reply = self._child.ask(Question(f"defense {name} at {moment}", head, arrays, most))
        if reply.arrays.keys() != {"answer"}:
            raise MolebenchError("its answer is not one array")
        return reply.arrays["answer"]

    return ask


@dataclass(eq=False)
class Child:
    """The process of one plug-in, begun when it is first asked; in a jail, for each question.

    command: what starts it. task: what it is told first.
    """

    command: Sequence[str]
    task: Mapping[str, Any]
    seconds: float
    jail: Jail | None = None
    process: "Process | None" = None

    def ask(self, question: Question) -> Message:
        """Its answer; whatever goes wrong is its end."""
        answer = None
        try:
            answer = self.answer(question)
            return answer
        finally:
            if answer is None or self.jail:
                self.end()

    def end(self) -> None:
        """Its end; another question begins another process."""
        if self.process:
            self.process.end()
        self.process = None

    def answer(self, question: Question) -> Message:
        """Its answer, or how it failed."""
        begun = [] if self.process else pieces(self.task)
        process = self.process = self.process or Process(self.command, self.jail)
        request = pieces(question.head, question.arrays)
        reply = process.asked([*begun, *request], question.most, self.seconds)
        if reply is None or "ended" in reply.head:
            code = process.left() if reply is None else reply.head["ended"]
            whole = code if type(code) is int and code in CODES else 1
            raise CellFailed(f"{question.who}: its process {how_ended(whole)}")
        if "failed" in reply.head:
            said = str(reply.head["failed"])
            raise (CellFailed if reply.head.get("whole") else MolebenchError)(quoted(said) if self.jail else said)
        return reply


class Process:
    """A process, its three pipes, and its end: at the latest when nobody holds it any more."""

    def __init__(self, command: Sequence[str], jail: Jail | None = None) -> None:
        pipe, words = subprocess.PIPE, jail.command(command) if jail else command
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        self.printed: Any = Quoted(sys.stderr) if jail else sys.stderr
        self.group = process.pid
        self.pipes = cast("tuple[BufferedIOBase, ...]", (process.stdin, process.stdout, process.stderr))
        self.end = weakref.finalize(self, ended, process, jail.after(words) if jail else [])
        self.wait = process.wait
        for stream in self.pipes[::2]:
            os.set_blocking(stream.fileno(), False)

    def left(self) -> int | None:
        """Its exit code, once its answers have ended: it may end by itself first, or our signal would be its code."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(LEAVING)
        return self.end()

    def asked(self, request: list[memoryview], most: int, seconds: float) -> Message | None:
        """What it answers to a request; None where it ends without."""
        out, stop = Gauge(self.printed, PRINTED), time.monotonic() + seconds
        self.until_it_answers(request, out, seconds)
        with killed(self.group, stop - time.monotonic()):  # half an answer may be all that comes
            reply = received(self.pipes[1], most)
        if time.monotonic() >= stop:  # it may have been killed, with a whole answer too
            raise OverLimit(f"it took longer than {seconds:g} s")
        passed_on(self.pipes[2], out)
        return reply

    def until_it_answers(self, request: list[memoryview], out: Gauge, seconds: float) -> None:
        """Writes a request and passes on what is printed, until an answer begins or the process ends."""
        stop, (requests, answers, printed) = time.monotonic() + seconds, self.pipes
        with selectors.DefaultSelector() as watch:
            watch.register(requests, selectors.EVENT_WRITE)
            for stream in (answers, printed):
                watch.register(stream, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in watch.select(max(0.0, stop - time.monotonic()))]
                if time.monotonic() >= stop:
                    raise OverLimit(f"it took longer than {seconds:g} s")
                if printed in ready and not passed_on(printed, out):
                    watch.unregister(printed)
                if requests in ready and not written(requests, request):
                    watch.unregister(requests)
                if answers in ready:
                    return


def passed_on(printed: BufferedIOBase, out: Gauge) -> bool:
    """Hands on what has been printed; whether there may be more."""
    try:
        while text := os.read(printed.fileno(), CHUNK):
            out.write(text.decode("utf-8", "replace"))
    except BlockingIOError:
        return True
    return False


def written(requests: BufferedIOBase, request: list[memoryview]) -> bool:
    """Writes some of a request; whether any of it is left. What nobody will read is dropped."""
    try:
        while request:
            request[0] = request[0][os.write(requests.fileno(), request[0][:CHUNK]) :]
            if not request[0]:
                del request[0]
    except BlockingIOError:
        return True
    except BrokenPipeError:
        request.clear()
    return False


@contextmanager
def killed(group: int, seconds: float) -> Iterator[None]:
    """Kills a group of processes when the block takes longer."""
    timer = threading.Timer(max(0.0, seconds), os.killpg, (group, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # whom it would kill later may be somebody else


def ended(process: "subprocess.Popen[bytes]", after: Sequence[str] = ()) -> int:
    """Kills a process and all that it began, where it has not ended, and runs what is left to do; its exit code."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if after:
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(after, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=CLEARING, check=False)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
    return code


def shown(view: View) -> tuple[dict[str, Any], dict[str, Array]]:
    """A view as a message: its arrays, its plain values, and whether it holds the extractor."""
    there = {f.name: getattr(view, f.name) for f in fields(view)}
    arrays = {name: value for name, value in there.items() if isinstance(value, np.ndarray)}
    plain = {n: v for n, v in there.items() if n not in arrays and n != "extractor" and v is not None}
    return {"plain": plain, "extractor": view.extractor is not None}, arrays


def greatest(moment: str, view: View) -> int:
    """Bytes of the largest answer that a moment asks for, in numbers of eight bytes."""
    n = len(view.x)
    counts = {"transform": view.x.size, "fit": n * view.k, "predict": n * view.k, "schedule": LONGEST * n}
    return 8 * max(1, counts.get(moment, n))
