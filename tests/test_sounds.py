"""Sound files: depths, rates and channels are read right, and whatever is no sound is named in one clear line."""

import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from molebench.errors import MolebenchError
from molebench.progress import silent
from molebench.sounds import RATE, decode, fitted, read, suspicion, wav, write_wav
from molebench.types import AUDIO, Array

RAMP = np.array([0, 1, -1, 16_384, -32_768, 32_767], np.int16)


def encoded(x: Array, subtype: str = "PCM_16", rate: int = RATE, form: str = "WAV") -> bytes:
    """A file as libsndfile writes it."""
    out = io.BytesIO()
    soundfile.write(out, x, rate, subtype=subtype, format=form)
    return out.getvalue()


def raw(values: bytes, bits: int, channels: int = 1, rate: int = RATE, kind: int = 1) -> bytes:
    """A WAV by its specification, byte by byte. kind: 1 integers, 3 floats."""
    block = bits // 8 * channels
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * block, block, bits)
    samples = b"data" + struct.pack("<I", len(values)) + values
    return b"RIFF" + struct.pack("<I", 4 + len(fmt) + len(samples)) + b"WAVE" + fmt + samples


def tone(hertz: float, rate: int, seconds: float = 1.0, height: float = 0.5) -> Array:
    return height * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def spectrum(clip: Array) -> Array:
    """The amplitude at each frequency of the middle half second: a bin is 2 Hz, whole periods give their height."""
    middle = clip[len(clip) // 2 - 4_000 :][:8_000] * AUDIO.step
    return np.abs(np.fft.rfft(middle)) / 4_000


# ------------------------------------------------------------------ what is read


def test_the_rate_is_the_modality_s() -> None:
    assert AUDIO.rate == RATE


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "FLAC"])
def test_16_bits_at_16_khz_come_back_as_they_were(form: str) -> None:
    clip = decode(encoded(RAMP, form=form), "ramp")
    assert clip.dtype == np.int16
    assert clip.tolist() == RAMP.tolist()


def test_8_bits_are_unsigned_around_128() -> None:
    assert decode(raw(bytes([0, 64, 128, 129, 255]), 8), "x.wav").tolist() == [-32_768, -16_384, 0, 256, 127 * 256]


def test_24_bits_are_rounded_to_16() -> None:
    values = (0, 256, 127, 129, -(2**23), 2**23 - 1, 0x123456)  # a step of 16 bits is 256 of these
    packed = b"".join(v.to_bytes(3, "little", signed=True) for v in values)
    assert decode(raw(packed, 24), "x.wav").tolist() == [0, 1, 0, 1, -32_768, 32_767, 0x1234]


def test_32_bits_and_floats_are_rounded_and_clipped_as_the_modality_does() -> None:
    wide = struct.pack("<4i", 0, 65_536, -(2**31), 2**31 - 1)
    assert decode(raw(wide, 32), "x.wav").tolist() == [0, 1, -32_768, 32_767]
    values = np.array([0.0, 0.5, 1.0, -1.0, 1.5, -1.5, 2.0**-15, 1.5 * 2.0**-15])
    for floats in (values.astype("<f4"), values):
        clip = decode(raw(floats.tobytes(), 8 * floats.itemsize, kind=3), "x.wav")
        assert clip.tolist() == AUDIO.quantise(values).tolist() == [0, 16_384, 32_767, -32_768, 32_767, -32_768, 1, 2]


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_mixed_down_by_their_mean(channels: int) -> None:
    x = np.zeros((3, channels), np.int16)
    x[:, 0], x[:, -1] = (600, 1_200, -600), (600, 0, 600)
    assert decode(encoded(x), "x.wav").tolist() == [1_200 // channels, 1_200 // channels, 0]


def test_big_endian_wav_is_read() -> None:
    out = io.BytesIO()
    soundfile.write(out, RAMP, RATE, subtype="PCM_16", endian="BIG", format="WAV")
    assert out.getvalue()[:4] == b"RIFX"
    assert decode(out.getvalue(), "x.wav").tolist() == RAMP.tolist()


def test_chunks_before_and_after_the_samples_are_passed_over() -> None:
    whole = wav(RAMP)
    note = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # three bytes and one to make them even
    assert decode(whole[:36] + note + whole[36:] + note, "x.wav").tolist() == RAMP.tolist()


# ------------------------------------------------------------------ other rates


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_a_tone_of_another_rate_keeps_its_frequency_height_and_length(rate: int) -> None:
    clip = decode(encoded(tone(1_000, rate), "PCM_24", rate), "tone.wav")
    found = spectrum(clip)
    assert len(clip) == RATE
    assert found.argmax() * 2 == 1_000
    assert found.max() == pytest.approx(0.5, rel=2e-3)  # 0.02 dB
    assert np.delete(found, [499, 500, 501]).max() < 0.5 * 10 ** (-50 / 20)  # no image of it at 7 or 15 kHz


@pytest.mark.parametrize("hertz", [9_500, 10_000, 12_000, 15_990, 20_000])
def test_a_tone_above_8_khz_does_not_come_back_as_another(hertz: int) -> None:
    clip = decode(encoded(tone(hertz, 44_100), "PCM_24", 44_100), "tone.wav")
    assert spectrum(clip).max() < 0.5 * 10 ** (-40 / 20)


def test_without_the_filter_that_tone_would_come_back() -> None:
    folded = AUDIO.quantise(tone(10_000, 44_100)[np.arange(RATE) * 441 // 160])
    assert spectrum(folded).max() > 0.1


def test_a_steady_value_stays_what_it_is() -> None:
    clip = decode(encoded(np.full(4_000, 0.25), rate=8_000), "x.wav")
    assert np.abs(clip[1_000:-1_000].astype(int) - 8_192).max() <= 8  # the filter's ripple, a thousandth


@pytest.mark.parametrize(("source", "n"), [(8_000, 3), (44_100, 441), (44_100, 442), (7_919, 100)])
def test_a_clip_gets_as_many_samples_as_its_time_needs(source: int, n: int) -> None:
    assert len(decode(encoded(np.zeros(n), rate=source), "x.wav")) == math.ceil(n * RATE / source)


def test_another_rate_may_be_asked_for() -> None:
    clip = decode(encoded(tone(1_000, RATE)), "x.wav", rate=8_000)
    assert len(clip) == 8_000
    assert np.abs(np.fft.rfft(clip)).argmax() == 1_000


# ------------------------------------------------------------------ headers of streams, and files cut short

OPEN = 2**32 - 1
SIZES = {"both open": (OPEN, OPEN), "both 0": (0, 0), "as begun": (36, 0), "2 GB": (0x7FFF_F024, 0x7FFF_F000)}
SIZES |= {"RIFF 0": (0, 12), "RIFF open": (OPEN, 12), "data open": (48, OPEN)}


def with_sizes(riff: int, data: int, whole: bytes = b"") -> bytes:
    """The ramp as a WAV with these two sizes in its header."""
    whole = whole or wav(RAMP)
    return whole[:4] + struct.pack("<I", riff) + whole[8:40] + struct.pack("<I", data) + whole[44:]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_header_that_a_stream_leaves_means_up_to_the_end(sizes: tuple[int, int]) -> None:
    assert decode(with_sizes(*sizes), "streamed.wav").tolist() == RAMP.tolist()


def test_a_size_of_0_in_a_finished_header_means_no_samples() -> None:
    note = b"LIST" + struct.pack("<I", 4) + b"abcd"
    empty = with_sizes(36 + len(note), 0, wav(RAMP[:0]) + note)
    with pytest.raises(MolebenchError, match=r"x\.wav has no samples"):
        decode(empty, "x.wav")


@pytest.mark.parametrize("cut", [1, 2, 11])
def test_a_wav_that_is_cut_short_is_refused(cut: int) -> None:
    says = rf"x\.wav is cut short: its header promises 12 bytes of samples, {12 - cut} are there"
    with pytest.raises(MolebenchError, match=says):
        decode(wav(RAMP)[:-cut], "x.wav")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_flac_that_is_cut_short_is_refused(share: float) -> None:
    whole = encoded(tone(440, RATE), form="FLAC")
    with pytest.raises(MolebenchError, match=r"x\.flac is (not a readable WAV or FLAC file|cut short)"):
        decode(whole[: int(share * len(whole))], "x.flac")


@pytest.mark.parametrize("claimed", [0, 2**32 - 1])
def test_a_flac_of_unknown_or_absurd_length_is_refused_without_asking_for_the_memory(claimed: int) -> None:
    whole = bytearray(encoded(tone(440, RATE), form="FLAC"))
    whole[21] &= 0xF0  # 36 bits of the stream's length, in samples
    whole[22:26] = struct.pack(">I", claimed)
    with pytest.raises(MolebenchError, match=r"x\.flac does not say how long it is, or is too long"):
        decode(bytes(whole), "x.flac")


# ------------------------------------------------------------------ what is no sound

BAD = {
    "empty": (b"", r"is empty"),
    "text": (b"these are words\n" * 20, r"is not a readable WAV or FLAC file \(Format not recognised\); mend or"),
    "half a header": (wav(RAMP)[:30], r"is not a readable WAV or FLAC file"),
    "a header": (wav(RAMP[:0]), r"has no samples"),
    "no channels": (raw(b"\0\0", 16, channels=0), r"is not a readable WAV or FLAC file"),
    "no rate": (raw(b"\0\0", 16, rate=0), r"is not a readable WAV or FLAC file"),
    "a rate of 3": (raw(b"\0\0", 16, rate=3), r"has 3 samples a second; allowed: 1000\.\.768000"),
    "a rate of a million": (raw(b"\0\0", 16, rate=1_000_000), r"has 1000000 samples a second"),
    "a NaN": (raw(np.array([0, math.nan], "<f4").tobytes(), 32, kind=3), r"has samples that are NaN or infinite"),
    "infinite": (raw(np.array([0, -math.inf], "<f8").tobytes(), 64, kind=3), r"has samples that are NaN or inf"),
    "a NaN in one channel": (
        raw(np.array([0, math.nan], "<f4").tobytes(), 32, channels=2, kind=3),
        r"has samples that are NaN or infinite",
    ),
    "floats of PCM's height": (
        raw(np.array([0, 20_000], "<f4").tobytes(), 32, kind=3),
        r"has samples up to 2e\+04, where 1 is full scale",
    ),
    "AIFF": (encoded(RAMP, form="AIFF"), r"holds AIFF; allowed: WAV and FLAC"),
}


@pytest.mark.parametrize(("data", "says"), BAD.values(), ids=BAD)
def test_what_is_no_sound_is_named_in_one_line(data: bytes, says: str) -> None:
    with pytest.raises(MolebenchError, match=rf"^one/x\.wav {says}") as error:
        decode(data, "one/x.wav")
    assert "\n" not in str(error.value)
    assert "BytesIO" not in str(error.value)


# ------------------------------------------------------------------ lengths, and writing


def test_a_clip_is_cut_at_the_end_or_gets_silence() -> None:
    assert fitted(RAMP, 2).tolist() == [0, 1]
    assert fitted(RAMP, 6).tolist() == RAMP.tolist()
    assert fitted(RAMP, 8).tolist() == [*RAMP.tolist(), 0, 0]
    assert fitted(RAMP, 8).dtype == np.int16


def test_what_is_written_is_read_back_by_us_and_by_libsndfile(tmp_path: Path) -> None:
    write_wav(tmp_path / "pairs" / "poison.wav", RAMP, 8_000)
    x, rate = soundfile.read(tmp_path / "pairs" / "poison.wav", dtype="int16")
    assert (x.tolist(), rate) == (RAMP.tolist(), 8_000)
    assert decode((tmp_path / "pairs" / "poison.wav").read_bytes(), "x", rate=8_000).tolist() == RAMP.tolist()
    assert wav(RAMP) == encoded(RAMP) == raw(RAMP.tobytes(), 16)


# ------------------------------------------------------------------ many files


def test_many_files_become_one_array_in_their_order() -> None:
    found = read([("b", wav(RAMP)), ("a", wav(RAMP[:2]))], 2, 4, silent, "dataset test")
    assert found.names == ["b", "a"]
    assert found.x.tolist() == [[0, 1, -1, 16_384], [0, 1, 0, 0]]
    assert found.x.dtype == np.int16


def test_the_first_bad_file_of_many_is_an_error() -> None:
    seen: list[str] = []

    def files() -> Iterator[tuple[str, bytes]]:
        for name, data in (("good.wav", wav(RAMP)), ("bad.wav", b"words"), ("worse.wav", b"")):
            seen.append(name)
            yield name, data

    with pytest.raises(MolebenchError, match=r"bad\.wav is not a readable"):
        read(files(), 3, 4, silent, "dataset test")
    assert seen == ["good.wav", "bad.wav"]


def test_silent_and_clipped_clips_are_kept_and_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    square = np.where(np.arange(200) % 20 < 10, 32_767, -32_768).astype(np.int16)
    late = np.concatenate([np.zeros(200, np.int16), RAMP])  # silent as far as it is kept
    files = [("hush.wav", wav(0 * square)), ("late.wav", wav(late)), ("square.wav", wav(square))]
    found = read([*files, ("fine.wav", wav(square // 2))], 4, 200, silent, "dataset test")
    assert found.x.shape == (4, 200)
    assert capsys.readouterr().err.splitlines() == [
        "warning: dataset test: 2 of 4 clips silent, kept as they are: hush.wav, late.wav",
        "warning: dataset test: 1 of 4 clips clipped, kept as they are: square.wav",
    ]


def test_a_single_peak_at_full_scale_is_not_clipping() -> None:
    clip = np.full(1_000, 100, np.int16)
    clip[:9] = 32_767
    assert suspicion(clip) == ""
    clip[9] = -32_768
    assert suspicion(clip) == "clipped"


def test_good_files_are_read_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    read([("a.wav", wav(RAMP[:3]))], 1, 3, silent, "dataset test")
    assert capsys.readouterr().err == ""
