"""`data fetch` and `data verify`, and that offline means offline: no address looked up, no client started."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from molebench import registry
from molebench.datasets import cifar100
from molebench.downloads import partial
from molebench.nets import FrozenExtractor
from molebench.stages import save_arrays
from molebench.workspace import Workspace, sha256
from tests.commands import SIZES, VICTIM, new_home, one_line, typed
from tests.test_datasets_cifar100 import archive

EVERY = [*registry.files("datasets"), *registry.files("extractors")]


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """Nothing anywhere."""
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")


# ------------------------------------------------------------------ offline

CONNECTING = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
STARTING = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")
CLIENTS = {"npm", "node", "pip", "apt", "apt-get", "dpkg-deb", "curl", "wget", "git-remote-https"}
ears: list[list[str]] = []  # an audit hook stays for good; it hears nothing where there is no list


def hear(event: str, words: tuple[Any, ...]) -> None:
    """The interpreter calls this before any of its own code connects or starts a program."""
    if ears and event in CONNECTING + STARTING:
        ears[-1].append(f"{event} {words}")
        if event in CONNECTING:
            raise OSError(f"{event} in a test that is offline")


sys.addaudithook(hear)


@contextmanager
def wiretapped() -> Iterator[list[str]]:
    """What was connected to or started, where every connection fails."""
    heard: list[str] = []
    ears.append(heard)
    try:
        yield heard
    finally:
        ears.pop()


def outside(heard: list[str]) -> list[str]:
    """Of what was heard, connections and the programs that make some."""
    words = [(line, set(line.replace("/", " ").replace("'", " ").replace(",", " ").split())) for line in heard]
    return [line for line, said in words if line.startswith("socket.") or said & CLIENTS]


def test_the_wiretap_hears_a_connection_and_a_client(bare: Workspace) -> None:
    with wiretapped() as heard:
        subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=True)
        assert "no source has" in typed(bare, "data", "fetch", "cifar100").stderr
    assert {line.split()[0] for line in outside(heard)} == {"subprocess.Popen", "socket.getaddrinfo"}


@pytest.fixture(params=["option", "environment"])
def offline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, socket_disabled: None) -> list[str]:
    """The words that make a command offline, in either spelling; no socket can be made."""
    if request.param == "environment":
        monkeypatch.setenv("MOLEBENCH_OFFLINE", "1")
    return ["--offline"] if request.param == "option" else []


def test_offline_no_dataset_and_no_extractor_is_asked_for(offline: list[str], bare: Workspace) -> None:
    with wiretapped() as heard:
        for name in EVERY:
            done = typed(bare, "data", "fetch", name, *offline)
            if done.returncode:
                line = one_line(done)
                assert "not asked (offline)" in line or "MOLEBENCH_DATA" in line or "needs --set" in line
    assert outside(heard) == []


def test_offline_a_run_makes_no_connection(
    offline: list[str], fetched: Workspace, lite0: FrozenExtractor, tmp_path: Path
) -> None:
    sizes = [word for size in SIZES if size.startswith("victim.") for word in ("--set", size)]
    words = ["--attack", "none", "--victim", VICTIM, "--profile", "tiny", *sizes]
    with wiretapped() as heard:
        done = typed(new_home(fetched, tmp_path), "run", *words, *offline)
    assert done.returncode == 0, done.stderr
    assert outside(heard) == []


# ------------------------------------------------------------------ fetch

SWEEP = """
attack: none
victim: al_efficientnet_lite0
dataset: photo_patches
profile: tiny
seed: [0, 1]
set: {extractor.weights: random, dataset.crop: 16}
"""


def test_all_that_a_sweep_needs_is_got_with_its_own_parameters(bare: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP)
    done = typed(bare, "data", "fetch", "digits", "--for", str(file), "--offline")
    assert done.returncode == 0, done.stderr
    digits, patches, weights = done.stdout.splitlines()
    assert digits.startswith("digits: train 1438, test 359")
    assert patches == "photo_patches: train 4180, 10 classes"  # of 12, the default, there are more
    assert weights.startswith("efficientnet_lite0: weights from random")


def test_nothing_named_is_a_mistake(bare: Workspace) -> None:
    assert one_line(typed(bare, "data", "fetch", "--offline")) == (
        "molebench: data fetch: nothing is named; name datasets or extractors, or give --for FILE.yaml"
    )


def test_a_sweep_that_is_not_there_is_named(bare: Workspace) -> None:
    assert "cannot read sweep nowhere.yaml" in one_line(typed(bare, "data", "fetch", "--for", "nowhere.yaml"))


# ------------------------------------------------------------------ verify


@pytest.fixture
def stocked(bare: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A small CIFAR-100 in MOLEBENCH_DATA, taken for the published one and converted; weights in the cache."""
    file = archive(bare.data / cifar100.FILE)
    monkeypatch.setattr(cifar100, "SHA256", sha256(file))
    assert typed(bare, "data", "fetch", "cifar100", "--offline").returncode == 0
    save_arrays(bare.cache / "weights" / "resnet50-imagenet.safetensors", {"w": np.arange(9)}, note="a file")
    return bare


def states(workspace: Workspace, *names: str, code: int = 0) -> dict[str, str]:
    """What `data verify` says of each thing, by its first words."""
    done = typed(workspace, "data", "verify", *names)
    assert done.returncode == code, done.stdout + done.stderr
    lines = (line.split(None, 1) for line in done.stdout.splitlines())
    return {what.partition(":")[0]: state for state, what in lines}


def converted(workspace: Workspace) -> Path:
    (file,) = (workspace.cache / "data").glob("cifar100-*.safetensors")
    return file


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 0xFF
    file.write_bytes(data)


def test_what_is_whole_is_ok_and_what_is_not_there_absent(stocked: Workspace, socket_disabled: None) -> None:
    before = {f: f.read_bytes() for f in stocked.cache.rglob("*") if f.is_file()}
    with wiretapped() as heard:
        said = states(stocked)
    assert said[f"cifar100 converted {converted(stocked).name}"] == "ok"
    assert said["cifar100 file cifar-100-binary.tar.gz"] == "ok"
    assert said["resnet50 converted resnet50-imagenet.safetensors"] == "ok"
    assert said["efficientnet_lite0 weights"] == "absent"
    assert said["stl10 file stl10_binary.tar.gz"] == "absent"
    assert outside(heard) == []
    assert {f: f.read_bytes() for f in stocked.cache.rglob("*") if f.is_file()} == before


def test_damaged_arrays_are_named_with_what_to_do(stocked: Workspace) -> None:
    flip(converted(stocked))
    flip(stocked.cache / "weights" / "resnet50-imagenet.safetensors")
    done = typed(stocked, "data", "verify", "cifar100", "resnet50")
    assert done.returncode == 4
    first, file, weights = done.stdout.splitlines()
    assert first.startswith("DAMAGED cifar100 converted")
    assert first.endswith(f"remove {converted(stocked)}, then run: molebench data fetch cifar100")
    assert file.startswith("ok      cifar100 file")
    assert weights.startswith("DAMAGED resnet50 converted resnet50-imagenet.safetensors")
    assert done.stderr == "molebench: 2 damaged; each line says what to do\n"


def test_damaged_files_are_named_wherever_they_are(stocked: Workspace) -> None:
    users, downloaded = stocked.data / cifar100.FILE, stocked.cache / "downloads" / cifar100.FILE
    downloaded.parent.mkdir()
    downloaded.write_bytes(users.read_bytes()[:-9])
    flip(users)
    done = typed(stocked, "data", "verify", "cifar100")
    assert done.returncode == 4
    _, one, two = done.stdout.splitlines()
    assert one.startswith(f"DAMAGED cifar100 file {cifar100.FILE}: {users} is not the published file")
    assert two.startswith(f"DAMAGED cifar100 file {cifar100.FILE}: {downloaded} is not the published file")
    assert two.endswith("remove it, then run: molebench data fetch cifar100")


def test_only_what_is_named_is_looked_at(stocked: Workspace) -> None:
    flip(stocked.data / cifar100.FILE)
    assert set(states(stocked, "resnet50")) == {"resnet50 converted resnet50-imagenet.safetensors"}
    assert "DAMAGED" in states(stocked, code=4).values()


def test_what_is_converted_already_does_not_miss_its_file(stocked: Workspace) -> None:
    (stocked.data / cifar100.FILE).unlink()
    done = typed(stocked, "data", "verify", "cifar100")
    assert done.stdout.splitlines()[1].startswith("absent  cifar100 file cifar-100-binary.tar.gz: not needed")


def test_a_download_that_was_cut_is_said_to_be_there(bare: Workspace) -> None:
    part = partial(cifar100.URLS[0], f"sha256:{cifar100.SHA256}", bare.cache / "downloads")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"the beginning")
    said = typed(bare, "data", "verify", "cifar100").stdout
    assert said == f"absent  cifar100 file {cifar100.FILE}: molebench data fetch cifar100 (goes on after 13 bytes)\n"


def test_arrays_of_a_dataset_that_is_there_no_more_are_looked_at_too(stocked: Workspace) -> None:
    file = stocked.cache / "data" / "gone-0123.safetensors"
    save_arrays(file, {"x": np.arange(3)})
    assert states(stocked)["data converted gone-0123.safetensors"] == "ok"
    flip(file)
    assert states(stocked, code=4)["data converted gone-0123.safetensors"] == "DAMAGED"


def test_an_unknown_name_is_answered_with_the_nearest(bare: Workspace) -> None:
    assert "did you mean 'cifar100'?" in one_line(typed(bare, "data", "verify", "cifar-100"))
