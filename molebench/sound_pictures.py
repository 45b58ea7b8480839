"""Sounds of a cell, to see and to hear: spectrograms of poisons beside their originals, and the clips as WAV files.

s: a clip, 1 being full scale; w: a Hann window of `WINDOW` seconds, moved by `HOP` (the front end's of YAMNet):
    level(t, f) = 20 log10(2 |sum_k w_k s_(t+k) exp(-2 pi i f k / rate)| / sum_k w_k)   dB.
A sine of full scale has 0 dB at its frequency. What was added is poison - original, on the scale of both.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int16, Int64

from molebench.drawing import LINE, WIDTH, blank, headed, inches, place, short, wrapped, written
from molebench.record import Record
from molebench.report import title
from molebench.sounds import wav
from molebench.stages import Arrays
from molebench.types import AUDIO, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WINDOW, HOP = 0.025, 0.010  # seconds
HIGHEST = 8_000  # Hz shown
FLOOR = -120.0  # dB: below what 16 bits can hold
SPAN = 80.0  # dB from the darkest colour to the brightest
ROWS = 6  # poisons on a page
COLUMNS = ("original", "poison", "difference")
TALL, GAP = 0.68, 0.14  # inches: of a spectrogram, and between two
COLOURS = "magma"  # perceptually uniform; its lightness rises all the way, so that a grey print keeps the order
FACTS = {"snr": "SNR {:.1f} dB", "collision_ratio": "coll. ratio {:.3f}"}


def spectrograms(record: Record, arrays: Arrays) -> "Figure | None":
    """Originals, poisons and what was added, a row a poison; None where there are no sounds."""
    if not audible(arrays):
        return None
    rows = shown(len(arrays["label"]))
    words = [said(record, arrays, i) for i in rows.tolist()]
    return triptychs(arrays["original"][rows], arrays["poison"][rows], rate_of(arrays), words, title([record]))


def listening(record: Record, arrays: Arrays) -> dict[str, bytes]:
    """WAV files by name: each original, its poison and what was added; none where there are no sounds.

    The numbers are those of the spectrograms' rows.
    """
    found = {}
    for i, label in enumerate(arrays["label"].tolist() if audible(arrays) else []):
        original, poison = arrays["original"][i], arrays["poison"][i]
        stem = f"{i + 1:02d}_{safe(record.data.classes[label])}"
        for what, pcm in zip(COLUMNS, (original, poison, added(original, poison)), strict=True):
            found[f"{stem}_{what}.wav"] = wav(pcm, rate_of(arrays))
    return found


def audible(arrays: Arrays) -> bool:
    """Whether a cell kept poisons that are sounds, and how fast they are to be played."""
    return "rate" in arrays and "original" in arrays and arrays["original"].dtype == "int16"


def rate_of(arrays: Arrays) -> int:
    """Samples a second."""
    return int(arrays["rate"][0])


def shown(n: int) -> Int64[Array, " m"]:
    """At most `ROWS` of n poisons, evenly: they are in order of class, so these are of many classes."""
    return np.linspace(0, n - 1, min(n, ROWS)).round().astype(np.int64)


def said(record: Record, arrays: Arrays, i: int) -> list[str]:
    """The words beside a row: number and class, and the poison's facts."""
    name = f"{i + 1:02d}: {short(record.data.classes[arrays['label'][i]])}"
    return [name, *(words.format(arrays[f"fact.{f}"][i]) for f, words in FACTS.items() if f"fact.{f}" in arrays)]


def safe(name: str) -> str:
    """A class's name as part of a file's: letters, digits, - and _ as they are, one _ for anything else."""
    return re.sub(r"[^\w-]+", "_", name)[:40]


def added(original: Int16[Array, "..."], poison: Int16[Array, "..."]) -> Int16[Array, "..."]:
    """poison - original, cut to what 16 bits hold."""
    edge = np.iinfo(np.int16)
    return np.clip(poison.astype(np.int64) - original, edge.min, edge.max).astype(np.int16)


def levels(clip: Float[Array, " t"], rate: int) -> Float[Array, "f s"]:
    """The spectrogram of a clip in dB of full scale, `FLOOR` or more: f from 0 to rate / 2, a slice s every hop."""
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    window, hop = round(WINDOW * rate), round(HOP * rate)
    transform = ShortTimeFFT(hann(window, sym=False), hop, rate, fft_mode="onesided2X", scale_to="magnitude")
    padded = np.pad(clip, (0, max(0, window - len(clip))))
    size = np.abs(transform.stft(padded, p0=0, p1=math.ceil(len(clip) / hop)))
    return 20 * np.log10(np.maximum(size, 10 ** (FLOOR / 20)))


def triptychs(
    original: Int16[Array, "n t"], poison: Int16[Array, "n t"], rate: int, words: Sequence[Sequence[str]], cell: str
) -> "Figure":
    """Spectrograms of originals, of their poisons and of the differences, a row each under one scale of colours.

    words: lines beside each row.
    """
    before, after = original * AUDIO.step, poison * AUDIO.step
    found = [[levels(x, rate) for x in row] for row in zip(before, after, after - before, strict=True)]
    top = 10.0 * math.ceil(max(each.max() for row in found for each in row) / 10)
    what = "Spectrograms of originals, of their poisons, and of what was added (the difference, not amplified)"
    left = max(inches(line) for lines in words for line in lines) + 0.6
    foot, head = 0.95, LINE * (len(wrapped(what)) + len(wrapped(cell)) + 1.8)
    figure = blank(foot + len(found) * (TALL + GAP) - GAP + head)
    headed(figure, what, cell)
    wide = (WIDTH - left - 0.15 - 2 * GAP) / 3
    for r, c, y in boxes(len(found), foot):
        axes = place(figure, (left + c * (wide + GAP), y, wide, TALL))
        image = painted(axes, found[r][c], rate, original.shape[1] / rate, top)
        if r == 0:
            axes.set_title(COLUMNS[c], pad=3)
        labelled(axes, first=c == 0, last=r == len(found) - 1)
        if c == 0:
            written(figure, 0.065, y + TALL / 2, "\n".join(words[r]), va="center", linespacing=1.35)
    scale(figure, image, (left, 0.42, WIDTH - left - 0.15, 0.1))
    return figure


def boxes(n: int, foot: float) -> Iterator[tuple[int, int, float]]:
    """Row and column of every panel, and how high it stands, in inches; the first row is the highest."""
    for r in range(n):
        for c in range(len(COLUMNS)):
            yield r, c, foot + (n - 1 - r) * (TALL + GAP)


def painted(axes: "Axes", level: Float[Array, "f s"], rate: int, seconds: float, top: float) -> "AxesImage":
    """One spectrogram; each value is in the middle of its pixel."""
    high, wide = level.shape
    pixel = rate / 2 / (high - 1)  # Hz
    extent = (-HOP / 2, (wide - 0.5) * HOP, -pixel / 2000, (rate + pixel) / 2000)
    image = axes.imshow(level, COLOURS, vmin=top - SPAN, vmax=top, aspect="auto", origin="lower", extent=extent)
    highest = min(HIGHEST, rate / 2) / 1000
    axes.set(xlim=(0, seconds), ylim=(0, highest), yticks=(0, highest / 2, highest))
    axes.spines[:].set_visible(False)
    return image


def labelled(axes: "Axes", first: bool, last: bool) -> None:
    """Ticks of every panel; numbers and units at the left column and the lowest row only."""
    axes.tick_params(labelleft=first, labelbottom=last, length=2, pad=2)
    axes.locator_params(axis="x", nbins=4, prune="upper")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_ylabel("kHz" if first else "", labelpad=2)
    axes.set_xlabel("s" if last else "", labelpad=1)


def scale(figure: "Figure", image: "AxesImage", box: tuple[float, float, float, float]) -> None:
    """The colours and what they stand for; what is quieter than the darkest has its colour."""
    bar = figure.colorbar(image, cax=place(figure, box), orientation="horizontal", extend="min")
    bar.ax.tick_params(length=2, pad=2)
    bar.outline.set_visible(False)
    bar.set_label(f"dB of full scale (a sine of full scale: 0 dB); windows of {1000 * WINDOW:g} ms", labelpad=2)
