"""Spectrograms and WAV files of a cell whose samples are sounds: their numbers, that they are readable, and when."""

import io
import sys
import wave
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from molebench import drawing, pictures, sound_pictures
from molebench.record import Record
from molebench.scenarios.illustration import illustration
from molebench.sound_pictures import added, levels, listening, safe, shown, spectrograms
from molebench.sounds import decode
from molebench.stages import Arrays
from molebench.store import Store, load_illustration
from molebench.types import Array, Poison, Samples
from molebench.workspace import Workspace
from tests.test_mole_pictures import record
from tests.test_pictures import drawn, readable, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE = 16_000
HEARD = ("original", "poison")
CLIPS = [f"{i:02d}_{name}" for i, name in enumerate(("cat", "dog", "fox"), start=1)]


def tone(hertz: float, amplitude: float, samples: int = RATE) -> Array:
    """A sine, 1 being full scale."""
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)


def heard(n: int = 3, samples: int = RATE) -> Arrays:
    """What a cell keeps of n poisons that are sounds: tones, and the same with noise of a tenth of their norm."""
    original = np.rint(2**15 * np.stack([tone(500 * (i + 1), 0.4, samples) for i in range(n)])).astype(np.int16)
    noise = np.random.default_rng(0).normal(size=original.shape) * 0.1 * 0.4 / np.sqrt(2) * 2**15
    poison = (original + np.rint(noise)).astype(np.int16)
    facts = {"fact.snr": np.full(n, 20.04), "fact.collision_ratio": np.full(n, 0.1234), "fact.psnr": np.full(n, 35.0)}
    return {"original": original, "poison": poison, "label": np.arange(n) % 3, "rate": np.array([RATE]), **facts}


def images() -> Arrays:
    """What a cell keeps of poisons that are images."""
    x = np.zeros((3, 8, 8, 1), dtype=np.uint8)
    return {"original": x, "poison": x + 1, "label": np.arange(3)}


def kept(store: Store, arrays: Arrays) -> Record:
    """A record whose cell keeps these arrays."""
    made = record()
    store.save_illustration(made.key, arrays)
    return made


def figure_of(made: Record, arrays: Arrays) -> "Figure":
    """The picture that there must be, whole and readable."""
    with drawing.styled():
        figure = spectrograms(made, arrays)
        assert figure is not None
        return readable(figure)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


# The numbers behind them


@pytest.mark.parametrize(("amplitude", "level"), [(1.0, 0.0), (0.1, -20.0), (0.001, -60.0)])
def test_a_sine_has_its_level_below_full_scale_at_its_frequency(amplitude: float, level: float) -> None:
    found = levels(tone(1000, amplitude), RATE)
    assert found.shape == (201, 100)  # 0 to 8 kHz in steps of 40 Hz, a slice every 10 ms
    assert (found[:, 5:95].argmax(axis=0) == 25).all()
    np.testing.assert_allclose(found[25, 5:95], level, atol=0.01)


def test_the_ridge_of_a_chirp_rises_as_the_chirp_does() -> None:
    t = np.arange(RATE) / RATE
    found = levels(np.sin(2 * np.pi * (500 * t + 3000 * t**2)), RATE)  # 500 + 6000 t Hz
    np.testing.assert_allclose(40 * found[:, 5:95].argmax(axis=0), 500 + 60 * np.arange(5, 95), atol=60)


def test_silence_is_at_the_floor_and_a_clip_shorter_than_a_window_has_one_slice() -> None:
    assert (levels(np.zeros(RATE), RATE) == sound_pictures.FLOOR).all()
    assert levels(tone(1000, 1.0, 100), RATE).shape == (201, 1)


def test_what_was_added_is_poison_less_original_cut_to_16_bits() -> None:
    original = np.array([100, 100, 0, -32768, 32767], dtype=np.int16)
    poison = np.array([103, 97, 0, 32767, -32768], dtype=np.int16)
    assert added(original, poison).tolist() == [3, -3, 0, 32767, -32768]


def test_a_page_has_at_most_six_poisons_from_the_first_to_the_last() -> None:
    assert [shown(n).tolist() for n in (1, 3, 10)] == [[0], [0, 1, 2], [0, 2, 4, 5, 7, 9]]


def test_a_cell_keeps_the_rate_of_its_sounds_and_their_snr(rng: np.random.Generator) -> None:
    base = Samples(rng.integers(-99, 99, (4, 50), dtype=np.int16), np.arange(4))
    poison = Poison(Samples(base.x + np.int16(1), base.y), np.arange(4))
    points = {"pool": (rng.normal(size=(9, 5)), np.zeros(9, dtype=np.int64))}
    facts = {"snr": np.arange(4.0), "l2": np.ones(4)}
    found = illustration(base, poison, facts, points, 0, RATE)
    assert found["rate"].tolist() == [RATE]
    assert found["fact.snr"].tolist() == [0, 1, 2, 3]
    assert {"original", "poison", "label", "map.pool"} <= found.keys()
    assert "rate" not in illustration(base, poison, facts, points, 0)


# What they show


@pytest.mark.parametrize(("n", "samples"), [(1, 100), (3, RATE), (10, 10 * RATE)])
def test_clips_of_any_number_and_length_are_shown_under_one_scale(n: int, samples: int) -> None:
    made = record()
    classes = ["a very long name of a class, $5$", "dog", "fox"]
    made = made.model_copy(update={"data": made.data.model_copy(update={"classes": classes})})
    figure = figure_of(made, heard(n, samples))
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 3 * min(n, 6)
    ((low, high),) = {axes.images[0].get_clim() for axes in panels}
    assert high - low == 80
    assert max(np.asarray(axes.images[0].get_array()).max() for axes in panels) > high - 10
    assert {axes.get_ylim() for axes in panels} == {(0.0, 8.0)}
    assert {axes.get_xlim() for axes in panels} == {(0.0, samples / RATE)}
    assert [axes.get_title() for axes in panels[:3]] == ["original", "poison", "difference"]


def test_a_row_says_its_number_class_snr_and_collision_ratio() -> None:
    said = words(figure_of(record(), heard()))
    assert "01: cat\nSNR 20.0 dB\ncoll. ratio 0.123" in said
    assert "03: fox\n" in said
    for part in ("kHz", "dB of full scale", "the difference, not amplified"):
        assert part in said


def test_the_difference_is_the_spectrogram_of_what_was_added_on_the_scale_of_both() -> None:
    arrays = heard()
    axes = [axes for axes in figure_of(record(), arrays).axes if axes.images]
    shown_of = [np.asarray(each.images[0].get_array()) for each in axes]
    for i, clip in enumerate((arrays["original"][0], arrays["poison"][0], added(*(arrays[n][0] for n in HEARD)))):
        np.testing.assert_allclose(shown_of[i], levels(clip / 2**15, RATE), atol=1e-6)


def test_the_colours_are_in_order_of_lightness_on_a_grey_print() -> None:
    import matplotlib

    red, green, blue, _ = matplotlib.colormaps[sound_pictures.COLOURS](np.linspace(0, 1, 64)).T
    assert (np.diff(0.299 * red + 0.587 * green + 0.114 * blue) > 0).all()


def test_a_recording_of_8_khz_has_nothing_above_4(fetched: Workspace) -> None:
    if not (fetched.data / "fsdd.zip").is_file():
        pytest.skip("no fsdd.zip in MOLEBENCH_DATA")
    with zipfile.ZipFile(fetched.data / "fsdd.zip") as file:
        clip = decode(file.read("7_jackson_0.wav"), "7_jackson_0.wav")
    loudest = levels(clip / 2**15, RATE)[:, 2:-2].max(axis=1)  # at its ends the clip is cut, which sounds at any pitch
    assert loudest[:100].max() > -40
    assert loudest[125:].max() < loudest[:100].max() - 40


# What is heard


def test_the_files_are_the_originals_their_poisons_and_what_was_added() -> None:
    arrays = heard()
    files = listening(record(), arrays)
    assert list(files) == [f"{clip}_{what}.wav" for clip in CLIPS for what in ("original", "poison", "difference")]
    for i, clip in enumerate(CLIPS):
        decoded = {what: decode(files[f"{clip}_{what}.wav"], clip) for what in ("original", "poison", "difference")}
        for what in HEARD:
            np.testing.assert_array_equal(decoded[what], arrays[what][i])
        np.testing.assert_array_equal(decoded["original"] + decoded["difference"], arrays["poison"][i])
    with wave.open(io.BytesIO(files["01_cat_poison.wav"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)


def test_a_class_may_have_any_name(store: Store) -> None:
    strange = ["../../etc/passwd", "a:b*c?d e", "", "ноль", "x" * 300, "\ud800", "up"]
    assert [safe(name) for name in strange] == ["_etc_passwd", "a_b_c_d_e", "", "ноль", "x" * 40, "_", "up"]
    made = record()
    made = made.model_copy(update={"data": made.data.model_copy(update={"classes": strange})})
    arrays = heard(7) | {"label": np.arange(7)}
    store.save_illustration(made.key, arrays)
    (sounds,) = pictures.heard(store.cell(made.key), made)
    assert len(list(sounds.iterdir())) == 3 * 7


WITHOUT_RATE = {name: values for name, values in heard().items() if name != "rate"}


@pytest.mark.parametrize(("arrays", "found"), [({}, []), (images(), ["collisions.png"]), (WITHOUT_RATE, [])])
def test_an_image_cell_or_one_that_kept_no_rate_has_nothing_to_hear(
    arrays: Arrays, found: list[str], store: Store
) -> None:
    made = kept(store, arrays)
    assert [file.name for file in pictures.of_cell(made, store)] == found
    assert not (store.cell(made.key) / "sounds").exists()
    assert spectrograms(made, arrays) is None


# When


def files(folder: Path) -> dict[str, bytes]:
    """Every picture and sound of a cell, by name."""
    return drawn(folder) | {file.name: file.read_bytes() for file in sorted((folder / "sounds").glob("*"))}


def test_a_cell_of_sounds_leaves_a_picture_and_its_sounds(store: Store) -> None:
    made = kept(store, heard())
    folder = store.cell(made.key)
    assert pictures.of_cell(made, store) == [folder / "spectrograms.png", folder / "sounds"]
    with Image.open(folder / "spectrograms.png") as image:
        assert image.size[0] == 1300
    assert {name: data for name, data in files(folder).items() if name.endswith(".wav")} == listening(made, heard())


def test_only_what_is_missing_or_damaged_is_made_again_and_of_the_same_bytes(store: Store) -> None:
    made = kept(store, heard())
    folder = store.cell(made.key)
    pictures.of_cell(made, store)
    before, untouched = files(folder), folder / "sounds" / "01_cat_original.wav"
    stamp = untouched.stat().st_mtime_ns
    (folder / "spectrograms.png").unlink()
    (folder / "sounds" / "02_dog_poison.wav").unlink()
    (folder / "sounds" / "03_fox_poison.wav").write_bytes(b"RIFF")
    pictures.of_cell(made, store)
    assert files(folder) == before
    assert untouched.stat().st_mtime_ns == stamp


def test_sounds_that_cannot_be_written_are_one_warning(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = kept(store, heard())
    folder = store.cell(made.key)
    (folder / "sounds").write_text("in the way")
    assert pictures.of_cell(made, store) == [folder / "spectrograms.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: sounds of {folder.name[:12]} could not be written (MolebenchError:")
    assert line.endswith("the record is whole")


def test_without_matplotlib_there_is_still_something_to_hear(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = kept(store, heard())
    with mock.patch.dict(sys.modules, {"matplotlib": None, "matplotlib.style": None}):
        assert pictures.of_cell(made, store) == [store.cell(made.key) / "sounds"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "spectrograms.png" in line
    assert load_illustration(store.cell(made.key)).keys() == heard().keys()
