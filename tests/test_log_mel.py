"""YAMNet's front end against values computed by hand: tones, silence, a chirp, lengths, and its gradient."""

import math

import pytest
import torch
from torch import Tensor

from molebench import log_mel


def tone(hertz: float, samples: int = 15_600) -> Tensor:
    return torch.cos(2 * math.pi * hertz * torch.arange(samples, dtype=torch.float64) / 16_000)[None]


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def test_the_mel_scale_has_1000_at_1000_hertz() -> None:
    assert log_mel.mel(torch.tensor([0.0, 1000.0, 7500.0])).tolist() == pytest.approx([0, 1000, 2773.3], abs=0.05)


# 64 bands peak at mel(125) + 39.8, + 79.6, ...: mel(1000) is 20.5 steps above mel(125), so between peaks 19 and 20
@pytest.mark.parametrize(("hertz", "band"), [(250, 3), (1000, 19), (2000, 33), (4000, 48), (7000, 62)])
def test_a_tone_is_loudest_in_the_band_whose_peak_is_nearest_on_the_mel_scale(hertz: int, band: int) -> None:
    step = (mel(7500) - mel(125)) / 65
    assert round((mel(hertz) - mel(125)) / step) - 1 == band
    (frames,) = log_mel.log_mel(tone(hertz))
    assert frames.argmax(1).tolist() == [band] * 96


def test_a_tone_on_a_bin_has_half_the_window_s_sum_as_its_magnitude() -> None:
    magnitudes = log_mel.spectrogram(tone(1000))[0]  # bin 32 of 31.25 Hz each; a Hann window of 400 sums to 200
    assert magnitudes[:, 32].tolist() == pytest.approx([100.0] * 96, rel=1e-3)
    assert magnitudes[:, 40:].max() < 1  # 250 Hz on there is only what the window leaks


def test_the_log_mel_of_a_tone_on_a_bin_is_what_its_triangle_makes_of_it() -> None:
    magnitudes, step = log_mel.spectrogram(tone(1000))[0, 0], (mel(7500) - mel(125)) / 65
    peak = mel(125) + 21 * step  # of band 20
    triangle = [max(0.0, 1 - abs(mel(31.25 * bin_) - peak) / step) for bin_ in range(257)]
    expected = math.log(sum(w * m for w, m in zip(triangle, magnitudes.tolist(), strict=True)) + 0.001)
    assert log_mel.log_mel(tone(1000))[0, 0, 20].item() == pytest.approx(expected, abs=1e-9)


def test_neighbouring_triangles_share_every_bin_between_their_peaks_and_leave_out_the_rest() -> None:
    weights = log_mel.mel_weights()
    totals = weights.sum(1).tolist()
    assert totals[:5] == [0.0] * 5  # up to 125 Hz
    assert totals[240:] == [0.0] * 17  # from 7500 Hz
    inner = [bin_ for bin_ in range(257) if mel(125) + 40 < mel(31.25 * bin_) < mel(7500) - 40]
    assert [totals[bin_] for bin_ in inner] == pytest.approx([1.0] * len(inner))


def test_silence_is_the_logarithm_of_the_offset_and_has_a_gradient_of_0() -> None:
    x = torch.zeros(1, 15_600, requires_grad=True)
    patches = log_mel.patches(x)
    patches.sum().backward()
    assert patches.flatten().tolist() == pytest.approx([math.log(0.001)] * (96 * 64), rel=1e-6)
    assert x.grad is not None
    assert x.grad.abs().max() == 0


def test_the_loudest_band_of_a_rising_chirp_rises() -> None:
    t = torch.arange(15_600, dtype=torch.float64) / 16_000
    chirp = torch.sin(2 * math.pi * (200 * t + 3500 * t**2))[None]  # 200 to 7025 Hz
    loudest = log_mel.log_mel(chirp)[0].argmax(1)
    assert (loudest.diff() >= 0).all()
    assert loudest[[0, -1]].tolist() == [4, 62]  # in the middle of their frames, 12.5 and 962.5 ms: 288 and 6938 Hz


@pytest.mark.parametrize(
    ("samples", "count"), [(1, 1), (8_000, 1), (15_600, 1), (15_601, 2), (16_000, 2), (23_280, 2), (40_000, 5)]
)
def test_a_clip_has_a_patch_and_one_more_for_every_7680_samples_begun_after_15600(samples: int, count: int) -> None:
    assert log_mel.patch_count(samples) == count
    assert log_mel.patches(torch.zeros(2, samples)).shape == (2, count, 96, 64)


def test_a_patch_begins_half_a_patch_after_the_last() -> None:
    x = torch.randn(1, 40_000, generator=torch.Generator().manual_seed(0))
    (patches,) = log_mel.patches(x)
    assert torch.equal(patches[1:, :48], patches[:-1, 48:])
    alone = log_mel.patches(x[:, 7_680:][:, :15_600])
    assert torch.allclose(alone[0, 0], patches[1], atol=1e-4)


def test_what_is_missing_of_a_patch_is_silence() -> None:
    x = torch.randn(1, 5_000, generator=torch.Generator().manual_seed(0))
    silent_after = torch.nn.functional.pad(x, (0, 10_600))
    assert torch.equal(log_mel.patches(x), log_mel.patches(silent_after))


def test_the_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4_000, dtype=torch.float64, generator=generator) * 0.1
    weights = torch.randn(1, 1, 96, 64, dtype=torch.float64, generator=generator)
    direction = torch.randn(1, 4_000, dtype=torch.float64, generator=generator)

    def value(x: Tensor) -> Tensor:
        return (log_mel.patches(x) * weights).sum()

    x.requires_grad_()
    value(x).backward()
    assert x.grad is not None
    with torch.no_grad():
        slope = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
    assert (x.grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)
