"""The sandbox itself: a driver is used only where nothing gets out of its box, and never in silence none."""

import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from molebench import places, registry
from molebench.errors import CellFailed, MolebenchError
from molebench.grid import Part
from molebench.hooks import View
from molebench.isolating import isolated
from molebench.nets import FrozenExtractor
from molebench.rng import stream
from molebench.sandbox import installation, probes
from molebench.sandbox.box import Box, Driver, Limits
from molebench.sandbox.bwrap import Bubblewrap, is_root
from molebench.sandbox.choosing import chosen, drivers, first_that_holds
from molebench.sandbox.docker import Docker
from molebench.sandbox.installation import installed
from molebench.sandbox.jailing import jailed
from molebench.sandbox.selftest import SMALL, faults, judged
from molebench.workspace import Workspace
from tests.commands import predictions
from tests.offline_home import VICTIM as SMALL_VICTIM
from tests.offline_home import Home
from tests.sandboxed import Ward, described
from tests.test_isolating import text

# ------------------------------------------------------------------ drivers that do not hold


@dataclass(frozen=True)
class Leaky:
    """A driver with a leak: some of the words of another's command are left out, or others put in their place."""

    inner: Driver
    without: tuple[str, ...] = ()
    changed: tuple[tuple[str, str], ...] = ()
    name: str = "leaky"

    def missing(self) -> str:
        return ""

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        words = self.inner.command(argv, box)
        for old, new in self.changed:
            assert any(old in word for word in words)
            words = [word.replace(old, new) for word in words]
        assert set(self.without) <= set(words)
        return [word for word in words if word not in self.without]

    def after(self, command: Sequence[str]) -> list[str]:
        return []


@dataclass(frozen=True)
class Plain(Leaky):
    """No box at all."""

    name: str = "plain"

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        return list(argv)


def test_the_driver_of_this_machine_holds(driver: Driver) -> None:
    assert faults(driver) == ""


def test_without_a_box_every_probe_gets_through(driver: Driver) -> None:
    said = faults(Plain(driver))
    free = {"public"} | (set() if is_root() else {"privileges"})  # a machine may have no network, a user no privileges
    assert [name for name in probes.EVERY if f"{name}: " not in said and name not in free] == []


LEAKS = {
    "loopback": Leaky(Bubblewrap(), changed=(("--unshare-all", "--unshare-pid"),)),
    "writing": Leaky(Bubblewrap(), changed=(("--remount-ro", "--dir"),)),
    "storm": Leaky(Bubblewrap(), changed=(("--nproc=", "--sigpending="),)),
    "memory": Leaky(Bubblewrap(), changed=(("--as=", "--rss="),)),
    "disk": Leaky(Bubblewrap(), changed=(("--fsize=", "--rss="),)),
    "descriptors": Leaky(Bubblewrap(), changed=(("--nofile=", "--rss="),)),
    "cpu": Leaky(Bubblewrap(), changed=(("--cpu=", "--rss="),)),
    "temporary": Leaky(Bubblewrap(), changed=((str(SMALL.disk * 2**20), str(2 * SMALL.disk * 2**20)),)),
    "namespaces": Leaky(Bubblewrap(), without=("--disable-userns",)),
    "environment": Leaky(Bubblewrap(), without=("env", "-i")),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_driver_with_one_leak_is_refused_by_its_name(driver: Driver, name: str) -> None:
    if not isinstance(driver, Bubblewrap):
        pytest.skip("bubblewrap's leaks need bubblewrap: apt-get install bubblewrap")
    assert f"{name}: " in faults(LEAKS[name])


def test_a_probe_that_is_not_heard_of_has_got_through() -> None:
    every = dict.fromkeys(probes.EVERY, "")
    assert judged(json.dumps(every), "") == ""
    del every["storm"]
    assert judged(json.dumps(every), "") == "storm: was not heard of"
    assert judged("", "bwrap: No permissions\nmore") == "it does not start (bwrap: No permissions)"
    assert judged("[]", "") == "; ".join(f"{name}: was not heard of" for name in probes.EVERY)


# ------------------------------------------------------------------ choosing


@dataclass(frozen=True)
class Broken(Leaky):
    """Does not start."""

    name: str = "broken"

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('setting up uid map: Permission denied')"]


def test_one_that_does_not_hold_is_passed_over_by_name_and_none_is_never_the_answer(driver: Driver) -> None:
    broken = Broken(driver)
    assert first_that_holds((broken, driver)) is driver
    with pytest.raises(MolebenchError) as refused:
        first_that_holds((broken, Docker(program="no-such-docker")))
    said = str(refused.value)
    assert "\n" not in said
    assert "broken is refused: it does not start (setting up uid map: Permission denied)" in said
    assert "docker is refused: no no-such-docker here" in said or "docker is refused: no docker here" in said
    assert "apt-get install bubblewrap" in said
    assert "AppArmor" in said
    assert "docker pull python:3." in said


def test_where_bubblewrap_is_missing_it_says_how_to_get_it() -> None:
    assert "no no-such-bwrap" in faults(Bubblewrap(program="no-such-bwrap"))
    assert "apt-get install bubblewrap" in faults(Bubblewrap(program="no-such-bwrap"))


def test_a_driver_is_chosen_by_name_or_not_at_all() -> None:
    assert [driver.name for driver in drivers()] == ["bwrap", "docker"]
    with pytest.raises(MolebenchError, match="no sandbox driver named 'bwarp'; did you mean 'bwrap'"):
        chosen("bwarp")


# ------------------------------------------------------------------ docker, of which a stub stands in for the engine

STUB = """#!/bin/sh
printf '%s\\n' "$@" > "$0.words"
[ "$1" = rm ] && exit 0
while [ "${1#--entrypoint=}" = "$1" ]; do shift; done
program=${1#--entrypoint=}
shift 2
exec "$program" "$@"
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A docker that writes down what it is told, and runs it without a container."""
    path = tmp_path / "docker"
    path.write_text(STUB, "utf-8")
    path.chmod(0o755)
    return path


def test_docker_is_told_to_shut_everything(stub: Path, tmp_path: Path) -> None:
    limits = Limits(cpu=5, memory=700, processes=9, file=3, disk=6, open_files=77)
    box = Box({"/shown": tmp_path}, {"A": "b c"}, limits, hidden=("/shown/inner",))
    command = Docker(program=str(stub), image="an-image").command(["/bin/echo", "-n", "said"], box)
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"said"
    words = stub.with_name("docker.words").read_text("utf-8").splitlines()
    assert words[:2] == ["run", "--rm"]
    assert words[-4:] == ["--entrypoint=/bin/echo", "an-image", "-n", "said"]
    assert set(words) >= {
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--user=65534:65534",
        "--pids-limit=9",
        "--memory=700m",
        "--memory-swap=700m",
        "--ulimit=cpu=5:5",
        f"--ulimit=fsize={3 * 2**20}:{3 * 2**20}",
        "--ulimit=nofile=77:77",
        "--pull=never",
        "--env=A=b c",
        f"--mount=type=bind,source={tmp_path},target=/shown,readonly",
        "--tmpfs=/shown/inner:ro,size=4k",
    }
    assert not any("writable" in word or "privileged" in word.replace("no-new-privileges", "") for word in words)


def test_a_container_is_removed_by_the_name_it_was_given(stub: Path) -> None:
    docker = Docker(program=str(stub))
    one, other = (docker.command(["/bin/true"], Box()) for _ in range(2))
    name = next(word for word in one if word.startswith("--name=")).removeprefix("--name=")
    assert docker.after(one) == [str(stub), "rm", "--force", name]
    assert docker.after(other) != docker.after(one)


def test_a_docker_that_shuts_nothing_is_refused(stub: Path) -> None:
    said = faults(Docker(program=str(stub)))
    assert [name for name in ("loopback", "storm", "memory", "cpu", "environment") if f"{name}: " not in said] == []


# ------------------------------------------------------------------ what is inside


@pytest.mark.parametrize("around", ["nothing", "a virtual environment", "one around it", "/usr"])
def test_neither_records_nor_tests_nor_data_are_among_the_files(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(registry.__file__).parents[1]
    if around == "/usr":
        monkeypatch.setattr(installation, "SYSTEM", root.parent)
    elif around != "nothing":
        monkeypatch.setattr(sys, "prefix", str(root if around == "a virtual environment" else root.parent))
    own = {Path(sys.prefix), Path(sys.base_prefix)}  # of a checkout's .venv, where that is what runs
    kept = {root / name for name in ("molebench", "attacks", "defenses", "victims", "bin", "lib")} | own
    assert not [path for path in installed().hidden if Path(path) in kept]
    there = [*map(Path, installed().files), installation.SYSTEM]
    for name in ("tests", "leaderboard", "datasets", "benchmarks", "docs", *([".git"] * (root / ".git").is_dir())):
        hidden = any((root / name).is_relative_to(each) for each in map(Path, installed().hidden))
        assert hidden or not any((root / name).is_relative_to(each) for each in there), name


def test_a_file_that_is_a_link_is_no_submission(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "defense.py").symlink_to("/etc/passwd")
    workspace = Workspace(tmp_path, tmp_path, tmp_path)
    with (
        pytest.raises(MolebenchError, match=r"defense\.py is a link"),
        jailed(driver, {"it": tmp_path / "defense.py"}, workspace),
    ):
        pass


def test_what_is_not_there_cannot_be_jailed(tmp_path: Path) -> None:
    with (
        pytest.raises(MolebenchError, match=r"there is no defense\.py to run"),
        jailed(None, {"it": tmp_path / "defense.py"}, Workspace(tmp_path, tmp_path, tmp_path)),
    ):
        pass


def test_copies_can_be_read_by_everybody_and_are_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "defense.py"
    path.write_text("", "utf-8")
    path.chmod(0o600)
    with jailed(None, {"it": path}, Workspace(tmp_path, tmp_path, tmp_path)) as jail:
        copy = Path(jail.box.environment["MOLEBENCH_PLUGINS"])
        assert (copy.name, stat.S_IMODE(copy.stat().st_mode)) == ("it.py", 0o644)
        assert jail.names == {"it"}
    assert not copy.parent.exists()


def test_of_two_submissions_in_one_jail_neither_is_seen_by_the_other(driver: Driver, tmp_path: Path) -> None:
    (package := tmp_path / "site").mkdir()
    (package / "sitecustomize.py").write_text(
        "import os\nos._exit(7)\n", "utf-8"
    )  # runs in whatever has it in its path
    says = "print([*os.listdir('/plugin')] if os.path.exists('/plugin') else [], os.environ['MOLEBENCH_PLUGINS'])"
    body = f"{says}; return np.ones(len(view.x), dtype=bool)"
    for name in ("it", "other"):
        (tmp_path / f"{name}.py").write_text(text("screen_pool", body), "utf-8")
    files = {"it": tmp_path / "it.py", "other": tmp_path / "other.py", "packed": package}
    workspace = Workspace(tmp_path, tmp_path, tmp_path)
    seen = View(np.zeros((5, 2, 2, 1), np.uint8), np.zeros((5, 2), np.float32), 2)
    for one in (driver, None):
        with jailed(one, files, workspace) as jail:
            assert len(jail.box.environment["MOLEBENCH_PLUGINS"].split(os.pathsep)) == 2
            proxy = isolated(described(), None, replace(workspace, jail=jail), 60.0)
            with redirect_stderr(io.StringIO()) as printed:
                assert proxy.screen_pool(seen, stream(0, "a")).tolist() == [True] * 5
        assert "it.py" in printed.getvalue()
        assert "other" not in printed.getvalue()


def test_installed_packages_are_found_by_their_entry_points(driver: Driver, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    info = folder / "packed-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "packed.py").write_text(text("screen_pool", "return np.ones(len(view.x), dtype=bool)"), "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: packed\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[molebench.defenses]\nit = packed:Bad\n", "utf-8")
    workspace = Workspace(tmp_path, tmp_path, tmp_path)
    seen = View(np.zeros((5, 2, 2, 1), np.uint8), np.zeros((5, 2), np.float32), 2)
    for one in (driver, None):
        with jailed(one, {"it": folder}, workspace) as jail:
            proxy = isolated(described(), None, replace(workspace, jail=jail), 60.0)
            assert proxy.screen_pool(seen, stream(0, "a")).tolist() == [True] * 5


# ------------------------------------------------------------------ the same inside and outside

USES = "return view.extractor(torch.from_numpy(view.x.astype(np.float32))).detach().numpy().mean(axis=1) + rng.random()"


def test_one_that_asks_the_extractor_answers_the_same(
    driver: Driver, lite0: FrozenExtractor, fetched: Workspace, tmp_path: Path
) -> None:
    plugin = registry.find("extractors", "efficientnet_lite0")
    values = plugin.resolve({}, "tiny")
    x = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
    seen = View(x, np.zeros((6, 2), np.float32), 3, extractor=lite0)
    answers = []
    for one in (driver, None):
        ward = Ward(one, tmp_path, fetched)
        with ward.stand_in(USES, "import torch", extractor=Part(plugin, values, values)) as proxy:
            answers.append(proxy.screen_pool(seen, stream(0, "a")).tolist())
    own = lite0(torch.from_numpy(x.astype(np.float32))).detach().numpy().mean(axis=1)
    assert answers[0] == answers[1]
    np.testing.assert_allclose(answers[0], own + stream(0, "a").random(), rtol=1e-5)


def test_weights_of_another_extractor_are_not_seen(driver: Driver, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")
    for name in ("weights/efficientnet_lite0-imagenet.safetensors", "weights/resnet50-imagenet.safetensors", "split/x"):
        (workspace.cache / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace.cache / name).write_bytes(b"")
    plugin = registry.find("extractors", "efficientnet_lite0")
    values = plugin.resolve({"weights": "random"}, "tiny")
    lists = "raise ValueError(sorted(p.name for p in Path(os.environ['MOLEBENCH_CACHE']).rglob('*')))"
    seen = View(np.zeros((2, 2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), 2)
    with (
        Ward(driver, tmp_path, workspace).stand_in(lists, extractor=Part(plugin, values, values)) as proxy,
        pytest.raises(CellFailed, match=r"ValueError: \['efficientnet_lite0-imagenet.safetensors', 'weights'\]"),
    ):
        proxy.screen_pool(seen, stream(0, "a"))


def test_a_cell_is_the_same_inside_and_outside(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, "")
    (tmp_path / "halving.py").write_text(text("filter_train", "return rng.random(len(view.x)) < 0.5"), "utf-8")
    (tmp_path / "small.py").write_text(SMALL_VICTIM, "utf-8")
    places.use([tmp_path / "small.py", tmp_path / "halving.py"])
    found, printed = [], []
    for one in (driver, None):
        home = Home.at(tmp_path / str(one and one.name))
        with jailed(one, {"halving": tmp_path / "halving.py"}, home.workspace) as jail:
            home = Home(replace(home.workspace, jail=jail))
            printed.append(home.run("mole_recruitment", "halving").metrics["clean_cost"].value)
        found.append(predictions(home.workspace))
    assert len(found[0]) > 1
    assert found[0] == found[1]
    assert printed[0] == printed[1] != 0
    assert os.environ.get("MOLEBENCH_ISOLATE", "0") == "0"
