"""Runs in a box and tries to get out of it; what it managed goes to standard output as JSON, by the probe's name.

    python -I -S probes.py '{"parent": ..., ...}'         started by molebench.sandbox.selftest

It imports nothing of ours: the box is on trial, not what is in it. A probe answers '' where it was refused, else in
words what it could do.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Told = Mapping[str, Any]
MIB = 2**20
PUBLIC = ("1.1.1.1", 443)
TMP = "/tmp"  # noqa: S108  # the box's own, which is what is asked about
WRITABLE = (TMP, "/dev/shm", "/dev/mqueue", "/proc", "/dev/pts")  # noqa: S108
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def main() -> None:
    """Every probe, each in a process of its own so that none can break the next."""
    told = json.loads(sys.argv[1])
    burner = begun(burning, told)
    found = {name: outcome(*begun(probe, told)) for name, probe in PROBES.items()}
    found["cpu"] = outcome(*burner)
    sys.stdout.write(json.dumps(found))


def begun(probe: Callable[[Told], str], told: Told) -> tuple[int, int]:
    """A process for a probe, and where its answer can be read."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        with suppress(BaseException):
            said = probe(told)
            os.write(writing, json.dumps(said[:300]).encode())
        os._exit(0)
    os.close(writing)
    return child, reading


def outcome(child: int, reading: int) -> str:
    """What a probe says; one that was killed got nowhere."""
    with os.fdopen(reading, "rb") as answer:
        said = answer.read(2**12)
    _, status = os.waitpid(child, 0)
    if said:
        return str(json.loads(said))
    return "" if os.WIFSIGNALED(status) else "its probe broke"


def loopback(told: Told) -> str:
    """Reaches a listener of the parent's."""
    return reached(("127.0.0.1", told["port"]))


def public(told: Told) -> str:
    """Reaches the world."""
    del told
    return reached(PUBLIC)


def reached(address: tuple[str, int]) -> str:
    """Whether a connection is made, or might be: no route at all is what is wanted."""
    try:
        socket.create_connection(address, timeout=0.5).close()
    except TimeoutError:
        return f"sends packets towards {address[0]}"
    except OSError:
        return ""
    return f"connects to {address[0]}"


def writing(told: Told) -> str:
    """Writes anywhere but where it may."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    places = [*mounted, *told["folders"], "/", "/etc", "/var/tmp", "/usr/lib"]  # noqa: S108
    for folder in places:
        if folder not in WRITABLE and Path(folder).is_dir():
            with suppress(OSError):
                path = Path(folder) / told["token"]
                path.touch()
                path.unlink()
                return f"writes in {folder}"
    return ""


def temporary(told: Told) -> str:
    """Finds a /tmp that is not a fresh one of its own, or one without a limit."""
    kinds = {words[1]: words[2] for words in map(str.split, Path("/proc/self/mounts").read_text("utf-8").splitlines())}
    if kinds.get(TMP) != "tmpfs":
        return f"{TMP} is no tmpfs of its own"
    there = os.statvfs(TMP)
    if there.f_blocks * there.f_frsize > told["disk"] * MIB:
        return f"{TMP} holds {there.f_blocks * there.f_frsize // MIB} MiB"
    return ""


def secret(told: Told) -> str:
    """Reads files of the machine that nobody has shown it."""
    for path in told["secrets"]:
        with suppress(OSError):
            if told["token"] in Path(path).read_text("utf-8"):
                return "reads a file of the machine"
    return ""


def environment(told: Told) -> str:
    """Finds a variable of the parent's in any process's environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if told["token"].encode() in path.read_bytes():
                return f"reads the parent's variables in {path}"
    return ""


def processes(told: Told) -> str:
    """Sees the parent among the processes."""
    return "sees the machine's processes" if is_parent(told) else ""


def is_parent(told: Told) -> bool:
    """Whether the parent's number is the parent's here too: it began at the same moment."""
    with suppress(OSError, IndexError):
        begun_at = Path(f"/proc/{told['parent']}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[19]
        return bool(begun_at == told["began"])
    return False


def signals(told: Told) -> str:
    """Sends the parent a signal that does nothing."""
    if is_parent(told) or not Path(f"/proc/{told['parent']}").exists():
        with suppress(OSError):
            os.kill(told["parent"], signal.SIGWINCH)
            return "sends the parent a signal"
    return ""


def memory_of(told: Told) -> str:
    """Reads the parent's memory, or stops it as a debugger does."""
    if not is_parent(told) and Path(f"/proc/{told['parent']}").exists():
        return ""  # another process of that number
    with suppress(OSError), Path(f"/proc/{told['parent']}/mem").open("rb"):
        return "opens the parent's memory"
    trace = ctypes.CDLL(None).ptrace
    if trace(PTRACE_ATTACH, told["parent"], 0, 0) == 0:
        trace(PTRACE_DETACH, told["parent"], 0, 0)
        return "traces the parent"
    return ""


def storm(told: Told) -> str:
    """Forks until it is refused, and some more."""
    made: list[int] = []
    try:
        for _ in range(told["processes"] + 8):
            if (child := os.fork()) == 0:
                signal.pause()
            made.append(child)
    except OSError:
        return ""
    finally:
        for child in made:
            os.kill(child, signal.SIGKILL)
        for child in made:
            os.waitpid(child, 0)
    return f"has {len(made)} processes at once"


def memory(told: Told) -> str:
    """Takes more memory than it may, and writes into all of it."""
    size = told["memory"] * MIB + 16 * MIB
    try:
        taken = bytearray(size)
        taken[::4096] = b"x" * len(taken[::4096])
    except MemoryError:
        return ""
    return f"takes {size // MIB} MiB"


def disk(told: Told) -> str:
    """Writes a file larger than it may, or more files than there is room for."""
    paths = [Path(TMP, f"{told['token']}{i}") for i in range(told["disk"] // told["file"] + 1)]
    try:
        with suppress(OSError), paths[0].open("wb") as file:
            file.write(bytes(told["file"] * MIB + 1))
            file.flush()
            return f"writes a file of more than {told['file']} MiB"
        with suppress(OSError):
            for path in paths:
                path.write_bytes(bytes(told["file"] * MIB))
            return f"writes more than {told['disk']} MiB"
        return ""
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def descriptors(told: Told) -> str:
    """Opens more files than it may."""
    try:
        kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(told["open_files"] + 1)]
    except OSError:
        return ""
    return f"has {len(kept)} files open"


def privileges(told: Told) -> str:
    """Is somebody, or may become somebody."""
    del told
    status = Path("/proc/self/status").read_text("utf-8")
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    held = [name for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb") if int(lines[name], 16)]
    if held:
        return f"holds capabilities ({held[0]})"
    if lines["NoNewPrivs"].strip() != "1":
        return "may gain privileges"
    return "is root" if os.getuid() == 0 else ""


def namespaces(told: Told) -> str:
    """Becomes the root of a user namespace of its own, where more of the kernel can be reached."""
    del told
    return "makes user namespaces" if ctypes.CDLL(None).unshare(0x10000000) == 0 else ""


def burning(told: Told) -> str:
    """Computes for longer than it may."""
    while time.process_time() < told["cpu"] + 1.5:
        sum(range(10_000))
    return f"computes for more than {told['cpu']} s"


def honest(told: Told) -> str:
    """Does what it may: reads what it was shown, writes in /tmp, forks, takes some memory."""
    if told["token"] not in Path(told["shown"]).read_text("utf-8"):
        return "what it should be shown is not there"
    (small := Path(TMP, told["token"])).write_bytes(bytes(1000))
    small.unlink()
    if (child := os.fork()) == 0:
        os._exit(len(bytearray(4 * MIB)) != 4 * MIB)
    return "" if os.waitpid(child, 0)[1] == 0 else "a process of its own fails"


PROBES: dict[str, Callable[[Told], str]] = {
    "honest": honest,
    "loopback": loopback,
    "public": public,
    "writing": writing,
    "temporary": temporary,
    "secret": secret,
    "environment": environment,
    "processes": processes,
    "signals": signals,
    "memory_of": memory_of,
    "storm": storm,
    "memory": memory,
    "disk": disk,
    "descriptors": descriptors,
    "privileges": privileges,
    "namespaces": namespaces,
}
EVERY = (*PROBES, "cpu")

if __name__ == "__main__":
    main()
