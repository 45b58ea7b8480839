"""What goes wrong in real life: broken files, full disks, Ctrl-C, kill -9; and that the next run mends it."""

import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from molebench.attacks.noise import Noise
from molebench.errors import MolebenchError
from molebench.extractors import efficientnet_lite0, resnet50
from molebench.grid import Cell, resolve
from molebench.nets import FrozenExtractor
from molebench.stages import load_arrays
from molebench.store import Store, load_predictions, load_records
from molebench.types import Array
from molebench.weights import Unreadable
from molebench.workspace import Workspace
from tests.commands import SMALL, TINY, VICTIM, folders, new_home, one_line, predictions, typed
from tests.conftest import ROOT

RUN = ("run", "--attack", "feature_collision", *SMALL)


def last_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The last line on stderr of a command that refused after some progress."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("molebench: ")] == lines[-1:]
    return lines[-1]


def temporary(workspace: Workspace) -> list[Path]:
    """Files that a command should have cleared away."""
    return [f for root in (workspace.store, workspace.cache) for f in root.rglob(".*")]


# Parts that do not fit


def test_an_attack_of_another_scenario_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, fresh: Workspace) -> None:
    monkeypatch.setattr(Noise, "card", replace(Noise.card, scenarios=("offline",)))
    with pytest.raises(MolebenchError, match=rf"attack noise acts in offline; victim {VICTIM} belongs to active: try"):
        resolve(Cell(attack="noise", victim=VICTIM))
    assert "attack noise acts in offline" in one_line(typed(fresh, "run", "--attack", "noise", *TINY))
    assert not fresh.store.exists()


def test_more_labels_than_the_pool_has_are_refused_with_the_way_out(fresh: Workspace, lite0: FrozenExtractor) -> None:
    line = last_line(typed(fresh, *RUN, "--set", "victim.queries=5000"))
    assert "gives a pool of 160" in line
    assert "choose fewer queries" in line
    assert load_records(fresh.store) == []


# Weight files


def tarball(files: dict[str, bytes]) -> bytes:
    """A .tgz of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def flipped(data: bytes, at: float) -> bytes:
    """Bytes with a few in the middle changed."""
    start = int(at * len(data))
    return data[:start] + bytes(b ^ 0x55 for b in data[start : start + 8]) + data[start + 8 :]


def keras(path: Path, arrays: dict[str, Array]) -> bytes:
    """A Keras-like HDF5 file of 'layer/kind' arrays."""
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            layer, kind = name.split("/")
            file[f"{layer}/{layer}/{kind}:0"] = value
    return path.read_bytes()


def other_network(tmp_path: Path) -> bytes:
    return keras(tmp_path / "vgg.h5", {"block1_conv1/kernel": np.zeros((3, 3, 3, 64), np.float32)})


def thin_resnet(tmp_path: Path) -> bytes:
    """Every layer of a ResNet-50, each two channels wide."""
    arrays: dict[str, Array] = {}
    for _, convolution, norm in resnet50.names(new=True):
        arrays[f"{convolution}/kernel"] = np.zeros((1, 1, 2, 2), np.float32)
        arrays |= {f"{norm}/{k}": np.ones(2, np.float32) for k in ("gamma", "beta", "moving_mean", "moving_variance")}
    return keras(tmp_path / "thin.h5", arrays)


def saved(value: object) -> bytes:
    """What torch.save writes."""
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


class Payload:
    """Runs a command when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pwned",)


TGZ = tarball({"package/ResNet50/model.json": b'{"weightsManifest": []}' * 400, "package/ResNet50/shard": bytes(9000)})
BROKEN: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "empty .h5": ("resnet50", lambda _: b""),
    "noise": ("resnet50", lambda _: np.random.default_rng(0).bytes(5000)),
    "a web page": ("resnet50", lambda _: b"<html>404 not found</html>"),
    "a cut .tgz": ("resnet50", lambda _: TGZ[: len(TGZ) // 2]),
    "a .tgz of something else": ("resnet50", lambda _: tarball({"package/readme": b"hello"})),
    "a .tgz whose model is no JSON": ("resnet50", lambda _: tarball({"p/ResNet50/model.json": b"{"})),
    "a .tgz whose model is a list": ("resnet50", lambda _: tarball({"p/ResNet50/model.json": b"[]"})),
    "a cut .h5": ("resnet50", lambda tmp: other_network(tmp)[:1000]),
    "another network's .h5": ("resnet50", other_network),
    "a thin ResNet-50's .h5": ("resnet50", thin_resnet),
    "empty .pth": ("efficientnet_lite0", lambda _: b""),
    "noise as .pth": ("efficientnet_lite0", lambda _: np.random.default_rng(0).bytes(5000)),
    "a cut .pth": ("efficientnet_lite0", lambda _: saved({"w": torch.zeros(5000)})[:9000]),
    "another network's .pth": ("efficientnet_lite0", lambda _: saved({"w": torch.zeros(3)})),
    "a checkpoint": ("efficientnet_lite0", lambda _: saved({"state_dict": {"w": torch.zeros(3)}, "epoch": 3})),
    "a list": ("efficientnet_lite0", lambda _: saved([torch.zeros(3)])),
    "a pickle that runs code": ("efficientnet_lite0", lambda _: pickle.dumps(Payload())),
}


@pytest.mark.parametrize(("name", "content"), BROKEN.values(), ids=BROKEN)
def test_a_weight_file_that_is_broken_or_another_network_s_is_named(
    name: str, content: Callable[[Path], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)
    file = tmp_path / "mine.bin"
    file.write_bytes(content(tmp_path))
    monkeypatch.chdir(tmp_path)
    victim = {"resnet50": "al_resnet50", "efficientnet_lite0": VICTIM}[name]
    words = ("run", "--attack", "noise", "--victim", victim, "--profile", "tiny", "--set", f"extractor.weights={file}")
    line = last_line(typed(workspace, *words))
    assert f"extractor {name}: weights from file mine.bin are unusable: " in line
    assert list(workspace.cache.rglob("*.safetensors")) == []
    assert file.exists()
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("at", [i / 20 for i in range(1, 20)])
def test_a_tarball_with_flipped_bytes_is_unreadable_wherever_they_are(at: float, tmp_path: Path) -> None:
    (tmp_path / "mine.tgz").write_bytes(flipped(TGZ, at))
    with pytest.raises(Unreadable):
        resnet50.read(tmp_path / "mine.tgz")


def test_a_weight_file_that_is_not_there_is_named(fresh: Workspace, tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.pth", "weights = "), (tmp_path, "no weight file ")):
        line = last_line(typed(fresh, *RUN, "--set", f"extractor.weights={path}"))
        assert f"extractor efficientnet_lite0: {said}" in line
        assert str(path) in line


@pytest.fixture
def published(fetched: Workspace, lite0: FrozenExtractor) -> bytes:
    """The published EfficientNet-Lite0 file, put together again from the arrays we keep of it."""
    found = load_arrays(fetched.cache / "weights" / "efficientnet_lite0-imagenet.safetensors")
    assert found
    ours = efficientnet_lite0.network().state_dict()
    state = {name: torch.from_numpy(found[0][name].copy()) if name in found[0] else v for name, v in ours.items()}
    return saved({**state, "classifier.weight": torch.zeros(1000, 1280), "classifier.bias": torch.zeros(1000)})


def loaded(weights: str, workspace: Workspace) -> str:
    """The sha256 of an extractor's weights."""
    return efficientnet_lite0.EfficientNetLite0(weights).load(workspace)[1].sha256


def test_cached_weights_that_are_damaged_are_made_again(published: bytes, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)
    workspace.data.mkdir()
    (workspace.data / efficientnet_lite0.FILE).write_bytes(published)
    before = loaded("imagenet", workspace)
    (kept,) = (workspace.cache / "weights").glob("*.safetensors")
    whole = kept.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], flipped(whole, 0.9)):
        kept.write_bytes(damaged)
        assert loaded("imagenet", workspace) == before
        assert load_arrays(kept)
    assert list(workspace.cache.rglob("*.original")) + list(workspace.cache.rglob(".*")) == []
    assert (workspace.data / efficientnet_lite0.FILE).read_bytes() == published


@pytest.mark.parametrize("name", ["mine.pth", "mine.original", "mine"])
def test_a_weight_file_of_the_user_s_stays_where_it_is(name: str, published: bytes, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)
    (tmp_path / name).write_bytes(published)
    loaded(str(tmp_path / name), workspace)
    assert (tmp_path / name).read_bytes() == published


# Data


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(out, "jpeg")
    return out.getvalue()


def photographs(image: bytes = jpeg(), classes: int = 10) -> bytes:
    """A small cifar10_jpeg.zip."""
    from molebench.datasets.cifar10_jpeg import CLASSES

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "test"):
            for name in CLASSES[:classes]:
                archive.writestr(f"{split}/{name}/0001.jpg", image)
    return out.getvalue()


ZIPS = {
    "cut short": (photographs()[:-200], "cifar10_jpeg.zip is not a whole zip file"),
    "cut in half": (photographs()[: len(photographs()) // 2], "cifar10_jpeg.zip is not a whole zip file"),
    "flipped bytes": (flipped(photographs(), 0.5), "cifar10_jpeg.zip is not a whole zip file"),
    "a class missing": (photographs(classes=9), "cifar10_jpeg.zip has no train/truck/*.jpg"),
    "no zip": (b"<html>", "cifar10_jpeg.zip is not a whole zip file"),
    "no image in it": (photographs(b"no image"), "train/airplane/0001.jpg is not a readable image"),
}


@pytest.mark.parametrize(("content", "says"), ZIPS.values(), ids=ZIPS)
def test_a_broken_cifar10_jpeg_zip_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)
    workspace.data.mkdir()
    (workspace.data / "cifar10_jpeg.zip").write_bytes(content)
    assert says in last_line(typed(workspace, *RUN, "--dataset", "cifar10_jpeg"))
    assert list(workspace.cache.rglob("*.safetensors")) == []


def test_a_zip_that_is_not_there_is_named_with_what_it_should_hold(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)
    line = last_line(typed(workspace, *RUN, "--dataset", "cifar10_jpeg"))
    assert f"no cifar10_jpeg.zip in MOLEBENCH_DATA ({workspace.data})" in line


def pets(root: Path, classes: int) -> Path:
    for name in ("cat", "dog")[:classes]:
        for i in range(3):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (10 * i, 100, 200)).save(root / name / f"{i}.png")
    return root


def test_a_folder_with_one_class_is_refused(fresh: Workspace, tmp_path: Path) -> None:
    root = pets(tmp_path / "pets", classes=1)
    line = last_line(typed(fresh, *RUN, "--dataset", "folder", "--set", f"dataset.path={root}"))
    assert "dataset folder: the folder has only one class (cat)" in line


def test_an_unreadable_image_in_a_folder_is_named(fresh: Workspace, tmp_path: Path) -> None:
    root = pets(tmp_path / "pets", classes=2)
    (root / "dog" / "1.png").write_bytes((root / "dog" / "1.png").read_bytes()[:60])
    line = last_line(typed(fresh, *RUN, "--dataset", "folder", "--set", f"dataset.path={root}"))
    assert line.startswith("molebench: dog/1.png is not a readable image")
    assert str(tmp_path) not in line


# Folders that cannot be written


@pytest.mark.parametrize("place", ["/proc/molebench", "/sys/molebench", "a file", "below a file"])
def test_a_store_that_cannot_be_written_is_named_before_anything_is_computed(
    place: str, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    path = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "store"}.get(place, Path(place))
    line = one_line(typed(workspace, *RUN, "--store", str(path)))
    assert line.startswith(f"molebench: cannot write below {path}")
    assert "or --store" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cache_that_cannot_be_written_is_named(fresh: Workspace, lite0: FrozenExtractor) -> None:
    (fresh.cache / "stages").write_text("mine")
    line = last_line(typed(fresh, *RUN))
    assert line.startswith(f"molebench: cannot write below {fresh.cache / 'stages'}")
    assert load_records(fresh.store) == []


@pytest.fixture(scope="module")
def warm(fetched: Workspace, lite0: FrozenExtractor, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which RUN has been run, so that its stages are cached."""
    workspace = new_home(fetched, tmp_path_factory.mktemp("warm"))
    done = typed(workspace, *RUN)
    assert done.returncode == 0, done.stderr
    return workspace


def limited(workspace: Workspace, kib: int, *words: str) -> subprocess.CompletedProcess[str]:
    """A real process that may write no file larger than this, as on a disk with a quota."""
    shell = ["bash", "-c", f'ulimit -f {kib}; exec "$0" -m molebench "$@"', sys.executable, *words]
    env = {**os.environ, **folders(workspace)}
    return subprocess.run(shell, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_file_too_large_for_the_cache_is_one_line_and_the_next_run_goes_on(fresh: Workspace, warm: Workspace) -> None:
    line = last_line(limited(fresh, 100, *RUN))  # the pool's features take 800 KiB
    assert line.startswith(f"molebench: cannot write below {fresh.cache}")
    assert "the file would exceed the size limit" in line
    assert temporary(fresh) == []
    assert list(fresh.cache.rglob("features/*.safetensors")) == []
    assert load_records(fresh.store) == []
    done = typed(fresh, *RUN)
    assert done.returncode == 0, done.stderr
    assert the_same(fresh, warm)


FULL = """
mount -t tmpfs -o size=16k none "$1" || exit 99
"$2" -m molebench "${@:3}"; echo "code $?"
find "$1" -name '.*' -type f -o -name record.json
mount -o remount,size=4m "$1"
"$2" -m molebench "${@:3}" --json > "$1.json"; echo "code $?"
"""


def test_a_full_disk_is_one_line_and_with_some_room_the_next_run_goes_on(warm: Workspace, tmp_path: Path) -> None:
    store = tmp_path / "disk"
    store.mkdir()
    workspace = replace(warm, store=store)
    shell = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", FULL, "bash", str(store), sys.executable]
    env = {**os.environ, **folders(workspace)}
    done = subprocess.run([*shell, *RUN], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip(f"this machine allows no mount: {done.stderr.strip()}")
    assert done.stdout.splitlines() == ["code 2", "code 0"], done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("molebench: ")]
    assert f"cannot write below {store}" in said
    assert "the disk is full" in said
    assert "Traceback" not in done.stderr
    assert '"status": "ok"' in Path(f"{store}.json").read_text("utf-8")


def the_same(one: Workspace, other: Workspace) -> bool:
    """Whether two stores hold the same records as far as anybody but a clock can tell."""
    records = [load_records(workspace.store) for workspace in (one, other)]
    arrays = []
    for workspace, found in zip((one, other), records, strict=True):
        cell = Store(workspace.store).cell
        arrays.append([load_predictions(cell(r.key), a)["predicted"].tolist() for r in found for a in r.arms.values()])
    return arrays[0] == arrays[1] and [r.metrics for r in records[0]] == [r.metrics for r in records[1]]


# Damaged stages


def test_damaged_stages_count_as_not_there(warm: Workspace, fresh: Workspace) -> None:
    shutil.copytree(warm.cache / "stages", fresh.cache / "stages")
    files = sorted((fresh.cache / "stages").rglob("*.safetensors"))
    assert {f.parent.name for f in files} == {"features", "poison", "arms"}
    for i, file in enumerate(files):
        whole = file.read_bytes()
        file.write_bytes([b"", whole[:-1], whole[: len(whole) // 2], flipped(whole, 0.8)][i % 4])
    assert typed(fresh, *RUN).returncode == 0
    assert the_same(fresh, warm)
    assert all(load_arrays(file) for file in files)


# Interrupted and killed


# every phase takes a second or more, so that a signal arrives within it on a busy machine too
SLOW = ("attack.steps=40", "attack.tolerance=0", "victim.query_batch=2")
LONG = ("run", "--attack", "feature_collision", *TINY, *(word for size in SLOW for word in ("--set", size)))


def sent(workspace: Workspace, phase: str, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Runs LONG in a real process and sends it a signal as soon as it is in a phase."""
    words = [sys.executable, "-m", "molebench", *LONG]
    folder = workspace.cache / "stages" / phase
    before = set(folder.glob("*.lock"))
    with subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, **folders(workspace)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        while set(folder.glob("*.lock")) <= before:  # a stage takes its lock, then computes
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture(scope="module")
def uninterrupted(fetched: Workspace, lite0: FrozenExtractor, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = new_home(fetched, tmp_path_factory.mktemp("uninterrupted"))
    assert typed(workspace, *LONG).returncode == 0
    return workspace


def test_ctrl_c_in_any_phase_is_one_line_and_the_next_run_goes_on_from_there(
    fresh: Workspace, uninterrupted: Workspace
) -> None:
    kept: set[Path] = set()
    for phase in ("features", "poison", "arms"):
        line = last_line(sent(fresh, phase, signal.SIGINT), code=130)
        assert line == "molebench: interrupted; finished stages are kept, run the same command to go on"
        assert temporary(fresh) == []
        assert load_records(fresh.store) == []
        finished = set(fresh.cache.rglob("stages/*/*.safetensors"))
        assert finished >= kept
        kept = finished
    assert {file.parent.name for file in kept} == {"features", "poison"}
    done = typed(fresh, *LONG)
    assert done.returncode == 0
    assert "crafting" not in done.stderr  # made before the third Ctrl-C
    assert the_same(fresh, uninterrupted)


def test_killed_a_run_leaves_no_record_and_the_next_one_ends_as_if_nothing_had_been(
    fresh: Workspace, uninterrupted: Workspace
) -> None:
    done = sent(fresh, "arms", signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL
    assert load_records(fresh.store) == []
    assert list(fresh.store.rglob("record.json")) == []
    assert typed(fresh, *LONG).returncode == 0
    assert the_same(fresh, uninterrupted)
    assert set(predictions(fresh)) == set(predictions(uninterrupted))
