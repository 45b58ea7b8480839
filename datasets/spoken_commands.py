"""Which of ten commands is spoken? Made on the spot by espeak-ng, from the package that carries it.

Ten words x accents of English x speakers x pitches x paces; of each word's takes, `per_class` are drawn at random. The
library speaks in a process of its own (molebench/espeak.py) and gives the same bytes every time; what it says is
resampled to 16 kHz and kept in the cache. Loudness is left as it is: recordings differ in it, too.

The speakers are some of the library's variants that say every word at an ordinary pace and do not clip at this volume,
and that use neither breath noise nor the Klatt synthesizer: both compute with the machine's exp and cos, and so could
differ in a last bit from one machine to another.

Reference: the words are ten of Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition",
arXiv:1804.03209, those of Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Int16

from molebench import espeak
from molebench.cards import Count, dataset
from molebench.errors import MolebenchError, first_line
from molebench.espeak import Take
from molebench.originals import converted
from molebench.progress import Progress
from molebench.rng import stream
from molebench.sounds import fitted, resampled
from molebench.stages import Arrays, key
from molebench.types import AUDIO, Array, Dataset, Samples
from molebench.workspace import Workspace, file_fact

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
ACCENTS = (
    "en",  # Great Britain
    "en-gb-scotland",
    "en-gb-x-gbclan",  # Lancaster
    "en-gb-x-gbcwmd",  # West Midlands
    "en-gb-x-rp",  # Received Pronunciation
    "en-029",  # Caribbean
    "en-us",
    "en-us-nyc",
)
SPEAKERS = ("m1", "m2", "m4", "m7", "m8", "boris", "f1", "f4", "Annie", "belinda", "linda", "steph")
PITCHES = (30, 50, 70)
PACES = (110, 145, 180)  # words a minute; slower ones would not fit
VOLUME = 80  # of 200; the default is 100
SAMPLES = 15_600  # 0.975 s: one patch of YAMNet
LONGEST = 300  # seconds; it takes about five


@dataset(
    paper="arXiv:1804.03209 (the words); spoken by espeak-ng (github.com/espeak-ng/espeak-ng)",
    licence="espeak-ng, which speaks, is GPL-3.0-or-later, in a package of its own; what it says is free",
    modality="audio",
    profiles={"tiny": {"per_class": 100}},
    cost="14 s on one core, once; 190 MB of cache",
)
@dataclass(frozen=True)
class SpokenCommands:
    """per_class: most takes of each word; there are 864."""

    per_class: Count = 600

    def load(self, workspace: Workspace) -> Dataset:
        """One split, train: PCM16 [n, 15600], as many of each word, in random order; named with espeak-ng's version."""
        library, data = package()
        files = {path.name: file_fact(path) for path in (library, data)}
        takes = chosen(self.per_class)
        tag = key([[f.sha256 for f in files.values()], takes, VOLUME, SAMPLES])[:16]
        found = converted(f"spoken_commands-{tag}", lambda: clips(library, data, takes, workspace.progress), workspace)
        y = np.array([WORDS.index(take.word) for take in takes])
        name = f"spoken_commands-espeak{found['version'].tobytes().decode()}"
        return Dataset(name, {"train": Samples(found["x"], y)}, WORDS, AUDIO, files)


def chosen(per_class: int) -> list[Take]:
    """As many takes of each word, drawn from all there are, in random order."""
    rng = stream(0, "spoken commands")
    ways = list(itertools.product(ACCENTS, SPEAKERS, PITCHES, PACES))
    drawn = [(word, ways[i]) for word in WORDS for i in rng.permutation(len(ways))[:per_class]]
    takes = [Take(word, f"{accent}+{speaker}", pitch, pace) for word, (accent, speaker, pitch, pace) in drawn]
    return [takes[i] for i in rng.permutation(len(takes))]


def package() -> tuple[Path, Path]:
    """The library and its data folder, in the package that carries both."""
    if not find_spec("espeakng_loader"):
        raise MolebenchError(
            "dataset spoken_commands: the package espeakng-loader is not installed; it has wheels for Linux, macOS and "
            "Windows on x86-64 and arm64: pip install espeakng-loader==0.2.4, or choose another dataset, such as fsdd"
        )
    import espeakng_loader

    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())


def clips(library: Path, data: Path, takes: Sequence[Take], progress: Progress) -> Arrays:
    """Every take at 16 kHz, with silence after it, and the version of what spoke."""
    heard = spoken(library, data, takes)
    x = np.empty((len(takes), SAMPLES), np.int16)
    with progress("resampling speech", len(takes)) as advance:
        for i, pcm in enumerate(np.split(heard["pcm"], np.cumsum(heard["lengths"])[:-1])):
            x[i] = fitted(at_16_khz(pcm, int(heard["rate"])), SAMPLES)
            advance(1)
    return {"x": x, "version": heard["version"]}


def at_16_khz(pcm: Int16[Array, " t"], rate: int) -> Int16[Array, " u"]:
    """The same sound at the modality's rate."""
    return AUDIO.quantise(resampled(pcm * AUDIO.step, rate, 16_000))


def spoken(library: Path, data: Path, takes: Sequence[Take]) -> Arrays:
    """What molebench/espeak.py writes about these takes, in a process of its own."""
    job = {"library": str(library.absolute()), "data": str(data.absolute()), "volume": VOLUME, "takes": takes}
    with TemporaryDirectory() as folder:
        wanted, where = Path(folder, "wanted.json"), Path(folder, "spoken.npz")
        wanted.write_text(json.dumps(job), "utf-8")
        command = [sys.executable, "-P", espeak.__file__, str(wanted), str(where)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=LONGEST)
            with np.load(where, allow_pickle=False) as file:
                return dict(file)
        except (OSError, subprocess.SubprocessError) as error:
            raise MolebenchError(
                f"dataset spoken_commands: espeak-ng in {library} {why(error)}; install its package again (pip install "
                "--force-reinstall espeakng-loader==0.2.4), or choose another dataset, such as fsdd"
            ) from error


def why(error: Exception) -> str:
    """How the process ended."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"has not answered for {LONGEST} s"
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return f"ended with code {error.returncode} ({first_line(lines[-1] if lines else '')})"
    return f"did not run ({first_line(error)})"
