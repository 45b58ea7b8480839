"""Words spoken by espeak-ng, in a process of its own: python -P espeak.py WANTED.json SPOKEN.npz.

The C library keeps its state in globals, and may crash, hang or end the process that holds it: none of ours loads it.
So this file runs by its path and imports nothing of molebench.

    wanted  {"library": path, "data": folder, "volume": 80, "takes": [[word, voice, pitch, pace], ...]}
    spoken  pcm: int16, take after take; lengths: samples of each; rate: samples a second; version: text as uint8

A voice's vibrato runs on from one take to the next, so what a take sounds like depends, a little, on those before it;
one list of takes is the same bytes in every process (the library's own random numbers are seeded here).

Reference: espeak-ng, src/include/espeak-ng/speak_lib.h.
"""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SYNCHRONOUS = 2  # where Synth hands its samples to the callback and returns after the last
DONT_EXIT = 0x8000  # where its data is missing
UTF8 = 1
CHARACTER = 1  # what a start position counts
PACE, VOLUME, PITCH = 1, 2, 3  # of SetParameter
SEED = 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)  # samples, how many, events


class Take(NamedTuple):
    """What is said, by whom (language+variant), how high (0-99) and how fast (words a minute)."""

    word: str
    voice: str
    pitch: int
    pace: int


class Spoken(NamedTuple):
    """The samples of every take in order, how many each has, how many a second, and whose they are."""

    pcm: NDArray[np.int16]
    lengths: NDArray[np.int64]
    rate: int
    version: str


def spoken(library: str, data: str, volume: int, takes: list[Take]) -> Spoken:
    """The takes, as this library with this data folder says them."""
    lib = ctypes.CDLL(library)
    os.chdir(data)  # the library cuts paths of more than 160 letters
    rate = lib.espeak_Initialize(SYNCHRONOUS, 0, b".", DONT_EXIT)
    if rate <= 0:
        raise RuntimeError(f"it finds no data in {data}")
    heard: list[bytes] = []

    def hear(wave: int | None, count: int, events: int | None) -> int:
        del events
        if wave:
            heard.append(ctypes.string_at(wave, 2 * count))
        return 0  # go on

    callback = CALLBACK(hear)  # kept by this name for as long as it is called
    lib.espeak_SetSynthCallback(callback)
    lib.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
    said = []
    for take in takes:
        say(lib, take, volume)
        said.append(b"".join(heard))
        heard.clear()
    lengths = np.array([len(one) // 2 for one in said], np.int64)
    return Spoken(np.frombuffer(b"".join(said), np.int16), lengths, rate, version(lib))


def say(lib: Any, take: Take, volume: int) -> None:
    """One take; its samples go to the callback."""
    if lib.espeak_SetVoiceByName(take.voice.encode()):
        raise RuntimeError(f"it has no voice {take.voice}")
    for name, value in ((PACE, take.pace), (VOLUME, volume), (PITCH, take.pitch)):
        lib.espeak_SetParameter(name, value, 0)
    text = take.word.encode() + b"\0"
    if lib.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, CHARACTER, 0, UTF8, None, None):
        raise RuntimeError(f"it cannot say {take.word!r}")


def version(lib: Any) -> str:
    """The library's own version, such as 1.52.0."""
    lib.espeak_Info.restype = ctypes.c_char_p
    return str(lib.espeak_Info(None).decode().split()[0])


def main(wanted: Path, where: Path) -> None:
    """Reads what is wanted and writes what was said."""
    job = json.loads(wanted.read_text("utf-8"))
    found = spoken(job["library"], job["data"], job["volume"], [Take(*take) for take in job["takes"]])
    text = np.frombuffer(found.version.encode(), np.uint8)
    np.savez(where, pcm=found.pcm, lengths=found.lengths, rate=found.rate, version=text)


if __name__ == "__main__":
    main(*(Path(argument).absolute() for argument in sys.argv[1:]))
