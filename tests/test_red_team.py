"""Submissions that mean harm: each is stopped, the reason is named, who asked lives on, and nothing is left behind."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from molebench.errors import CellFailed
from molebench.hooks import Pipeline, View
from molebench.limits import PRINTED
from molebench.rng import stream
from molebench.sandbox.box import Driver, Limits
from molebench.sandbox.bwrap import STAGES
from molebench.sandbox.quoting import MARK
from molebench.types import Array
from molebench.workspace import Workspace
from tests.conftest import ROOT
from tests.sandboxed import Ward, bearing

SECRET = "a secret of the machine"
TRUE = "return np.ones(len(view.x), dtype=bool)"
HONEST = "return rng.random(len(view.x)) < view.z.mean(axis=1)"


def view(n: int = 12) -> View:
    """Some items."""
    rng = np.random.default_rng(n)
    return View(rng.integers(0, 255, (n, 3, 3, 1)).astype(np.uint8), rng.random((n, 4)).astype(np.float32), 3)


def asked(proxy: object, seconds: float = 60.0) -> Array:
    """What a pipeline gets."""
    seen = view()
    return Pipeline((("it", proxy),), seconds=seconds).mask("screen_pool", lambda _: seen, len(seen.x), 0, {})


@dataclass(frozen=True)
class Host:
    """What there is to be had: folders with secrets, a process, a listener."""

    workspace: Workspace
    home: Path
    public: Path
    sleeper: int
    port: int
    abstract: str
    token: str

    def filled(self, text: str) -> str:
        """A body with the names in capitals replaced."""
        known = {
            "PARENT": os.getpid(),
            "SLEEPER": self.sleeper,
            "PORT": self.port,
            "ABSTRACT": repr(f"\0{self.abstract}"),
            "TOKEN": repr(self.token),
            "PUBLIC": repr(str(self.public)),
            "HOME": repr(str(self.home)),
            "DATA": repr(str(self.workspace.data)),
            "STORE": repr(str(self.workspace.store)),
            "ROOT": repr(str(ROOT)),
            "GIVE": TRUE,
        }
        for name, value in known.items():
            text = text.replace(name, str(value))
        return text

    def untouched(self) -> bool:
        """Whether all of it is as it was."""
        folders = (self.workspace.data, self.workspace.store, self.home)
        texts = [path.read_text("utf-8") for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        sleeps = psutil.Process(self.sleeper).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_TRACING_STOP)
        return texts == [SECRET] * 3 and self.public.read_text("utf-8") == SECRET and sleeps


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A machine with something to lose; afterwards it has lost nothing, and nothing was added to it."""
    token = secrets.token_hex(16)
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")
    for name in ("data/test_labels.npy", "store/record.json", "home/.netrc"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(SECRET, "utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before, shared = traces(), Path("/var/tmp")
    handle, public = tempfile.mkstemp(dir=shared if os.access(shared, os.W_OK) else None)
    os.write(handle, SECRET.encode())
    os.close(handle)
    Path(public).chmod(0o644)
    sleeper = subprocess.Popen(["sleep", "600"], env={"TOKEN": token})
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{token}")
        abstract.listen()
        made = Host(workspace, tmp_path / "home", Path(public), sleeper.pid, listener.getsockname()[1], token, token)
        try:
            yield made
            assert made.untouched()
        finally:
            sleeper.kill()
            sleeper.wait()
            made.public.unlink()
    assert traces() == before


def traces() -> list[object]:
    """What could be left: mounts, and files where everybody's are."""
    folders = [Path(tempfile.gettempdir()), *map(Path, STAGES)]
    names = [sorted(path.name for path in each.iterdir()) for each in folders if each.is_dir()]
    return [Path("/proc/self/mounts").read_text("utf-8"), *names]


@pytest.fixture
def ward(driver: Driver, host: Host, tmp_path: Path) -> Iterator[Ward]:
    """Jails; afterwards none of their processes is left."""
    made = Ward(driver, tmp_path, host.workspace)
    yield made
    assert made.left() == []


# ------------------------------------------------------------------ what it wants and does not get

# name: (what it tries, what is said of it); GIVE returns an answer, so that whoever gets that far is not stopped
REFUSED = {
    "network_of_the_machine": ("socket.create_connection(('127.0.0.1', PORT), 2); GIVE", "ConnectionRefusedError"),
    "abstract_socket": ("socket.socket(socket.AF_UNIX).connect(ABSTRACT); GIVE", "ConnectionRefusedError"),
    "parents_memory": ("open('/proc/PARENT/mem', 'rb').close(); GIVE", "FileNotFoundError"),
    "parents_environment": ("open('/proc/PARENT/environ', 'rb').close(); GIVE", "FileNotFoundError"),
    "parents_open_files": ("os.listdir('/proc/PARENT/fd'); GIVE", "FileNotFoundError"),
    "anybodys_environment": (
        "found = [read(p) for p in Path('/proc').glob('[0-9]*/environ')]\n"
        "        if any(TOKEN.encode() in each for each in found): GIVE\n"
        "        raise LookupError(f'not among {len(found)}')",
        "LookupError: not among [1-9]",
    ),
    "a_process_killed": ("os.kill(SLEEPER, 0); GIVE", "ProcessLookupError"),
    "a_process_traced": (
        "c = ctypes.CDLL(None, use_errno=True)\n"
        "        if c.ptrace(16, SLEEPER, 0, 0): raise OSError(ctypes.get_errno(), 'no trace')\n"
        "        os.waitpid(SLEEPER, 0x40000000); c.ptrace(17, SLEEPER, 0, 0); GIVE",
        "ProcessLookupError|no trace",
    ),
    "a_readable_file": ("Path(PUBLIC).read_text(); GIVE", "FileNotFoundError"),
    "the_home": ("Path(HOME, '.netrc').read_text(); GIVE", "FileNotFoundError"),
    "the_test_labels": ("Path(DATA, 'test_labels.npy').read_text(); GIVE", "FileNotFoundError"),
    "the_labels_of_our_data_sets": ("import molebench.datasets.digits; GIVE", "ModuleNotFoundError"),
    "the_labels_in_scikit_learn": (
        "import sklearn\n        (Path(sklearn.__file__).parent / 'datasets/data/digits.csv.gz').read_bytes(); GIVE",
        "FileNotFoundError",
    ),
    "the_records": ("Path(STORE, 'record.json').read_text(); GIVE", "FileNotFoundError"),
    "the_checkout": ("Path(ROOT, 'tests', 'conftest.py').read_text(); GIVE", "FileNotFoundError"),
    "the_passwords": ("Path('/etc/passwd').read_text(); GIVE", "FileNotFoundError"),
    "a_new_record": (
        "path = Path(STORE, 'red-team.json'); path.write_text('{}'); path.unlink(); GIVE",
        "FileNotFoundError",
    ),
    "a_link_to_the_store": (
        "(link := Path('/tmp/red-team')).symlink_to(STORE)\n"
        "        try: (link / 'record.json').open('r+').close(); GIVE\n"
        "        finally: link.unlink()",
        "FileNotFoundError",
    ),
    "a_link_through_proc": (
        "(link := Path('/tmp/red-team')).symlink_to('/proc/self/root')\n"
        "        try: Path(str(link) + PUBLIC).read_text(); GIVE\n"
        "        finally: link.unlink()",
        "FileNotFoundError|PermissionError",
    ),
    "a_file_beside_it": (
        "path = Path(__file__).with_name('red-team.py'); path.write_text(''); path.unlink(); GIVE",
        "OSError.*Read-only file system",
    ),
    "its_own_file": ("Path(__file__).open('r+').close(); GIVE", "OSError.*Read-only|PermissionError"),
    "its_own_folder": ("shutil.rmtree(Path(__file__).parent); GIVE", "OSError.*(Read-only|busy)|PermissionError"),
    "numpys_file": ("Path(np.__file__).open('r+').close(); GIVE", "OSError.*Read-only|PermissionError"),
    "our_file": ("Path(messages.__file__).open('r+').close(); GIVE", "OSError.*Read-only|PermissionError"),
}
UNSAFE_OUTSIDE = ("its_own_folder",)  # done in earnest where nothing forbids it
OWNED = ("numpys_file", "our_file") if not os.access(np.__file__, os.W_OK) else ()  # somebody else's, outside too
HARD = {
    "the_world": ("socket.create_connection(('1.1.1.1', 443), 2); GIVE", "OSError.*Network is unreachable"),
    "a_name": ("socket.getaddrinfo('example.org', 443); GIVE", "gaierror"),
    "roots_numbers": ("os.setuid(0); GIVE", "(PermissionError|Invalid argument)"),
    "another_root": ("os.chroot('/tmp'); GIVE", "PermissionError"),
    "a_device": ("os.mknod('/tmp/device', 0o600 | stat.S_IFBLK, os.makedev(8, 0)); GIVE", "PermissionError"),
    "a_user_namespace": (
        "if ctypes.CDLL(None, use_errno=True).unshare(0x10000000): raise OSError(ctypes.get_errno(), 'no'); GIVE",
        "OSError.*no",
    ),
    "a_mount": (
        "if ctypes.CDLL(None).mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None): raise PermissionError('no mount'); GIVE",
        "no mount",
    ),
    "higher_limits": ("resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); GIVE", "ValueError|PermissionError"),
    "a_hard_link": ("os.link(__file__, '/tmp/red-team'); GIVE", "OSError"),
    "a_large_file": ("Path('/tmp/large').write_bytes(bytes(2**20 + 1)); GIVE", "OSError.*File too large"),
    "a_full_disk": (
        "[Path(f'/tmp/{i}').write_bytes(bytes(2**20)) for i in range(9)]; GIVE",
        "OSError.*No space left on device",
    ),
    "full_shared_memory": (
        "[Path(f'/dev/shm/{i}').write_bytes(bytes(2**20)) for i in range(17)]; GIVE",
        "OSError.*No space left on device",
    ),
    "many_files": ("kept = [open(__file__) for _ in range(257)]; GIVE", "OSError.*Too many open files"),
    "much_memory": ("kept = [bytearray(2**26) for _ in range(64)]; GIVE", "ran out of memory"),
    "a_huge_array": ("return np.zeros(10**9)", "ran out of memory"),
    "a_huge_array_of_one_number": ("return np.broadcast_to(np.ones(1), (10**9,))", "ran out of memory"),
    "a_fork_bomb": ("while True: os.fork()", "BlockingIOError"),
    "a_bomb_of_threads": (
        "[threading.Thread(target=time.sleep, args=(50,)).start() for _ in range(99)]; GIVE",
        "RuntimeError: can't start new thread",
    ),
}
SMALL = Limits(cpu=3, memory=1024, processes=32, file=1, disk=8)


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_wants_of_the_machine_it_does_not_get(ward: Ward, host: Host, name: str) -> None:
    body, says = REFUSED[name]
    with ward.stand_in(host.filled(body)) as proxy, pytest.raises(CellFailed, match=f"^defense it .*({says})"):
        asked(proxy)


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in (*UNSAFE_OUTSIDE, *OWNED)])
def test_without_a_sandbox_the_same_gets_it(host: Host, tmp_path: Path, name: str) -> None:
    with Ward(None, tmp_path, host.workspace).stand_in(host.filled(REFUSED[name][0])) as proxy:
        assert asked(proxy).all()


@pytest.mark.parametrize("name", HARD)
def test_what_it_wants_of_the_kernel_it_does_not_get(ward: Ward, host: Host, name: str) -> None:
    body, says = HARD[name]
    with (
        ward.stand_in(host.filled(body), limits=SMALL) as proxy,
        pytest.raises(CellFailed, match=f"^defense it .*({says})"),
    ):
        asked(proxy)


def test_the_first_process_inside_has_no_environment_to_read(ward: Ward) -> None:
    body = "return np.array([Path('/proc/1/cmdline').stat().st_size >= 0, *Path('/proc/1/environ').read_bytes()])"
    with ward.stand_in(body) as proxy:
        assert proxy.screen_pool(view(), stream(0, "a")).tolist() == [1]


# ------------------------------------------------------------------ what it does to who asked

# name: (before its class, in its call, what is said of it)
SLOW = "it took longer than 1.5 s"
NO_MESSAGE = "is no message|is no array of numbers|are allowed|not one array"
ANSWERS = "for n in (os.getpid(), os.getppid()):\n            for fd in os.listdir(f'/proc/{n}/fd'):\n                "
STOPPED = {
    "endless_loop": ("", "while True: pass", SLOW),
    "endless_loop_at_import": ("while True: pass", TRUE, SLOW),
    "deaf_endless_loop": ("", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n        while True: pass", SLOW),
    "deaf_to_sigterm": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "time.sleep(99)", SLOW),
    "stops_itself": ("", "os.kill(os.getpid(), signal.SIGSTOP)", SLOW),
    "stops_who_serves_it": ("", "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(99)", SLOW),
    "leaves_before_it_answers": ("", "os._exit(0)", "ended with exit code 0"),
    "leaves_at_import": ("os._exit(0)", TRUE, "ended with exit code 0"),
    "kills_everybody": ("", "os.kill(-1, signal.SIGKILL)", "its process (was killed|ended with exit code 137)"),
    "kills_who_serves_it": ("", "os.kill(os.getppid(), signal.SIGKILL); time.sleep(9)", "exit code 137"),
    "kills_its_group": ("", "os.kill(0, signal.SIGKILL)", "its process (was killed|ended with exit code 137)"),
    "traces_every_line": ("", "sys.settrace(lambda *a: os._exit(7)); return sorted(view.x)", "ended with exit code 7"),
    "exits_as_python_does": ("", "sys.exit('bye')", "raised SystemExit: bye"),
    "floods_stdout": ("", "while True: os.write(1, b'x' * 2**16)", "printed more than 1048576 characters"),
    "floods_stderr": ("", "while True: os.write(2, b'x\\n' * 2**15)", "printed more than 1048576 characters"),
    "floods_at_import": ("while True: print('x' * 2**12)", TRUE, "printed more than 1048576 characters"),
    "objects": ("", "return np.array([object()] * len(view.x))", r"returned object \(12,\)"),
    "a_lazy_object": ("class Lazy:\n    def __array__(self, *a, **k): os._exit(3)", "return Lazy()", "exit code 3"),
    "a_pickle": ("messages.pieces = lambda *a: [pickle.dumps(os.system) + b'\\n']", TRUE, NO_MESSAGE),
    "a_promise_of_much": (
        'messages.pieces = lambda *a: [b\'{"arrays": {"answer": ["<f8", [99999999999]]}}\\n\']',
        TRUE,
        NO_MESSAGE,
    ),
    "a_shape_that_none_has": (
        'messages.pieces = lambda *a: [b\'{"arrays": {"answer": ["<f8", [0, 99999999999999999999]]}}\\n\']',
        TRUE,
        NO_MESSAGE,
    ),
    "a_type_that_none_has": (
        'messages.pieces = lambda *a: [b\'{"arrays": {"answer": ["<f1", [1]]}}\\n\\1\']',
        TRUE,
        NO_MESSAGE,
    ),
    "another_array": (
        'messages.pieces = lambda *a: [b\'{"arrays": {"mask": ["|b1", [1]]}}\\n\\1\']',
        TRUE,
        NO_MESSAGE,
    ),
    "an_end_that_none_has": (
        'messages.pieces = lambda *a: [b\'{"ended": -9999, "arrays": {}}\\n\']',
        TRUE,
        "ended with exit code",
    ),
    "half_an_answer_then_nothing": (
        "for fd in range(3, 20):\n    try: os.write(fd, b'{')\n    except OSError: pass\ntime.sleep(99)",
        TRUE,
        SLOW,
    ),
    "words_on_every_pipe": (
        "",
        ANSWERS
        + "try: stream = os.open(f'/proc/{n}/fd/{fd}', os.O_WRONLY | os.O_NONBLOCK)\n"
        + "                except OSError: continue\n"
        + "                os.write(stream, b'{}\\n') if stat.S_ISFIFO(os.fstat(stream).st_mode) else None\n"
        + "        time.sleep(99)",
        f"{SLOW}|{NO_MESSAGE}|ended with exit code 1",
    ),
    "half_a_word_on_every_pipe": (
        "",
        ANSWERS
        + "try: stream = os.open(f'/proc/{n}/fd/{fd}', os.O_WRONLY | os.O_NONBLOCK)\n"
        + "                except OSError: continue\n"
        + "                os.write(stream, b'{') if stat.S_ISFIFO(os.fstat(stream).st_mode) else None\n"
        + "        time.sleep(99)",
        f"{SLOW}|ended with exit code 1",  # who serves it hears more than was asked
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_what_it_does_to_who_asked_ends_it_alone(ward: Ward, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, body, says = STOPPED[name]
    slow = SLOW in says
    with (
        ward.stand_in(body, before, seconds=1.5 if slow else 60.0) as proxy,
        pytest.raises(CellFailed, match=f"^defense it .*({says})"),
    ):
        asked(proxy)
    assert len(capsys.readouterr().err) <= 2 * PRINTED
    with ward.stand_in(HONEST) as proxy:
        assert asked(proxy).tolist() == honest().tolist()


def honest() -> Array:
    """What HONEST answers."""
    seen = view()
    return np.array(stream(0, "defense", "it", "screen_pool", 0).random(len(seen.x)) < seen.z.mean(axis=1))


def test_it_computes_no_longer_than_it_may(ward: Ward) -> None:
    with (
        ward.stand_in("while True: pass", limits=SMALL) as proxy,
        pytest.raises(CellFailed, match=r"its process was killed by SIG(KILL|XCPU)"),
    ):
        asked(proxy)


# ------------------------------------------------------------------ what it leaves

LEAVES = {
    "a_child": "subprocess.Popen(['sleep', '99'])",
    "a_daemon": "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(99), os._exit(0))",
    "a_deaf_daemon": (
        "os.fork() or (os.setsid(), signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)), time.sleep(99))"
    ),
    "a_thread": "threading.Thread(target=time.sleep, args=(99,)).start()",
    "something_for_the_exit": "atexit.register(time.sleep, 99)",
}


@pytest.mark.parametrize("name", LEAVES)
def test_what_it_leaves_running_is_gone_when_it_has_answered(ward: Ward, name: str) -> None:
    with ward.stand_in(f"{LEAVES[name]}; {TRUE}") as proxy:
        assert asked(proxy).all()
        assert ward.left() == []


def test_the_look_for_what_is_left_sees_what_is_there(ward: Ward) -> None:
    seen: list[str] = []
    timer = threading.Timer(1.5, lambda: seen.extend(bearing(ward.token)))
    timer.start()
    with ward.stand_in("time.sleep(99)", seconds=3.0) as proxy, pytest.raises(CellFailed, match="longer"):
        asked(proxy)
    timer.join()
    assert any(line.endswith("-m molebench.defending") for line in seen)


REMEMBERS = """count = ctypes.CDLL(None)
        shared = count.shmget(77, 1, 0o1600)
        Path('/tmp/seen').open('a').write('x'); Path('/dev/shm/seen').open('a').write('x')
        return np.array([Path(p).stat().st_size for p in ('/tmp/seen', '/dev/shm/seen')] + [os.getpid(), shared])"""


def test_nothing_tells_one_call_of_the_last(ward: Ward) -> None:
    with ward.stand_in(REMEMBERS) as proxy:
        told = [proxy.screen_pool(view(), stream(0, "a")).tolist() for _ in range(3)]
    assert told[0] == told[1] == told[2]
    assert told[0][:2] == [1, 1]


PATCHES = """
for name in ("save", "array", "frombuffer", "ones", "ascontiguousarray"):
    setattr(np, name, lambda *a, **k: np.full(12, 7))
View.__init__ = None
"""


def test_what_it_changes_in_numpy_changes_nothing_here(ward: Ward) -> None:
    before = [np.save, np.array, np.frombuffer, np.ones, View.__init__]
    with ward.stand_in(TRUE, PATCHES) as proxy, pytest.raises(CellFailed):
        asked(proxy)
    assert [np.save, np.array, np.frombuffer, np.ones, View.__init__] == before
    with ward.stand_in(HONEST) as proxy:
        assert asked(proxy).tolist() == honest().tolist()


def test_what_it_says_commands_no_terminal_and_no_workflow(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    says = r"print('::error::owned\n\x1b[2J::add-mask::x'); raise ValueError('a\n::set-output name=x::\x1b[1m')"
    with ward.stand_in(says) as proxy, pytest.raises(CellFailed) as failed:
        asked(proxy)
    assert str(failed.value) == "defense it at screen_pool raised ValueError: a ::set-output name=x:: [1m"
    assert capsys.readouterr().err == f"{MARK}::error::owned\n{MARK} [2J::add-mask::x\n"


def test_who_asks_never_imports_a_submission(ward: Ward) -> None:
    touches = f"Path({str(ward.folder)!r}, 'was_here').touch()"
    with ward.stand_in(TRUE, touches) as proxy, pytest.raises(CellFailed, match=r"imported: FileNotFoundError"):
        asked(proxy)
    assert not (ward.folder / "was_here").exists()
    assert not any(name.endswith(".it") for name in sys.modules)


# ------------------------------------------------------------------ what an honest one gets


def test_an_honest_one_answers_the_same_inside_and_outside(ward: Ward) -> None:
    answers = []
    for driver in (ward.driver, None):
        with replace(ward, driver=driver).stand_in(HONEST) as proxy:
            answers += [asked(proxy).tolist() for _ in range(2)]
    assert answers == [honest().tolist()] * 4
    assert 0 < sum(answers[0]) < 12
