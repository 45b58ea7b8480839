"""The spoken commands: spoken by the real library and listened to, and what is said where it cannot speak."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from molebench import registry
from molebench.datasets import spoken_commands
from molebench.datasets.spoken_commands import SpokenCommands, chosen, clips, package
from molebench.errors import MolebenchError
from molebench.espeak import Take
from molebench.progress import silent
from molebench.types import AUDIO, Dataset
from molebench.workspace import Workspace, file_fact
from tests.conftest import ROOT

YES = [Take("yes", "en+m1", 50, 145)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("spoken")
    return Workspace(folder / "data", folder / "cache", folder / "store", offline=True)


@pytest.fixture(scope="module")
def data(workspace: Workspace) -> Dataset:
    return SpokenCommands(per_class=12).load(workspace)


def test_every_word_is_said_as_often(data: Dataset) -> None:
    assert data.classes == ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
    assert np.bincount(data.splits["train"].y).tolist() == [12] * 10
    assert data.splits["train"].x.shape == (120, 15_600)
    assert data.splits["train"].x.dtype == np.int16
    assert data.modality == AUDIO


def test_another_process_hears_the_same_bytes(data: Dataset, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from molebench.workspace import Workspace\n"
        "from molebench.datasets.spoken_commands import SpokenCommands\n"
        "found = SpokenCommands(per_class=12).load(Workspace(*3 * [Path(sys.argv[1])]))\n"
        "sys.stdout.write(found.fingerprints['train'])"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == data.fingerprints["train"]


def test_the_name_has_the_version_of_what_spoke_and_the_files_are_its_own(data: Dataset) -> None:
    assert data.name == "spoken_commands-espeak1.52.0"
    assert data.files == {path.name: file_fact(path) for path in package()}


def test_no_clip_is_silent_or_clipped_and_each_begins_at_once(data: Dataset) -> None:
    loud = np.abs(data.splits["train"].x.astype(int))
    assert loud.max() < 2**15 - 1
    assert loud.max(axis=1).min() > 0.1 * 2**15
    assert (loud > 30).argmax(axis=1).max() < 0.025 * 16_000


def test_the_slowest_takes_are_not_cut(workspace: Workspace) -> None:
    takes = [t for t in chosen(864) if t.pace == 110 and t.pitch == 50 and t.voice.endswith(("+f4", "+linda", "+m4"))]
    assert len(takes) == 10 * 8 * 3
    x = clips(*package(), takes, workspace.progress)["x"]
    length = (x != 0).cumsum(axis=1).argmax(axis=1) / 16_000
    assert 0.8 < length.max() < 0.95


def test_no_two_clips_are_the_same(data: Dataset) -> None:
    assert len(np.unique(data.splits["train"].x, axis=0)) == 120


def test_a_few_takes_are_some_of_the_many_and_no_take_comes_twice() -> None:
    every = chosen(10_000)
    assert len(set(every)) == len(every) == 8640
    assert set(chosen(3)) < set(chosen(12)) < set(every)


def test_the_tiny_profile_says_each_word_a_hundred_times() -> None:
    plugin = registry.find("datasets", "spoken_commands")
    assert plugin.resolve({}, "tiny") == {"per_class": 100}
    assert plugin.resolve({}, "small") == {"per_class": 600}


def test_what_was_said_once_comes_from_the_cache(
    data: Dataset, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoken_commands, "clips", None)
    assert SpokenCommands(per_class=12).load(workspace).fingerprints == data.fingerprints
    with pytest.raises(TypeError):
        SpokenCommands(per_class=11).load(workspace)


def test_a_library_deep_in_the_file_system_finds_its_data(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 40) / ("path" * 40)  # espeak-ng's own limit is 160 letters
    deep.parent.mkdir()
    deep.symlink_to(package()[1].parent)
    found = clips(*(deep / path.name for path in package()), YES, silent)
    assert (found["x"] == clips(*package(), YES, silent)["x"]).all()


def refused(match: str, library: Path, data: Path, takes: list[Take] = YES) -> None:
    with pytest.raises(MolebenchError, match=match) as error:
        clips(library, data, takes, silent)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "libespeak-ng.so").write_text("no library")
    found = r"espeak-ng in .*libespeak-ng\.so ended with code 1 \(OSError: .*install its package again"
    refused(found, tmp_path / "libespeak-ng.so", package()[1])


def test_a_library_without_its_data_is_named(tmp_path: Path) -> None:
    refused(r"ended with code 1 \(RuntimeError: it finds no data in ", package()[0], tmp_path)


def test_a_voice_that_it_does_not_have_is_named() -> None:
    library, data = package()
    refused("it has no voice en-mars", library, data, [YES[0]._replace(voice="en-mars")])


def test_a_library_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_commands, "LONGEST", 0.01)
    refused(r"has not answered for 0\.01 s", *package())


def test_a_machine_without_the_package_is_told_how_to_get_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoken_commands, "find_spec", lambda name: None)
    with pytest.raises(MolebenchError, match=r"espeakng-loader is not installed; .*pip install espeakng-loader==") as e:
        SpokenCommands().load(replace(workspace, cache=workspace.cache / "none"))
    assert "\n" not in str(e.value)
