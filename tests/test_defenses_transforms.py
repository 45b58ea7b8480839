"""What JPEG and fewer bits leave of an image or a sound, and that a collision's noise goes where a mole has none."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from molebench import registry
from molebench.defenses.bit_depth import BitDepth
from molebench.defenses.jpeg import Jpeg
from molebench.errors import CellFailed, MolebenchError
from molebench.hooks import Pipeline, View
from molebench.squeezing import compressed, rounded, rounded_sound
from molebench.types import Array
from molebench.workspace import Workspace

RNG = np.random.default_rng(0)


def seen(x: Array) -> View:
    """What a transform sees: inputs only."""
    return View(x, np.zeros((len(x), 0), np.float32), 2, when="pool")


@pytest.fixture(scope="module")
def patches(fetched: Workspace) -> Array:
    """A hundred photo patches, uint8 [100, 32, 32, 3]."""
    plugin = registry.find("datasets", "photo_patches")
    train = plugin.build(plugin.resolve({}, "tiny")).load(fetched).splits["train"]
    x: Array = train.x[:: len(train) // 100][:100]
    return x


def roughness(x: Array) -> float:
    """Mean squared difference of neighbouring values."""
    return float(np.square(np.diff(x.astype(np.float64), axis=2)).mean())


# ------------------------------------------------------------------ jpeg


def test_an_image_becomes_what_pillow_reads_back_of_its_own_file(patches: Array) -> None:
    file = io.BytesIO()
    Image.fromarray(patches[3]).save(file, "JPEG", quality=30)
    assert np.array_equal(compressed(patches, 30)[3], np.asarray(Image.open(file)))


@pytest.mark.parametrize(
    "shape", [(5, 28, 28, 1), (5, 9, 17, 3), (5, 8, 8, 2), (5, 1, 1, 3), (0, 8, 8, 3), (0, 8, 8, 1)]
)
def test_images_of_any_size_and_number_of_channels_keep_their_shape(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    found = Jpeg().transform(seen(x), RNG)
    assert found.shape == x.shape
    assert found.dtype == np.uint8


def test_channels_that_are_no_colours_are_compressed_apart() -> None:
    x = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 2)).astype(np.uint8)
    both = compressed(x, 20)
    for c in range(2):
        assert np.array_equal(both[..., [c]], compressed(x[..., [c]], 20))


def test_an_even_image_passes_and_lower_quality_loses_more(patches: Array) -> None:
    grey = np.full((1, 16, 16, 3), 128, np.uint8)
    assert np.array_equal(compressed(grey, 50), grey)
    lost = [np.abs(compressed(patches, q).astype(int) - patches).mean() for q in (95, 50, 10)]
    assert 0 < lost[0] < lost[1] < lost[2]


def test_noise_is_taken_out_and_the_picture_stays(patches: Array) -> None:
    noise = np.random.default_rng(2).choice([-12, 12], patches.shape)
    noisy = np.clip(patches + noise, 0, 255).astype(np.uint8)
    before = np.abs(noisy.astype(int) - patches).mean()
    through, alone = compressed(noisy, 50), compressed(patches, 50)
    assert np.abs(through.astype(int) - alone).mean() < 0.8 * before
    assert roughness(through) < roughness(noisy)


def test_a_sound_is_refused_in_one_line_that_says_what_to_try() -> None:
    x = np.zeros((3, 400), np.int16)
    with pytest.raises(MolebenchError, match=r"defense jpeg .* int16 \[3, 400\]: for sounds try bit_depth"):
        Jpeg().transform(seen(x), RNG)
    with pytest.raises(CellFailed, match="defense jpeg at transform"):
        Pipeline((("jpeg", Jpeg()),)).transformed(x, "pool", 2)


@pytest.mark.parametrize("quality", [0, 96, 50.5])
def test_a_quality_outside_1_to_95_is_refused(quality: Any) -> None:
    with pytest.raises(MolebenchError, match="expected int >= 1 and <= 95"):
        registry.find("defenses", "jpeg").resolve({"quality": quality}, "tiny")


# ------------------------------------------------------------------ bit_depth


def test_one_bit_is_black_or_white_and_two_bits_are_four_greys() -> None:
    x = np.array([[0, 127, 128, 255, 42, 43, 212, 213]], dtype=np.uint8)
    assert rounded(x, 1).tolist() == [[0, 0, 255, 255, 0, 0, 255, 255]]
    assert rounded(x, 2).tolist() == [[0, 85, 170, 255, 0, 85, 170, 255]]


@pytest.mark.parametrize("bits", range(1, 9))
def test_fewer_bits_are_the_papers_formula_at_every_value(bits: int) -> None:
    x, top = np.arange(256, dtype=np.uint8), 2**bits - 1
    slowly = [round(round(v / 255 * top) / top * 255) for v in range(256)]  # no value lies midway between levels
    assert rounded(x, bits).tolist() == slowly
    assert len(np.unique(rounded(x, bits))) == 2**bits
    assert np.array_equal(rounded(rounded(x, bits), bits), rounded(x, bits))


def test_eight_bits_and_more_leave_an_image_and_sixteen_a_sound_as_they_are() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert all(np.array_equal(BitDepth(bits).transform(seen(x), RNG), x) for bits in (8, 12, 16))
    sound = np.arange(-(2**15), 2**15).astype(np.int16)[None]
    assert np.array_equal(BitDepth(16).transform(seen(sound), RNG), sound)


def test_silence_stays_silent_and_loud_sounds_stay_in_range() -> None:
    sound = np.array([[0, 100, -100, 128, 129, -32768, 32767]], dtype=np.int16)
    assert rounded_sound(sound, 8).tolist() == [[0, 0, 0, 0, 256, -32768, 32512]]
    assert BitDepth(8).transform(seen(sound), RNG).dtype == np.int16


@pytest.mark.parametrize("bits", [1, 3, 8, 13])
def test_a_sound_is_never_moved_by_more_than_half_a_level_but_at_the_top(bits: int) -> None:
    sound, step = np.arange(-(2**15), 2**15).astype(np.int16)[None], 2 ** (16 - bits)
    found = rounded_sound(sound, bits).astype(int)
    below = sound < 2**15 - step
    assert (found % step == 0).all()
    assert np.abs(found - sound)[below].max() <= step / 2
    assert len(np.unique(found)) == 2**bits


def test_noise_below_half_a_level_is_gone_from_the_middle_of_levels() -> None:
    x = rounded(np.random.default_rng(3).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8), 4)
    noisy = np.clip(x + np.random.default_rng(4).integers(-8, 9, x.shape), 0, 255).astype(np.uint8)
    assert (noisy != x).mean() > 0.9
    assert np.array_equal(rounded(noisy, 4), x)


def test_a_sound_has_its_own_default_of_bits() -> None:
    plugin = registry.find("defenses", "bit_depth")
    assert plugin.resolve({}, "small")["bits"] < plugin.resolve({}, "small", "audio")["bits"] == 8
