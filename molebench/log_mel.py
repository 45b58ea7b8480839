"""YAMNet's front end: from 16 kHz waveforms to log-mel patches, differentiable.

Frames of 25 ms every 10 ms under a periodic Hann window h, zero-padded on the right to 512 samples; s = |DFT(h x)|,
257 bins; 64 triangles M between 125 and 7500 Hz, evenly spaced and linear on the mel scale of HTK,
    mel(f) = 1127 ln(1 + f / 700),   log-mel = ln(s M + 0.001);
then patches of 96 frames (0.96 s), each 48 after the last. Silence is appended until a whole number of patches fits.
At s = 0 the gradient of |.| is taken as 0, so silence has one.

Reference: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017;
features.py of YAMNet in TensorFlow's models; tf.signal.linear_to_mel_weight_matrix.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

RATE = 16_000
WINDOW, HOP, DFT = 400, 160, 512  # samples
BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0  # Hz
OFFSET = 0.001
PATCH, PATCH_HOP = 96, 48  # frames
SHORTEST = (PATCH - 1) * HOP + WINDOW  # 15,600 samples, the frames of one patch
STEP = PATCH_HOP * HOP  # 7,680 samples, from patch to patch


def patches(x: Float[Tensor, "n t"]) -> Float[Tensor, "n p 96 64"]:
    """Log-mel patches of waveforms in [-1, 1], p = patch_count(t)."""
    halves = log_mel(padded(x)).reshape(len(x), -1, PATCH_HOP, BANDS)
    return torch.cat([halves[:, :-1], halves[:, 1:]], dim=2)


def patch_count(samples: int) -> int:
    """Patches of a clip: one, and one more for every 7,680 samples begun after the first 15,600."""
    return 1 + max(0, -(-(samples - SHORTEST) // STEP))


def padded(x: Float[Tensor, "n t"]) -> Float[Tensor, "n u"]:
    """Silence appended until a whole number of patches fits."""
    whole = SHORTEST + (patch_count(x.shape[1]) - 1) * STEP
    return torch.nn.functional.pad(x, (0, whole - x.shape[1]))


def log_mel(x: Float[Tensor, "n t"]) -> Float[Tensor, "n f 64"]:
    """Log-mel spectrogram of every whole frame."""
    return torch.log(spectrogram(x) @ mel_weights_of(x.dtype, x.device) + OFFSET)


def spectrogram(x: Float[Tensor, "n t"]) -> Float[Tensor, "n f 257"]:
    """Magnitudes of the DFT of every whole frame."""
    window = torch.hann_window(WINDOW, periodic=True, dtype=x.dtype, device=x.device)
    return torch.fft.rfft(x.unfold(1, WINDOW, HOP) * window, DFT).abs()


@cache  # made and moved once, not at every step of a descent
def mel_weights_of(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "257 64"]:
    """M of a type, on a device."""
    with torch.inference_mode(False), torch.no_grad():
        return mel_weights().to(device, dtype)


def mel_weights() -> Float[Tensor, "257 64"]:
    """M, float64: how much of each bin is in each band; bin 0, the constant, is in none."""
    bins = mel(torch.linspace(0, RATE / 2, DFT // 2 + 1, dtype=torch.float64))[:, None]
    lowest, highest = mel(torch.tensor([LOWEST, HIGHEST], dtype=torch.float64)).tolist()
    edges = torch.linspace(lowest, highest, BANDS + 2, dtype=torch.float64)
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    weights = torch.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)).clamp(min=0)
    weights[0] = 0
    return weights


def mel(hertz: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """HTK's mel scale."""
    return 1127 * torch.log1p(hertz / 700)
