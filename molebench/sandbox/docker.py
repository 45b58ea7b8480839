"""Docker, or what goes by its command line: a container without network, capabilities or a writable root.

It shows the same files as bubblewrap does, /usr of this machine among them: of the image little more than an empty root
is used. Killing the client does not end a container: it has a name, by which it is removed afterwards.
"""

import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from molebench.sandbox.box import TMP, Box, Limits

NOBODY = 65534
NAME = "--name=molebench-"
WRITABLE = "rw,nosuid,nodev,mode=1777"


@dataclass(frozen=True)
class Docker:
    """image: what the container is made of. program: docker, by name or path. cpus: of this machine, at most."""

    image: str = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    program: str = "docker"
    name: str = "docker"
    cpus: int = 2

    def missing(self) -> str:
        """What has to be installed, in words."""
        return "" if shutil.which(self.program) else "no docker here (its engine: docs.docker.com/engine/install)"

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        """What starts argv in a container of its own."""
        name = f"{NAME}{secrets.token_hex(8)}"
        alone = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--ipc=private"]
        who = ["--user=65534:65534", f"--workdir={TMP}", "--log-driver=none", "--pull=never"]
        words = [*alone, *who, *limited(box.limits, self.cpus), *mounts(box)]
        told = [f"--env={name}={value}" for name, value in box.environment.items()]
        inside = [f"--entrypoint={argv[0]}", self.image, *argv[1:]]
        return [self.program, "run", "--rm", "--interactive", name, *words, *told, *inside]

    def after(self, command: Sequence[str]) -> list[str]:
        """What removes the container."""
        name = next(word for word in command if word.startswith(NAME)).split("=", 1)[1]
        return [self.program, "rm", "--force", name]


def limited(limits: Limits, cpus: int) -> Iterator[str]:
    """The options that set limits; memory and processes are counted over the whole container."""
    yield from (f"--memory={limits.memory}m", f"--memory-swap={limits.memory}m", f"--cpus={cpus}")
    yield from (f"--pids-limit={limits.processes}", "--oom-score-adj=1000", "--shm-size=16m")
    sizes = {"cpu": limits.cpu, "fsize": limits.file * 2**20, "nofile": limits.open_files, "core": 0, "msgqueue": 0}
    yield from (f"--ulimit={name}={value}:{value}" for name, value in sizes.items())


def mounts(box: Box) -> Iterator[str]:
    """The options that say what is seen where."""
    yield f"--tmpfs={TMP}:{WRITABLE},size={box.limits.disk}m"
    for inside, path in {"/usr": "/usr", **box.files}.items():
        yield f"--mount=type=bind,source={path},target={inside},readonly"
    yield from (f"--tmpfs={path}:ro,size=4k" for path in box.hidden)
