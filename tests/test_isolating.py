"""A defense in a process of its own: the same answers, the same words for what goes wrong, and nothing left behind."""

import copy
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from molebench import isolating, messages, places, registry
from molebench.errors import CellFailed, MolebenchError
from molebench.grid import Part
from molebench.hooks import MOMENTS, Pipeline, View, sees
from molebench.isolating import Child, Question, greatest, isolated
from molebench.limits import PRINTED, OverLimit
from molebench.nets import FrozenExtractor
from molebench.provenance import computing_threads
from molebench.rng import stream
from molebench.types import Array
from molebench.workspace import Workspace
from tests.commands import SIZES, SMALL, VICTIM, new_home, predictions, typed
from tests.conftest import ROOT
from tests.offline_home import VICTIM as SMALL_VICTIM
from tests.offline_home import Home
from tests.test_bad_defenses import BAD, FILE
from tests.test_hooks import behind

Use = Callable[..., Any]


def text(moment: str, body: str, imports: str = "os", card: str = "") -> str:
    """The file of a defense that does this at one moment."""
    filled = FILE.format(title="It", moment=moment, body=body).replace('"active",)', f'"active", "offline"){card}')
    return filled.replace("import sys\n", "".join(f"import {name}\n" for name in (*imports.split(), "sys")))


def stand_in(name: str, extractor: str = "", workspace: Workspace | None = None, seconds: float = 60.0) -> Any:
    """A plug-in in a process of its own."""

    def part(kind: str, wanted: str) -> Part:
        plugin = registry.find(kind, wanted)
        values = plugin.resolve({}, "tiny")
        return Part(plugin, values, values)

    seen = part("extractors", extractor) if extractor else None
    return isolated(part("defenses", name), seen, workspace or Workspace.from_environment(), seconds)


def own(name: str) -> Any:
    """The same in this process."""
    plugin = registry.find("defenses", name)
    return plugin.build(plugin.resolve({}, "tiny"))


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Makes a plug-in of a text, and stands for it; afterwards nothing that was begun is left."""
    monkeypatch.setenv(places.VARIABLE, "")
    monkeypatch.setenv("MOLEBENCH_THREADS", "1")

    def write(name: str, moment: str, body: str, **given: Any) -> Any:
        words = {key: given.pop(key) for key in ("imports", "card") if key in given}
        path = tmp_path / f"{name}.py"
        path.write_text(text(moment, body, **words), "utf-8")
        places.use([path])
        return stand_in(name, **given)

    yield write
    assert left() == []


def left() -> list[str]:
    """The command lines of our defenses' processes that still run."""
    lines = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True) if p.is_running()]
    return [line for line in lines if "molebench.defending" in line]


def view(n: int = 12, d: int = 4, **more: Any) -> View:
    """Some items."""
    rng = np.random.default_rng(n)
    return View(rng.integers(0, 255, (n, 3, 3, 1)).astype(np.uint8), rng.random((n, d)).astype(np.float32), 3, **more)


def asked(defense: Any, moment: str = "screen_pool", seen: View | None = None, seconds: float = 60.0) -> Array:
    """What a pipeline gets at a moment."""
    pipeline, seen = Pipeline((("it", defense),), seconds=seconds), seen or view()
    return pipeline.mask(moment, lambda _: seen, len(seen.x), 0, {})


# ------------------------------------------------------------------ messages


SENT = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bools": np.array([True, False]),
    "big_endian": np.arange(3, dtype=">i8"),
    "scalar": np.array(2.5),
    "empty": np.zeros((5, 0), np.float32),
    "strided": np.arange(10, dtype=np.int16)[::3],
}


def sent(head: dict[str, Any], arrays: dict[str, Array]) -> bytes:
    return b"".join(messages.pieces(head, arrays))


def test_a_message_comes_back_as_it_was_sent() -> None:
    back = messages.received(io.BytesIO(sent({"word": "é", "number": 2**100}, SENT)))
    assert back is not None
    assert back.head == {"word": "é", "number": 2**100}
    assert list(back.arrays) == list(SENT)
    for name, array in SENT.items():
        assert (back.arrays[name].dtype, back.arrays[name].shape) == (array.dtype, array.shape)
        assert (back.arrays[name] == array).all()
        assert not back.arrays[name].flags.writeable


def test_a_message_that_breaks_off_is_none_wherever_it_does() -> None:
    whole = sent({}, {"a": np.arange(5)})
    assert {messages.received(io.BytesIO(whole[:i])) for i in range(len(whole))} == {None}


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b"[" * 60_000 + b"\n",
        b"x" * 2**17,
        b'{"arrays": {"a": ["|O", [1]]}}\n',
        b'{"arrays": {"a": ["<f8", [-1]]}}\n',
        b'{"arrays": {"a": ["<f8", [1e3]]}}\n',
        b'{"arrays": {"a": ["<f8,<f8", [1]]}}\n',
        b'{"arrays": {"a": ["<f8", 3]}}\n',
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(MolebenchError, match=r"is no message|is no array of numbers"):
        messages.received(io.BytesIO(line))


def test_a_message_larger_than_allowed_is_refused_before_it_is_read() -> None:
    stream = io.BytesIO(sent({}, {"a": np.zeros(10), "b": np.zeros(10)}))
    with pytest.raises(MolebenchError, match="160 bytes of arrays; 159 are allowed"):
        messages.received(stream, 159)
    claim = b'{"arrays": {"a": ["<f8", [4611686018427387904, 4611686018427387904]]}}\n'
    with pytest.raises(MolebenchError, match="are allowed"):
        messages.received(io.BytesIO(claim), 10**9)


def test_a_generator_that_was_sent_draws_and_spawns_the_same() -> None:
    rng = stream(0, "a test")
    rng.random(3)
    rng.integers(0, 2**32, dtype=np.uint32)  # half of a word is kept for the next draw
    rng.spawn(1)
    twin = messages.drawing(json.loads(json.dumps(messages.drawn(rng))))
    for a, b in ((rng, twin), (rng.spawn(2)[1], twin.spawn(2)[1])):
        assert a.integers(0, 2**32, 5, dtype=np.uint32).tolist() == b.integers(0, 2**32, 5, dtype=np.uint32).tolist()
        assert a.normal(size=3).tolist() == b.normal(size=3).tolist()


# ------------------------------------------------------------------ the same


def test_what_stands_for_a_defense_has_its_moments_card_and_parameters_and_begins_no_process(use: Use) -> None:
    del use
    filtering, norm, none = (stand_in(name) for name in ("random_filter", "feature_norm", "none"))
    there = [[m for m in (*MOMENTS, "suspicion") if hasattr(d, m)] for d in (filtering, norm, none)]
    assert there == [["screen_pool", "after_label", "filter_train"], ["screen_pool", "suspicion"], []]
    assert sees(filtering) == ("labels", "dropped")
    assert sees(norm) == ()
    assert (filtering.share, norm.limit) == (0.1, 3.5)
    assert left() == []


DIGEST = """from dataclasses import fields

        from molebench.types import fingerprint

        seen = [f.name for f in fields(view) if getattr(view, f.name) is not None]
        word = "".join(fingerprint(np.array(getattr(view, name))) for name in seen) + str(rng.spawn(1)[0].random(3))
        return np.frombuffer(hashlib.sha256(word.encode()).digest(), np.uint8).astype(int)"""


def test_every_field_of_a_view_and_every_draw_arrives(use: Use) -> None:
    digest = use("digest", "select", DIGEST, imports="hashlib")
    other = np.random.default_rng(5)
    arrays = [f.name for f in fields(View) if "ndarray" in str(f.type) and f.name not in ("x", "z")]
    filled: dict[str, Any] = {name: other.random((2, 3)) for name in arrays}
    assert {"labelled_p", "trusted_x", "dropped"} <= set(filled)
    for seen in (view(40, count=5, when="pool", **filled), view(40)):
        here, there = (d.select(seen, stream(3, "a test")) for d in (own("digest"), digest))
        assert here.tolist() == there.tolist()
        assert here.tolist() != own("digest").select(replace(seen, k=4), stream(3, "a test")).tolist()


@pytest.mark.parametrize("names", [("feature_norm", "random_filter"), ("label_conflict_quarantine", "random_query")])
def test_an_arm_is_the_same(use: Use, names: tuple[str, ...]) -> None:
    del use
    here, there = (vars(behind(*((name, make(name)) for name in names))) for make in (own, stand_in))
    for name in ("predicted", "queried", "filtered", "accuracy"):
        np.testing.assert_array_equal(here[name], there[name])


def test_an_active_cell_is_the_same(fetched: Workspace, lite0: FrozenExtractor, tmp_path: Path, use: Use) -> None:
    del lite0, use  # fetched, for the cell is offline
    names = ("feature_norm", "random_filter", "random_query")
    behind = [word for name in names for word in ("--defense", name)]
    stored = []
    for name, given in (("here", ()), ("apart", ("--isolate",))):
        home = new_home(fetched, tmp_path / name)
        done = typed(home, "run", "--attack", "unperturbed", *SMALL, *behind, *given)
        assert done.returncode == 0, done.stderr
        stored.append(predictions(home))
    assert len(stored[0]) >= 2
    assert stored[0] == stored[1]


@pytest.mark.slow
def test_one_that_trains_the_extractor_is_the_same(lite0: FrozenExtractor, fetched: Workspace, use: Use) -> None:
    del use
    x = np.random.default_rng(0).integers(0, 256, (18, 24, 24, 3), dtype=np.uint8)
    z = lite0(torch.from_numpy(x.astype(np.float32))).detach().numpy()
    known = {"labelled_x": x[:12], "labelled_z": z[:12], "labelled_y": np.arange(12) % 3}
    seen = View(x[12:], z[12:], 3, **known, extractor=copy.deepcopy(lite0))
    proxy = stand_in("unfreeze", "efficientnet_lite0", fetched)
    with computing_threads():
        answers = [defense.fit(seen, stream(0, "a test")) for defense in (proxy, proxy, own("unfreeze"))]
    assert [answer.tolist() for answer in answers] == [answers[2].tolist()] * 3


def test_an_offline_cell_is_the_same(tmp_path: Path, use: Use) -> None:
    use("halving", "filter_train", "return rng.permutation(len(view.x)) % 2 == 0")
    (tmp_path / "small.py").write_text(SMALL_VICTIM, "utf-8")
    places.use([tmp_path / "small.py"])
    found = []
    for isolate in (False, True):
        home = Home.at(tmp_path / str(isolate))
        home = Home(replace(home.workspace, isolate=isolate))
        record = home.run("mole_recruitment", "halving")
        found.append(predictions(home.workspace))
        assert record.metrics["clean_cost"].value != 0
    assert found[0] == found[1]


# ------------------------------------------------------------------ memory


REMEMBERS = """module = sys.modules[__name__]
        module.calls = getattr(module, "calls", 0) + 1
        np.random.seed(module.calls)  # noqa: NPY002
        type(self).calls = module.calls
        return np.arange(len(view.x)) % 2 < module.calls - 1"""


def test_what_a_defense_remembers_is_gone_with_the_call(use: Use) -> None:
    proxy = use("remembers", "filter_train", REMEMBERS)
    here = own("remembers")
    drawn: list[list[int]] = []
    for defense in (here, proxy):
        drawn.append([int(defense.filter_train(view(), stream(0, "a")).sum()) for _ in range(3)])
    assert drawn == [[0, 6, 12], [0, 0, 0]]


# ------------------------------------------------------------------ bad ones


@pytest.mark.parametrize("name", [name for name in BAD if name != "hanging"])
def test_a_bad_defense_fails_in_the_words_in_which_it_does_without_a_process_of_its_own(use: Use, name: str) -> None:
    moment, body, says = BAD[name]
    proxy = use(name, moment, body)
    said = []
    for defense in (own(name), proxy):
        with pytest.raises(CellFailed, match=f"defense {name} ") as failed:
            behind((name, defense))
        said.append(str(failed.value))
    proxy._child.end()  # what was caught holds on to it
    assert said[0] == said[1]
    assert says in said[1]


HANGS = {
    "sleeps": "time.sleep(1000)",
    "deaf": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)",
    "in_c": "return sum(range(2**60))",
    "forks": "os.fork() or os.fork()\n        time.sleep(1000)",
}


@pytest.mark.parametrize("name", HANGS)
def test_one_that_hangs_is_killed_with_all_that_it_began(use: Use, name: str) -> None:
    proxy, start = use("it", "screen_pool", HANGS[name], imports="os signal"), time.monotonic()
    with pytest.raises(CellFailed, match=r"^defense it at screen_pool: it took longer than 1\.5 s$"):
        asked(proxy, seconds=1.5)
    assert time.monotonic() - start < 20
    assert left() == []


def test_outside_the_main_thread_where_no_alarm_rings_it_is_killed_too(use: Use) -> None:
    said: list[str] = []
    proxy = use("it", "screen_pool", "time.sleep(1000)", seconds=1.5)

    def ask() -> None:
        with pytest.raises(CellFailed) as failed:
            asked(proxy)
        said.append(str(failed.value))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(timeout=30)
    assert said == ["defense it at screen_pool: it took longer than 1.5 s"]


DEATHS = {
    "leaves": ("os._exit(0)", "its process ended with exit code 0"),
    "leaves_badly": ("os._exit(3)", "its process ended with exit code 3"),
    "shoots_itself": ("os.kill(os.getpid(), signal.SIGKILL)", "its process was killed by SIGKILL"),
    "reads_address_0": ("ctypes.string_at(0)", "its process was killed by SIGSEGV"),
    "shoots_all": ("os.killpg(0, signal.SIGKILL)", "its process was killed by SIGKILL"),
    "interrupts": ("raise KeyboardInterrupt", "its process ended with exit code 1"),
    "wants_too_much": ("return np.zeros(2**58)", "it ran out of memory"),
    "finds_no_room": ("raise OSError(28, 'full')", r"OSError: \[Errno 28\] full"),
    "scribbles": ("[os.write(fd, b'{}\\n') for fd in range(3, 20) if wire(fd)]; os._exit(0)", "is no message"),
}


WIRE = """def wire(fd):
            try:
                return stat.S_ISFIFO(os.fstat(fd).st_mode)
            except OSError:
                return False

        """


@pytest.mark.parametrize("name", DEATHS)
def test_one_that_dies_is_named_with_how_it_did(use: Use, name: str) -> None:
    body, says = DEATHS[name]
    proxy = use("it", "screen_pool", f"{WIRE}{body}", imports="ctypes os signal stat")
    with pytest.raises(CellFailed, match=f"^defense it at screen_pool: .*{says}"):
        asked(proxy)


def test_one_that_closes_its_answers_before_it_ends_is_named_with_how_it_did() -> None:
    program = "import os, sys, time; os.close(1); time.sleep(0.2); sys.exit(7)"
    child = Child([sys.executable, "-c", program], {}, 20.0)
    with pytest.raises(CellFailed, match=r"^it: its process ended with exit code 7$"):
        child.ask(Question("it", {}, {}, 100))
    assert child.process is None


def test_an_answer_that_is_whole_when_its_time_is_up_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(stream: Any, most: int) -> Any:
        reply = messages.received(stream, most)
        time.sleep(1.0)
        return reply

    monkeypatch.setattr(isolating, "received", slowly)
    program = """import sys; print('{"arrays": {}}', flush=True); sys.stdin.read()"""
    child = Child([sys.executable, "-c", program], {}, 1.0)
    with pytest.raises(OverLimit, match=r"^it took longer than 1 s$"):
        child.ask(Question("it", {}, {}, 100))
    assert child.process is None  # which has been killed: nobody asks it again


def test_what_is_left_to_do_after_its_end_may_not_take_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolating, "CLEARING", 0.2)
    process, start = subprocess.Popen(["sleep", "60"], start_new_session=True), time.monotonic()
    assert isolating.ended(process, ["sleep", "20"]) == -signal.SIGKILL
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return None", r"defense it returned object \(\) at screen_pool"),
        ("return np.array(['a'] * len(view.x))", r"defense it returned <U1 \(12,\) at screen_pool"),
        ("return np.zeros((len(view.x), 99))", r"defense it returned float64 \(12, 99\) at screen_pool"),
        ("return [[1], [1, 2]]", "defense it at screen_pool raised ValueError: .*inhomogeneous"),
        ("sys.exit(5)", "defense it at screen_pool raised SystemExit: 5"),
        ("raise ValueError('é' * 10**6)", "defense it at screen_pool raised ValueError: éééé"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_named(use: Use, body: str, says: str) -> None:
    with pytest.raises(CellFailed, match=says):
        asked(use("it", "screen_pool", body))


def test_no_moment_asks_for_more_than_is_let_through() -> None:
    seen = view(50, 7)
    kinds = {m: greatest(m, seen) for m in (*MOMENTS, "suspicion")}
    assert kinds["transform"] >= seen.x.astype(np.float64).nbytes
    assert kinds["fit"] == kinds["predict"] == 50 * 3 * 8
    assert kinds["schedule"] == 8 * 50 * 8
    assert kinds["suspicion"] == kinds["admit"] == 50 * 8
    assert greatest("accept", View(seen.x[:0], seen.z[:0], 3)) == 8


def test_what_it_prints_goes_to_stderr_by_whatever_way(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    body = "sys.stdout.write('by Python '); sys.stdout.flush(); os.write(1, b'by the system'); os.write(2, b'!')"
    asked(use("talker", "screen_pool", f"{body}\n        return np.ones(len(view.x), dtype=bool)"))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "by Python by the system!")


def test_one_that_floods_the_descriptor_is_stopped(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    flood = use("it", "screen_pool", "[os.write(1, b'x' * 2**16) for _ in range(2**14)]")
    with pytest.raises(CellFailed, match="defense it at screen_pool: it printed more than 1048576 characters"):
        asked(flood)
    assert 0 < len(capsys.readouterr().err) <= PRINTED


def test_it_finds_its_standard_input_empty(use: Use) -> None:
    reader = use("reader", "screen_pool", "return np.full(len(view.x), sys.stdin.read() == '')")
    assert asked(reader).all()


def test_a_class_that_cannot_be_built_is_named(use: Use, tmp_path: Path) -> None:
    proxy = use("unbuilt", "screen_pool", "return view.y")
    path = tmp_path / "unbuilt.py"
    body = 'No parameters."""\n\n    def __post_init__(self) -> None:\n        1 / 0\n'
    path.write_text(path.read_text("utf-8").replace('No parameters."""\n', body), "utf-8")
    with pytest.raises(CellFailed, match="defense unbuilt raised ZeroDivisionError"):
        asked(proxy)


def test_after_a_failure_it_can_be_asked_again(use: Use) -> None:
    proxy = use("moody", "screen_pool", "return view.y == 1 if view.y is not None else 1 // 0")
    with pytest.raises(CellFailed, match="ZeroDivisionError"):
        asked(proxy)
    assert asked(proxy, seen=view(3, y=np.array([1, 0, 1]))).tolist() == [True, False, True]


def test_a_bad_defense_fails_its_cell_by_name_and_the_others_go_on(
    fresh: Workspace, lite0: FrozenExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Use
) -> None:
    del lite0  # fetched, for the sweep is offline
    monkeypatch.setenv("MOLEBENCH_HOOK_SECONDS", "5")
    use("leaves", "predict", "os._exit(0)")
    use("deaf", "select", HANGS["deaf"], imports="os signal")
    sizes = "".join(f"  {size.replace('=', ': ')}\n" for size in SIZES)
    (tmp_path / "bad.yaml").write_text(
        f"attack: unperturbed\nvictim: {VICTIM}\nprofile: tiny\ndefense: [leaves, deaf, none]\nset:\n{sizes}", "utf-8"
    )
    words = ("--offline", "--no-plots", "--executor", "serial", "--isolate")
    done = typed(fresh, "sweep", str(tmp_path / "bad.yaml"), *words)
    assert done.returncode == 3, done.stderr
    assert "defense leaves at predict: its process ended with exit code 0" in done.stderr
    assert "defense deaf at select: it took longer than 5 s" in done.stderr
    assert "2 cells failed" in done.stderr
    assert len(list(fresh.store.glob("cells/*/record.json"))) == 1


# ------------------------------------------------------------------ its end


def test_it_ends_with_who_stands_for_it(use: Use) -> None:
    proxy = use("quiet", "screen_pool", "return np.ones(len(view.x), dtype=bool)")
    asked(proxy)
    assert len(left()) == 1
    del proxy
    assert left() == []


def test_it_ends_when_the_process_does_that_began_it(use: Use, tmp_path: Path) -> None:
    use("for_ever", "screen_pool", "return sum(range(2**60))")
    program = """import numpy as np
from molebench.grid import Part
from molebench.hooks import View
from molebench.isolating import isolated
from molebench.registry import find
from molebench.workspace import Workspace
defense = isolated(Part(find("defenses", "for_ever"), {}, {}), None, Workspace.from_environment(), 1000.0)
defense.screen_pool(View(np.zeros((1, 1)), np.zeros((1, 1)), 2), np.random.default_rng(0))"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        family = waited(lambda: psutil.Process(parent.pid).children(recursive=True), 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    waited(lambda: [p for p in family if not alive(p)], len(family))


def waited(what: Callable[[], list[Any]], least: int, seconds: float = 60.0) -> list[Any]:
    """A list, once it is long enough."""
    stop = time.monotonic() + seconds
    while len(found := what()) < least:
        assert time.monotonic() < stop
        time.sleep(0.05)
    return found


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_workers_are_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOLEBENCH_ISOLATE", raising=False)
    for isolate in (False, True):
        workspace = Workspace.from_environment(isolate=isolate)
        with monkeypatch.context() as their:
            for name, value in workspace.environment(1).items():
                their.setenv(name, value)
            assert Workspace.from_environment().isolate is isolate
    assert os.environ.get("MOLEBENCH_ISOLATE") is None
