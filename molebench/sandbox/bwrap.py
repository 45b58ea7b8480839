"""bubblewrap: namespaces of its own for users, processes, network, mounts and the rest.

Two traps, both measured. Process 1 inside is bwrap itself, whose environment can be read there: it is started with
none (`env -i`). A limit on processes does not bind root, nor what root calls nobody: root becomes nobody first
(setpriv). Limits are set inside (prlimit), where the processes of this user namespace alone count.

What nobody cannot reach, an interpreter in root's home, is mounted once more at a place that nobody can, in a mount
namespace of the process's own (STAGED): it is gone with the process, and nothing of it is on the disk.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from molebench.sandbox.box import SHM, TMP, Box, Limits

NOBODY = 65534
SHARED = 16 * 2**20  # bytes of /dev/shm
LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")  # links into /usr, or folders of older systems
LINKER = ("/etc/ld.so.cache", "/etc/alternatives")
STAGES = ("/mnt", "/media", "/srv", "/opt", "/run")
# stage folder, then pairs of a path and the name under which it is mounted there, --, the command
STAGED = """set -e
stage=$1; shift
mount -n -t tmpfs -o mode=0755,size=1m tmpfs "$stage"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir "$stage/$2"; else : > "$stage/$2"; fi
  mount -n --rbind "$1" "$stage/$2"
  shift 2
done
shift
exec "$@"
"""


@dataclass(frozen=True)
class Bubblewrap:
    """program: bwrap, by name or path."""

    program: str = "bwrap"
    name: str = "bwrap"

    def missing(self) -> str:
        """What has to be installed, in words."""
        tools = (self.program, "prlimit", "choom", "env", *(("setpriv", "unshare", "mount") if is_root() else ()))
        if lacking := [tool for tool in tools if shutil.which(tool) is None]:
            return f"no {' and no '.join(lacking)} here (Debian and Ubuntu: apt-get install bubblewrap util-linux)"
        return ""

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        """What starts argv; as root, from a mount namespace of its own and as nobody."""
        first = ["choom", "-n", "1000", "--"]  # where memory runs out, it is the first to go
        last = [*limited(box.limits), *argv]
        if not is_root():
            return [*first, *self.shut(box.files, box), *last]
        stage = next(each for each in STAGES if usable(Path(each), box.files.values()))
        named = {inside: f"{stage}/{i}" for i, inside in enumerate(box.files)}
        pairs = [word for i, path in enumerate(box.files.values()) for word in (str(path), str(i))]
        staged = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", STAGED, "sh", stage, *pairs]
        dropped = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        return [*first, *staged, "--", *dropped, *self.shut(named, box), *last]

    def after(self, command: Sequence[str]) -> list[str]:
        """Nothing: the kernel kills all that is inside with its process 1."""
        del command
        return []

    def shut(self, files: Mapping[str, str | Path], box: Box) -> list[str]:
        """The command line of bwrap, up to what it starts."""
        program = shutil.which(self.program) or self.program  # `env -i` leaves no PATH to look in
        alone = ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
        ended = ["--die-with-parent", "--new-session"]
        return ["env", "-i", program, *alone, *ended, *mounts(files, box), *told(box.environment), "--"]


def mounts(files: Mapping[str, str | Path], box: Box) -> Iterator[str]:
    """The options that say what is seen where; nothing but /tmp and /dev/shm can be written."""
    yield from ("--uid", str(NOBODY), "--gid", str(NOBODY), "--ro-bind", "/usr", "/usr")
    for path in map(Path, LINKED):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    yield from (word for path in LINKER for word in ("--ro-bind-try", path, path))
    yield from ("--proc", "/proc", "--dev", "/dev", "--size", str(box.limits.disk * 2**20), "--tmpfs", TMP)
    yield from ("--size", str(SHARED), "--tmpfs", SHM)
    yield from (word for inside, path in files.items() for word in ("--ro-bind", str(path), inside))
    yield from (word for path in box.hidden for word in ("--tmpfs", path, "--remount-ro", path))
    yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", TMP)


def told(environment: Mapping[str, str]) -> list[str]:
    """The options that set the environment."""
    return ["--clearenv", *(word for name, value in environment.items() for word in ("--setenv", name, value))]


def limited(limits: Limits) -> list[str]:
    """The command line that sets limits on what it starts."""
    found = {
        "cpu": limits.cpu,
        "as": limits.memory * 2**20,
        "nproc": limits.processes,
        "fsize": limits.file * 2**20,
        "nofile": limits.open_files,
        "core": 0,
        "msgqueue": 0,
    }
    return [shutil.which("prlimit") or "prlimit", *(f"--{name}={value}" for name, value in found.items()), "--"]


def usable(stage: Path, paths: Iterable[Path]) -> bool:
    """Whether a folder is there, and hides none of the paths when something is mounted on it."""
    return stage.is_dir() and not any(path.resolve().is_relative_to(stage) for path in paths)


def is_root() -> bool:
    """Whether this process is root's."""
    return os.geteuid() == 0
