"""Sound files to PCM16 at one rate, mono: one decoder for every dataset that is made of them, and errors that name
the file.

WAV and FLAC of any depth and rate are read. Channels are mixed down by their mean. Another rate is changed by the exact
ratio up / down = rate / source in lowest terms, through a windowed sinc (Kaiser, beta 5, 20 max(up, down) + 1 taps): it
is 6 dB down at the lower of the two Nyquist frequencies, and more than 40 dB from 1.15 times that on.
"""

import functools
import io
import math
import struct
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float, Int16

from molebench.errors import MolebenchError, first_line, listed
from molebench.progress import Progress, say
from molebench.types import AUDIO, Array
from molebench.workspace import writing

RATE = 16_000  # samples a second, as molebench.types.AUDIO has it
RATES = (1_000, 768_000)  # samples a second that a file may have
MOST = 2**28  # values of one file, all channels: an hour and a half of 48 kHz mono
STREAMED = 0x7FFF_F000  # a size from here on is what writers to a pipe leave (SoX, espeak-ng; ffmpeg has 0xFFFFFFFF)
LOUDEST = 8.0  # of float samples, where 1 is full scale: what is beyond is in other units
CLIPPED = 0.01  # share of samples at full scale from which a clip counts as clipped

Seconds = Annotated[float, Ge(0.01), Le(60)]


class Recordings(NamedTuple):
    """What was read: the names of the files and their clips, in one order."""

    names: list[str]
    x: Int16[Array, "n t"]


class Chunk(NamedTuple):
    """The samples of a WAV: where they begin, how many bytes they are by its header, and the order of bytes in it."""

    start: int
    size: int
    order: str


def decode(data: bytes, name: str, rate: int = RATE) -> Int16[Array, " t"]:
    """The samples of a WAV or FLAC file, mono PCM16 at `rate`; t = ceil(frames rate / source)."""
    x, source = frames(whole(data, name), name)
    if not len(x):
        raise MolebenchError(f"{name} has no samples; remove it, or record it again")
    if not RATES[0] <= source <= RATES[1]:
        raise MolebenchError(f"{name} has {source} samples a second; allowed: {RATES[0]}..{RATES[1]}; convert it")
    if not np.isfinite(x).all():
        raise MolebenchError(f"{name} has samples that are NaN or infinite; mend or remove it")
    if (peak := float(np.abs(x).max())) > LOUDEST:
        raise MolebenchError(f"{name} has samples up to {peak:.4g}, where 1 is full scale; scale it to -1..1")
    return AUDIO.quantise(resampled(x, source, rate))


def frames(data: bytes, name: str) -> tuple[Float[Array, " t"], int]:
    """The mean over the channels of a file, in float64 of -1..1, and its rate."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in ("WAV", "WAVEX", "FLAC"):
                raise MolebenchError(f"{name} holds {file.format}; allowed: WAV and FLAC; convert it")
            if file.frames * file.channels > MOST:
                raise MolebenchError(f"{name} does not say how long it is, or is too long; cut it, or encode it again")
            x = file.read(dtype="float64", always_2d=True)
            if len(x) < file.frames:
                raise MolebenchError(f"{name} is cut short: {len(x)} of {file.frames} samples; get it again")
            return x.mean(axis=1), file.samplerate
    except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:
        why = first_line(getattr(error, "error_string", error)).rstrip(".")
        raise MolebenchError(f"{name} is not a readable WAV or FLAC file ({why}); mend or remove it") from error


def whole(data: bytes, name: str) -> bytes:
    """The bytes of a file; an error where there are none, or where a WAV has fewer samples than its header promises.

    The header that a WAV has when it was written to a pipe (sizes 0, or too large for any file) gets the true size.
    """
    if not data:
        raise MolebenchError(f"{name} is empty; remove it, or record it again")
    if not (found := samples_chunk(data)):
        return data
    start, size, order = found
    there = len(data) - start
    if size >= STREAMED or (size == 0 and unfinished(data, found)):
        return data[: start - 4] + struct.pack(f"{order}I", there) + data[start:]
    if size > there:
        raise MolebenchError(f"{name} is cut short: its header promises {size} bytes of samples, {there} are there")
    return data


def samples_chunk(data: bytes) -> Chunk | None:
    """Where a WAV has its samples; None where the bytes are no WAV, or end before them."""
    order = {b"RIFF": "<", b"RIFX": ">"}.get(data[:4], "")
    at = 12
    while order and data[8:12] == b"WAVE" and at + 8 <= len(data):
        (size,) = struct.unpack_from(f"{order}I", data, at + 4)
        if data[at : at + 4] == b"data":
            return Chunk(at + 8, size, order)
        at += 8 + size + size % 2
    return None


def unfinished(data: bytes, found: Chunk) -> bool:
    """Whether the size of the whole file, too, is the one that a header has before the samples are written."""
    (size,) = struct.unpack_from(f"{found.order}I", data, 4)
    return size in (0, found.start - 8) or size >= STREAMED


def resampled(x: Float[Array, " t"], source: int, rate: int) -> Float[Array, " u"]:
    """The same sound at `rate` samples a second, with silence before and after it."""
    if source == rate:
        return x
    from scipy.signal import resample_poly

    common = math.gcd(source, rate)
    up, down = rate // common, source // common
    return resample_poly(x, up, down, window=sinc(max(up, down)))


@functools.cache
def sinc(longer: int) -> Float[Array, " taps"]:
    """The filter of a ratio, by the larger of its terms: designing it takes longer than using it."""
    from scipy.signal import firwin

    return firwin(20 * longer + 1, 1 / longer, window=("kaiser", 5.0))


def fitted(clip: Int16[Array, " t"], samples: int) -> Int16[Array, " samples"]:
    """A clip of this many samples: cut at the end, or with silence appended."""
    return np.pad(clip[:samples], (0, max(0, samples - len(clip))))


def count(seconds: float, rate: int = RATE) -> int:
    """The number of samples of a time."""
    return round(seconds * rate)


def read(files: Iterable[tuple[str, bytes]], total: int, samples: int, progress: Progress, who: str) -> Recordings:
    """The clips of files (name, content), each fitted to `samples`; the first that cannot be read is an error.

    One line for `who` says which clips are silent or clipped; they stay. total: how many will come, for the progress.
    """
    names: list[str] = []
    doubtful: dict[str, list[str]] = {"silent": [], "clipped": []}
    kept = bytearray()  # grows in place: a list of clips and their stack would be the data twice
    with progress("reading recordings", total) as advance:
        for name, data in files:
            clip = decode(data, name)[:samples]
            if doubt := suspicion(clip):
                doubtful[doubt].append(name)
            kept += fitted(clip, samples).tobytes()
            names.append(name)
            advance(1)
    for doubt, found in doubtful.items():
        if found:
            say(f"warning: {who}: {len(found)} of {len(names)} clips {doubt}, kept as they are: {listed(found, 3)}")
    return Recordings(names, np.frombuffer(kept, np.int16).reshape(-1, samples))


def suspicion(clip: Int16[Array, " t"]) -> str:
    """'silent' where every sample is 0, 'clipped' where a hundredth or more are at full scale, '' otherwise."""
    if not clip.any():
        return "silent"
    edge = np.iinfo(np.int16)
    return "clipped" if np.isin(clip, (edge.min, edge.max)).mean() >= CLIPPED else ""


def wav(pcm: Int16[Array, " t"], rate: int = RATE) -> bytes:
    """A mono WAV file of 16 bits; the same samples give the same bytes."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2").tobytes())
    return out.getvalue()


def write_wav(path: Path, pcm: Int16[Array, " t"], rate: int = RATE) -> None:
    """Writes a WAV file, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(wav(pcm, rate))
