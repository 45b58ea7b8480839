"""What is asked of every dataset that needs no download: loaded twice, looked at, and compared; and of extractors."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from molebench.cards import ANY
from molebench.errors import MolebenchError
from molebench.questions.bench import NotAsked, Subject, generators
from molebench.types import MODALITIES, Dataset

AXES = {"image": ("n", "h", "w", "c"), "audio": ("n", "t")}  # of the samples of each modality


class Loaded(NamedTuple):
    """A dataset, and whether a global generator is in another state since it was loaded."""

    data: Dataset
    drew: bool


def loaded(subject: Subject) -> Loaded:
    """The dataset, loaded anew, where there is no data folder, no connection and nothing in the cache yet."""
    if needs := subject.plugin.card.needs:
        raise NotAsked(f"needs {', '.join(needs)}")
    with TemporaryDirectory() as folder:
        data, cache, store = (Path(folder, name) for name in ("data", "cache", "store"))
        at_hand = replace(subject.bench.workspace, data=data, cache=cache, store=store, offline=True)
        states = generators()
        found: Dataset = subject.built().load(at_hand)
        return Loaded(found, generators() != states)


def it_loads_with_its_own_name_and_a_train_split(subject: Subject) -> Iterator[str]:
    """What it cannot do without a file or a connection belongs in its card's `needs`. NAME-version is its own name."""
    data, name = subject.once(loaded).data, subject.plugin.place.name
    if data.name != name and not data.name.startswith(f"{name}-"):
        yield f"it calls itself {data.name!r}; expected {name!r}"
    if "train" not in data.splits:
        yield f"its splits are {', '.join(data.splits)}; expected train among them"


def its_arrays_are_stored_samples_and_its_labels_name_classes(subject: Subject) -> Iterator[str]:
    """Inputs as the modality of its card stores them, and every class in every split."""
    data = subject.once(loaded).data
    if data.modality not in MODALITIES.values() or subject.plugin.card.modality not in (ANY, data.modality.name):
        yield f"its modality is {data.modality.name}; its card says {subject.plugin.card.modality}"
    if not len(set(data.classes)) == len(data.classes) >= 2:
        yield f"its classes are {data.classes}; expected two or more names, all different"
    for name, samples in data.splits.items():
        if samples.x.dtype != data.modality.dtype:
            yield f"{name}.x is {samples.x.dtype}; {data.modality.name} is stored as {data.modality.dtype}"
        if samples.x.ndim != len(axes := AXES.get(data.modality.name, samples.x.shape)):
            yield f"{name}.x is {list(samples.x.shape)}; expected [{', '.join(map(str, axes))}]"
        if set(np.unique(samples.y)) != set(range(len(data.classes))):
            yield f"the labels of {name} are not 0..{len(data.classes) - 1}, each at least once"


def it_is_the_same_whenever_it_is_loaded(subject: Subject) -> Iterator[str]:
    """To the byte, in order."""
    first, second = subject.once(loaded).data, loaded(subject).data
    if first.fingerprints != second.fingerprints or first.files != second.files:
        yield "loading it twice gives two datasets: draw from molebench.rng.stream with a fixed seed"


def loading_it_touches_no_global_generator(subject: Subject) -> Iterator[str]:
    """A dataset or an extractor may be loaded at any time."""
    if subject.plugin.kind == "dataset":
        drew = subject.once(loaded).drew
    else:
        states = generators()
        try:
            subject.built().load(subject.bench.workspace)
        except MolebenchError as error:
            raise NotAsked(f"needs its weights: {error}") from error
        drew = generators() != states
    if drew:
        yield "it draws from a global generator: use molebench.rng.stream"
