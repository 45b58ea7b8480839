"""The folder dataset on sounds: trees of real WAV and FLAC files, of any rate, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from molebench.datasets.folder import Folder
from molebench.errors import MolebenchError
from molebench.sounds import write_wav
from molebench.types import AUDIO, Dataset
from molebench.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def level(path: Path, value: int, samples: int = 100) -> Path:
    """A 16 kHz WAV whose samples all have one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, np.full(samples, value, np.int16))
    return path


def tone(path: Path, rate: int, channels: int = 1, seconds: float = 0.5) -> Path:
    """440 Hz at half of full scale, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)
    return path


def two_classes(root: Path, cats: int = 5, dogs: int = 5) -> None:
    for i in range(cats):
        level(root / "cat" / f"{i}.wav", 10 + i)
    for i in range(dogs):
        level(root / "dog" / f"{i}.wav", 110 + i)


def levels(data: Dataset, split: str) -> list[int]:
    return [int(value) for value in data.splits[split].x[:, 0]]


def test_wavs_become_pcm16_of_one_yamnet_patch_with_silence_appended(calls: Path, workspace: Workspace) -> None:
    two_classes(calls / "train", cats=2, dogs=1)
    two_classes(calls / "test", cats=1, dogs=2)
    data = Folder(str(calls)).load(workspace)
    assert data.modality == AUDIO
    assert data.classes == ("cat", "dog")
    assert levels(data, "train") == [10, 11, 110]
    assert levels(data, "test") == [10, 110, 111]
    assert data.splits["train"].x.dtype == np.int16
    assert data.splits["train"].x.shape == (3, 15_600)
    assert data.splits["train"].x[0].tolist() == [10] * 100 + [0] * 15_500


def test_seconds_is_the_length_and_a_longer_clip_is_cut(calls: Path, workspace: Workspace) -> None:
    two_classes(calls)
    for seconds, samples in ((0.01, 160), (1.0, 16_000)):
        assert Folder(str(calls), seconds=seconds).load(workspace).splits["train"].x.shape == (8, samples)
    level(calls / "cat" / "0.wav", 7, samples=900)
    cut = Folder(str(calls), seconds=0.05).load(workspace)
    assert cut.splits["train"].x.shape == (8, 800)
    assert [7] * 800 in [*cut.splits["train"].x.tolist(), *cut.splits["test"].x.tolist()]


def test_files_of_different_rates_formats_and_channels_are_one_sound(calls: Path, workspace: Workspace) -> None:
    two_classes(calls / "test")
    level(calls / "train" / "dog" / "0.wav", 1)
    tone(calls / "train" / "cat" / "0.wav", 16_000)
    tone(calls / "train" / "cat" / "1.wav", 8_000)
    tone(calls / "train" / "cat" / "2.WAV", 44_100, channels=2)
    tone(calls / "train" / "cat" / "10.flac", 22_050)
    x = Folder(str(calls)).load(workspace).splits["train"].x[:4].astype(int)
    inside = slice(200, 7_800)  # its ends ring, as the filter's do
    assert (np.abs(x[:, inside] - x[0, inside]) <= 0.01 * 2**15).all()
    assert not x[:, 8_000:].any()


def test_three_clips_of_a_class_are_two_to_train_and_one_to_test(calls: Path, workspace: Workspace) -> None:
    two_classes(calls, cats=3, dogs=10)
    data = Folder(str(calls)).load(workspace)
    assert data.splits["train"].y.tolist() == [0] * 2 + [1] * 8
    assert data.splits["test"].y.tolist() == [0] + [1] * 2


def test_the_second_load_comes_from_the_cache_and_a_changed_clip_does_not(calls: Path, workspace: Workspace) -> None:
    two_classes(calls)
    first = Folder(str(calls)).load(workspace)
    kept = list(workspace.cache.rglob("*.safetensors"))
    assert Folder(str(calls)).load(workspace).fingerprints == first.fingerprints
    assert list(workspace.cache.rglob("*.safetensors")) == kept
    level(calls / "cat" / "0.wav", 77)
    changed = Folder(str(calls)).load(workspace)
    assert 77 in levels(changed, "train") + levels(changed, "test")


def test_silent_and_clipped_clips_are_kept_and_named(
    calls: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    two_classes(calls)
    level(calls / "cat" / "quiet.wav", 0)
    level(calls / "dog" / "loud.wav", 2**15 - 1)
    assert sum(len(split) for split in Folder(str(calls)).load(workspace).splits.values()) == 12
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "silent" in line and "cat/quiet.wav" in line]
    assert [line for line in said if "clipped" in line and "dog/loud.wav" in line]


def refused(root: Path, workspace: Workspace, match: str, **parameters: float) -> None:
    with pytest.raises(MolebenchError, match=match) as error:
        Folder(str(root), **parameters).load(workspace)
    assert "\n" not in str(error.value)
    assert not list(workspace.cache.rglob("*.safetensors"))


def test_a_tree_of_images_and_sounds_is_refused_with_one_of_each(calls: Path, workspace: Workspace) -> None:
    two_classes(calls / "train")
    two_classes(calls / "test")
    Image.new("RGB", (4, 4)).save(calls / "test" / "dog" / "cover.png")
    refused(calls, workspace, r"calls has both images \(test/dog/cover\.png\) and sounds \(train/cat/0\.wav\)")
    (calls / "test" / "dog" / "cover.png").rename(calls / "test" / "dog" / ".cover.png")
    assert Folder(str(calls)).load(workspace).modality == AUDIO


def test_the_other_kind_s_parameter_is_refused(calls: Path, workspace: Workspace) -> None:
    two_classes(calls / "sounds")
    refused(calls / "sounds", workspace, "sounds has sounds, which have no parameter size", size=32)
    for name in ("cat", "dog"):
        for i in range(2):
            (calls / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(calls / "images" / name / f"{i}.png")
    refused(calls / "images", workspace, "images has images, which have no parameter seconds", seconds=1.0)


def test_a_class_with_too_few_sounds_is_named_with_their_suffixes(calls: Path, workspace: Workspace) -> None:
    two_classes(calls, cats=1)
    refused(calls, workspace, r"class cat in the folder has too few sounds: 1, needed 2 or more \(flac, wav\)")


def test_classes_without_a_file_that_can_be_read_are_told_what_can(calls: Path, workspace: Workspace) -> None:
    for name in ("cat", "dog"):
        (calls / name).mkdir(parents=True)
        (calls / name / "0.mp3").write_bytes(b"ID3")
    refused(calls, workspace, r"class cat .* has too few images or sounds: 0, needed 2 or more \(bmp, .*, flac, wav\)")


def test_a_file_that_cannot_be_read_is_named_relative_to_the_folder(calls: Path, workspace: Workspace) -> None:
    two_classes(calls)
    file = calls / "dog" / "3.wav"
    whole = file.read_bytes()
    for content, why in (
        (b"", "is empty"),
        (whole[:-20], "is cut short"),
        (b"not a sound at all, but text", "is not a readable WAV or FLAC file"),
    ):
        file.write_bytes(content)
        refused(calls, workspace, rf"^dog/3\.wav {why}")
    soundfile.write(file, np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    refused(calls, workspace, r"^dog/3\.wav has samples that are NaN")
