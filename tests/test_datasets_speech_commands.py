"""Speech Commands: small archives laid out as the published one, whole and broken, and where the real one is sought."""

from pathlib import Path

import numpy as np
import pytest

from molebench import holdings
from molebench.datasets import speech_commands
from molebench.datasets.speech_commands import CLASSES, FILE, SpeechCommands, read
from molebench.errors import MolebenchError
from molebench.progress import silent
from molebench.sounds import wav
from molebench.types import AUDIO
from molebench.workspace import Workspace, sha256
from tests.archives import tar_gz

TESTED = "b_nohash_0.wav"  # the one of each word that the test list names


def said(value: int, samples: int = 16_000) -> bytes:
    return wav(np.full(samples, value, np.int16))


def files() -> dict[str, bytes]:
    """Three clips of each word, 10 word + 1, 2 and 3 throughout, in an order of their own, among what is not read."""
    spoken = {
        f"{word}/{speaker}_nohash_0.wav": said(10 * i + j)
        for j, speaker in ((3, "c"), (1, "a"), (2, "b"))
        for i, word in enumerate(CLASSES)
    }
    return {
        "LICENSE": b"CC BY 4.0",
        "_background_noise_/pink_noise.wav": said(999),
        "bed/a_nohash_0.wav": b"not one of the ten, so nobody looks",
        **spoken,
        "testing_list.txt": "".join(f"{word}/{TESTED}\n" for word in ("bed", *CLASSES)).encode(),
        "validation_list.txt": "".join(f"{word}/c_nohash_0.wav\n" for word in CLASSES).encode(),
    }


def archive(path: Path, without: str = "", **changed: bytes) -> Path:
    """The clips below '.', as published; changed: word_x for word/x_nohash_0.wav."""
    names = {key: f"{key.replace('_', '/')}_nohash_0.wav" for key in changed}
    contents = files() | {names[key]: data for key, data in changed.items()}
    return tar_gz(path, ".", {name: data for name, data in contents.items() if name != without})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def test_clips_come_by_word_and_name_whatever_the_archive_s_order(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE), 15_600, silent)
    assert arrays["train.x"].shape == (20, 15_600)
    assert arrays["train.x"][:4, -1].tolist() == [1, 3, 11, 13]  # the validation clips, c, among them
    assert arrays["train.y"].tolist() == [word for word in range(10) for _ in range(2)]


def test_the_test_split_is_the_testing_list(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE), 16_000, silent)
    assert arrays["test.x"][:, 0].tolist() == [10 * word + 2 for word in range(10)]
    assert arrays["test.y"].tolist() == list(range(10))


def test_the_list_may_come_before_the_clips(tmp_path: Path) -> None:
    reverse = dict(reversed(list(files().items())))
    first, second = tar_gz(tmp_path / "a.tar.gz", ".", files()), tar_gz(tmp_path / "b.tar.gz", "speech", reverse)
    found = [read(path, 160, silent) for path in (first, second)]
    assert all((found[0][name] == found[1][name]).all() for name in found[0])


def test_a_short_clip_gets_silence(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE, yes_a=said(7, samples=100)), 160, silent)
    assert arrays["train.x"][0].tolist() == [7] * 100 + [0] * 60


def test_the_archive_is_read_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(workspace.data / FILE)
    monkeypatch.setattr(speech_commands, "SHA256", sha256(path))
    first = SpeechCommands().load(workspace)
    path.unlink()
    assert SpeechCommands().load(workspace).fingerprints == first.fingerprints
    assert {name: len(split) for name, split in first.splits.items()} == {"train": 20, "test": 10}
    assert first.files == {FILE: (speech_commands.SHA256, speech_commands.SIZE)}
    assert first.splits["train"].x.shape[1] == 15_600
    assert (first.modality, first.classes[8]) == (AUDIO, "stop")
    with pytest.raises(MolebenchError, match="no source has dataset speech_commands"):
        SpeechCommands(seconds=1.0).load(workspace)  # another length is another reading


def test_data_verify_knows_the_archive(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def states() -> list[tuple[str, str]]:
        return [(c.what, c.state) for c in holdings.examined(["speech_commands"], workspace)]

    published = f"speech_commands file {FILE}"
    assert states() == [(published, "absent")]
    path = archive(workspace.data / FILE)
    assert states() == [(published, "DAMAGED")]
    monkeypatch.setattr(speech_commands, "SHA256", sha256(path))
    SpeechCommands().load(workspace)
    (converted, converted_state), original = states()
    assert converted.startswith("speech_commands converted speech_commands-")
    assert (converted_state, original) == ("ok", (published, "ok"))


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("without", "changed", "says"),
    [
        ("testing_list.txt", {}, r"has no testing_list\.txt; Put speech_commands_v0\.02\.tar\.gz into MOLEBENCH_DATA"),
        (f"go/{TESTED}", {}, r"has no clip of go for test; Put"),
        ("", {"left_a": b"words"}, r"left/a_nohash_0\.wav is not a readable WAV or FLAC file"),
        (
            "",
            {"left_a": said(1)[:-1]},
            r"left/a_nohash_0\.wav is cut short: .* promises 32000 bytes .* 31999",
        ),
    ],
    ids=["no list", "a word missing in a split", "text", "cut short"],
)
def test_an_archive_that_is_not_what_it_should_be_is_named(
    without: str, changed: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with pytest.raises(MolebenchError, match=says):
        read(archive(tmp_path / FILE, without, **changed), 160, silent)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_that_is_cut_short_is_refused_by_name(share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-9, 9, 16_000).astype(np.int16)
    path = archive(tmp_path / FILE, yes_a=wav(noise))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MolebenchError, match=rf"{FILE} (is not a whole tar\.gz archive|has no testing_list)"):
        read(path, 160, silent)


def test_an_archive_of_other_things_is_refused(tmp_path: Path) -> None:
    path = tar_gz(tmp_path / FILE, "cifar", {"data_batch_1.bin": b"\0"})
    with pytest.raises(MolebenchError, match=r"has no testing_list\.txt"):
        read(path, 160, silent)


def test_an_archive_that_is_not_the_published_one_is_refused(workspace: Workspace) -> None:
    archive(workspace.data / FILE)
    with pytest.raises(MolebenchError, match=r"is not the published file: \d+ bytes .* expected 2428923189 bytes"):
        SpeechCommands().load(workspace)


def test_offline_without_the_archive_says_where_to_get_it(workspace: Workspace) -> None:
    says = r"no source has dataset speech_commands .*not asked \(offline\).*MOLEBENCH_DATA, or use spoken_commands"
    with pytest.raises(MolebenchError, match=says):
        SpeechCommands().load(workspace)
    assert not list(workspace.cache.rglob("*"))
