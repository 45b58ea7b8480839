"""What is asked of every dataset that needs no download: loaded twice, looked at, and compared; and of extractors."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from molebench.errors import MolebenchError
from molebench.questions.bench import NotAsked, Subject, generators
from molebench.types import Dataset


def loaded(subject: Subject) -> Dataset:
    """The dataset, loaded anew, where there is neither data folder nor connection."""
    if needs := subject.plugin.card.needs:
        raise NotAsked(f"needs {', '.join(needs)}")
    nowhere = Path("/nonexistent")
    at_hand = replace(subject.bench.workspace, data=nowhere, cache=nowhere, store=nowhere, offline=True)
    found: Dataset = subject.built().load(at_hand)
    return found


def it_loads_with_its_own_name_and_a_train_split(subject: Subject) -> Iterator[str]:
    """What it cannot do without a file or a connection belongs in its card's `needs`."""
    data = subject.once(loaded)
    if data.name != subject.plugin.name:
        yield f"it calls itself {data.name!r}; expected {subject.plugin.name!r}"
    if "train" not in data.splits:
        yield f"its splits are {', '.join(data.splits)}; expected train among them"


def its_arrays_are_stored_samples_and_its_labels_name_classes(subject: Subject) -> Iterator[str]:
    """Inputs as the modality stores them, and every class in every split."""
    data = subject.once(loaded)
    if not len(set(data.classes)) == len(data.classes) >= 2:
        yield f"its classes are {data.classes}; expected two or more names, all different"
    for name, samples in data.splits.items():
        if samples.x.dtype != data.modality.dtype:
            yield f"{name}.x is {samples.x.dtype}; {data.modality.name} is stored as {data.modality.dtype}"
        if set(np.unique(samples.y)) != set(range(len(data.classes))):
            yield f"the labels of {name} are not 0..{len(data.classes) - 1}, each at least once"


def it_is_the_same_whenever_it_is_loaded(subject: Subject) -> Iterator[str]:
    """To the byte, in order."""
    first, second = subject.once(loaded), loaded(subject)
    if first.fingerprints != second.fingerprints or first.files != second.files:
        yield "loading it twice gives two datasets: draw from molebench.rng.stream with a fixed seed"


def loading_it_touches_no_global_generator(subject: Subject) -> Iterator[str]:
    """A dataset or an extractor may be loaded at any time."""
    states = generators()
    if subject.plugin.kind == "dataset":
        loaded(subject)
    else:
        try:
            subject.built().load(subject.bench.workspace)
        except MolebenchError as error:
            raise NotAsked(f"needs its weights: {error}") from error
    if generators() != states:
        yield "it draws from a global generator: use molebench.rng.stream"
