"""The spoken digits: small zips laid out as the real one, whole and broken, and the real one."""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import soundfile

from molebench import registry
from molebench.datasets.fsdd import CLASSES, FILE, FSDD, read, recordings
from molebench.errors import MolebenchError
from molebench.progress import silent
from molebench.sounds import wav
from molebench.types import AUDIO, Dataset
from molebench.workspace import Workspace

SPEAKERS = ("ada", "bob")


def said(digit: int, speaker: str, take: int, rate: int = 16_000) -> bytes:
    """A steady value that tells who says what: 1000 digit + 100 speaker + take; 20 samples."""
    value = 1_000 * digit + 100 * SPEAKERS.index(speaker) + take
    return wav(np.full(20, value, np.int16), rate)


def archive(
    path: Path, folder: str = "", takes: Iterable[int] = range(7), more: Mapping[str, bytes] = MappingProxyType({})
) -> Path:
    """Seven takes of each digit by two speakers, in the order of a folder's listing, and other files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [(d, s, t) for d in range(10) for s in reversed(SPEAKERS) for t in sorted(takes, key=str)]
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr(f"{folder}README.md", "about them")
        for digit, speaker, take in names:
            zipped.writestr(f"{folder}{digit}_{speaker}_{take}.wav", said(digit, speaker, take))
        for name, data in more.items():
            zipped.writestr(name, data)
    return path


def firsts(data: Dataset, split: str) -> list[int]:
    return [int(v) for v in data.splits[split].x[:, 0]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


@pytest.mark.parametrize("folder", ["", "recordings/", "free-spoken-digit-dataset-master/recordings/"])
def test_recordings_come_by_digit_speaker_and_take_wherever_they_are_in_the_zip(folder: str, tmp_path: Path) -> None:
    found = read(archive(tmp_path / FILE, folder), 30, silent)
    assert found["x"].shape == (140, 30)
    assert found["x"][:, 0].tolist() == [1_000 * d + 100 * s + t for d in range(10) for s in range(2) for t in range(7)]
    assert not found["x"][:, 20:].any()
    assert found["digit"].tolist() == [d for d in range(10) for _ in range(14)]
    assert found["take"].tolist() == [*range(7)] * 20


def test_take_10_comes_after_take_9() -> None:
    found = recordings(["3_ada_10.wav", "3_ada_9.wav", "about.txt", "__MACOSX/._3_ada_9.wav"])
    assert list(found.values()) == ["3_ada_9.wav", "3_ada_10.wav"]


def test_the_first_five_takes_are_the_test_split(workspace: Workspace) -> None:
    archive(workspace.data / FILE)
    data = FSDD().load(workspace)
    assert {v % 100 for v in firsts(data, "train")} == {5, 6}
    assert {v % 100 for v in firsts(data, "test")} == {0, 1, 2, 3, 4}
    assert {s: len(samples) for s, samples in data.splits.items()} == {"train": 40, "test": 100}
    assert [v // 1_000 for v in firsts(data, "test")] == data.splits["test"].y.tolist()
    assert data.modality == AUDIO
    assert data.splits["train"].x.shape[1] == 15_600


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_one_speaker_is_held_out(speaker: str, workspace: Workspace) -> None:
    archive(workspace.data / FILE)
    data = FSDD(split="speaker", speaker=speaker).load(workspace)
    assert {SPEAKERS[v // 100 % 10] for v in firsts(data, "test")} == {speaker}
    assert {SPEAKERS[v // 100 % 10] for v in firsts(data, "train")} == set(SPEAKERS) - {speaker}
    assert np.bincount(data.splits["test"].y).tolist() == [7] * 10


def test_seconds_give_the_length_of_a_clip(workspace: Workspace) -> None:
    archive(workspace.data / FILE)
    assert FSDD(seconds=0.01).load(workspace).splits["test"].x.shape[1] == 160
    assert FSDD(seconds=1.5).load(workspace).splits["test"].x.shape[1] == 24_000


def test_a_zip_is_decoded_once_and_the_record_gets_its_digest(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(workspace.data / FILE)
    first = FSDD().load(workspace)
    monkeypatch.setattr("molebench.sounds.decode", None)  # nothing is decoded again
    again = FSDD(split="speaker", speaker="ada").load(workspace)
    assert FSDD().load(workspace).fingerprints == first.fingerprints != again.fingerprints
    assert first.files == {FILE: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)}


# ------------------------------------------------------------------ bad input


def test_a_speaker_that_there_is_not_is_named_with_those_there_are(workspace: Workspace) -> None:
    archive(workspace.data / FILE)
    with pytest.raises(
        MolebenchError, match=r"no speaker in dataset fsdd named 'adda'; did you mean 'ada'\? \(ada, bob\)"
    ):
        FSDD(split="speaker", speaker="adda").load(workspace)


@pytest.mark.parametrize("takes", [range(5), range(5, 7)], ids=["no training takes", "no test takes"])
def test_takes_that_leave_a_split_empty_are_refused(takes: range, workspace: Workspace) -> None:
    archive(workspace.data / FILE, takes=takes)
    with pytest.raises(MolebenchError, match=r"fsdd\.zip: with split=recording, (train|test) has no recording of 0, 1"):
        FSDD().load(workspace)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"7_ada_8.wav": b"these are words"}, r"7_ada_8\.wav is not a readable WAV or FLAC file"),
        ({"7_ada_8.wav": said(7, "ada", 8)[:-2]}, r"7_ada_8\.wav is cut short"),
        ({"7_ada_8.wav": b""}, r"7_ada_8\.wav is empty"),
        ({"more/7_ada_3.wav": said(7, "ada", 3)}, r"has 7_ada_3\.wav twice, in 7_ada_3\.wav and more/7_ada_3\.wav"),
    ],
    ids=["text", "cut short", "empty", "twice"],
)
def test_a_bad_recording_is_named(more: dict[str, bytes], says: str, tmp_path: Path) -> None:
    with pytest.raises(MolebenchError, match=says):
        read(archive(tmp_path / FILE, more=more), 30, silent)


def test_a_zip_without_recordings_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(MolebenchError, match=r"fsdd\.zip has no <digit>_<speaker>_<take>\.wav; it is the rec"):
        read(archive(tmp_path / FILE, takes=()), 30, silent)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_zip_that_is_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = archive(tmp_path / FILE)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MolebenchError, match=r"fsdd\.zip is not a whole zip file"):
        read(path, 30, silent)


def test_without_the_zip_the_error_says_where_it_can_come_from(workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"no fsdd\.zip in MOLEBENCH_DATA .*github\.com/Jakobovski/free-spoken"):
        FSDD().load(workspace)


@pytest.mark.parametrize("wrong", [{"split": "take"}, {"seconds": 0}, {"seconds": 61}, {"seconds": float("nan")}])
def test_a_parameter_that_is_out_of_range_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(MolebenchError, match=f"dataset fsdd: {next(iter(wrong))} = .*; expected "):
        registry.find("datasets", "fsdd").resolve(wrong, "small")


# ------------------------------------------------------------------ the real one


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    data = Workspace.from_environment().data
    if not (data / FILE).is_file():
        pytest.skip(f"no {FILE} in MOLEBENCH_DATA")
    folder = tmp_path_factory.mktemp("fsdd")
    return FSDD().load(Workspace(data, folder / "cache", folder / "store", offline=True)), data / FILE


def test_the_real_zip_has_300_recordings_of_each_digit(real: tuple[Dataset, Path]) -> None:
    data, _ = real
    assert data.splits["train"].x.shape == (2_700, 15_600)
    assert np.bincount(data.splits["train"].y).tolist() == [270] * 10
    assert np.bincount(data.splits["test"].y).tolist() == [30] * 10
    assert data.classes == CLASSES


def test_a_real_recording_keeps_its_sound_at_the_new_rate(real: tuple[Dataset, Path]) -> None:
    data, path = real
    with zipfile.ZipFile(path) as zipped:
        eight, rate = soundfile.read(io.BytesIO(zipped.read("0_george_0.wav")), dtype="int16")
    sixteen = data.splits["test"].x[0]
    assert (rate, len(eight)) == (8_000, 2_384)
    assert not sixteen[2 * len(eight) :].any()
    every_second = sixteen[: 2 * len(eight) : 2].astype(float)
    # what lies near 4 kHz is damped, so not the same to the bit
    assert np.linalg.norm(every_second - eight) < 0.02 * np.linalg.norm(eight)


def test_25_real_recordings_are_cut_and_silence_follows_the_others(real: tuple[Dataset, Path]) -> None:
    data, path = real
    with zipfile.ZipFile(path) as zipped:
        sizes = [(r.take, zipped.getinfo(name).file_size) for r, name in recordings(zipped.namelist()).items()]
    ends = [min(size - 44, 15_600) for take, size in sizes if take >= 5]  # two bytes a sample, which becomes two
    assert sum(size - 44 > 15_600 for _, size in sizes) == 25
    assert not any(x[end:].any() for x, end in zip(data.splits["train"].x, ends, strict=True))
    assert all(x[end - 400 : end].any() for x, end in zip(data.splits["train"].x, ends, strict=True))
