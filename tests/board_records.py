"""Records for boards, without a run: a real one under other seeds, and thousands made up that hold what they say.

A made-up record is the first store's with other names, predictions and figures: its predictions are drawn, its figures
follow from them. The files of predictions are few and shared by link.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from molebench import metrics
from molebench.recomputed import follows
from molebench.record import Record
from molebench.rng import stream
from molebench.stages import canonical, key, save_arrays
from molebench.types import Array
from molebench.workspace import sha256
from tests.stored import FIRST, KEY, content

Content = dict[str, Any]
CLASSES, ITEMS, DRAWS = 10, 200, 40
ATTACKS = ("feature_collision", "noise", "unperturbed", "none", *(f"attack_{i}" for i in range(4)))
DEFENSES = ("", "spectral_signatures", "deep_knn", "random_filter", *(f"defense_{i:02d}" for i in range(21)))
VICTIMS = ("al_efficientnet_lite0", "al_resnet50", *(f"victim_{i}" for i in range(8)))
SEEDS = 5
RIGHT = {  # share of test items that an arm gets right
    "clean_undefended": 0.80,
    "control_undefended": 0.79,
    "poisoned_undefended": 0.60,
    "clean_defended": 0.78,
    "poisoned_defended": 0.72,
}


# A real record, changed


def resealed(content: Content) -> Record:
    """A record of this content under the key and group of its cell."""
    cell = content["cell"]
    group = key({name: value for name, value in cell.items() if name != "seed"})
    return Record.model_validate({**content, "key": key(cell), "group": group}).sealed()


def add(store: Path, seed: int, change: Callable[[Content], object] = lambda content: None) -> Record:
    """The first store's record under another seed and changed as its maker could have, with its predictions."""
    new = content()
    new["cell"]["seed"] = new["seeds"]["cell"] = seed
    change(new)
    record = resealed(new)
    put(store, record.key, record.text())
    return record


def put(store: Path, name: str, text: str) -> Path:
    """A cell with the first store's predictions and this text as its record, written last; the file."""
    folder = store / "cells" / name
    shutil.copytree(FIRST / "cells" / KEY, folder, ignore=shutil.ignore_patterns("record.json"))
    beside = folder / "record.new"
    beside.write_text(text, "utf-8", "surrogatepass")
    return beside.rename(folder / "record.json")


# Made up


@dataclass(frozen=True)
class Drawn:
    """Predictions that were drawn: their file, and what a record says of them."""

    file: Path
    arm: Content


def fill(store: Path, count: int) -> None:
    """A store of made-up records: victims, attacks, defenses and seeds, the seeds of a cell side by side."""
    drawn = {arm: list(draws(store.parent / "drawn", arm)) for arm in RIGHT}
    base, names = content(), product(VICTIMS, ATTACKS, DEFENSES, range(SEEDS))
    for i, (victim, attack, defense, seed) in enumerate(islice(names, count)):
        arms = {name: each[i % DRAWS] for name, each in drawn.items() if defense or "_defended" not in name}
        record = made(cell(base["cell"], victim, attack, defense, seed), base, {n: d.arm for n, d in arms.items()})
        folder = store / "cells" / record["key"]
        folder.mkdir(parents=True)
        for name, each in arms.items():
            os.link(each.file, folder / f"{name}.safetensors")
        (folder / "record.json").write_text(canonical(record) + "\n", "utf-8")


def draws(folder: Path, arm: str) -> Iterator[Drawn]:
    """Predictions of an arm, each of about its share right."""
    rng, y = stream(0, "board records", arm), np.arange(ITEMS) % CLASSES
    for i in range(DRAWS):
        wrong = rng.random(ITEMS) > RIGHT[arm]
        predicted = np.where(wrong, (y + rng.integers(1, CLASSES, ITEMS)) % CLASSES, y)
        file = folder / f"{arm}-{i}.safetensors"
        save_arrays(file, {"y": y, "predicted": predicted}, durable=False)
        yield Drawn(file, described(arm, y, predicted, sha256(file)))


def described(arm: str, y: Array, predicted: Array, digest: str) -> Content:
    """What a record says of an arm."""
    table = metrics.confusion(y, predicted, CLASSES)
    return {
        "n": table.sum(axis=1).tolist(),
        "correct": table.diagonal().tolist(),
        "confusion": table.tolist(),
        "predictions": f"{arm}.safetensors",
        "predictions_sha256": digest,
        "trace": content()["arms"]["clean_undefended"]["trace"],
    }


def cell(base: Content, victim: str, attack: str, defense: str, seed: int) -> Content:
    """A cell of these names."""
    return {
        **base,
        "victim": {**base["victim"], "name": victim},
        "attack": {**base["attack"], "name": attack},
        "defenses": [{"name": defense, "parameters": {"strength": 0.5}}] if defense else [],
        "seed": seed,
    }


def made(cell: Content, base: Content, arms: Mapping[str, Content]) -> Content:
    """A sealed record of a cell and its arms, healthy, its figures being those of the arms."""
    healthy = {"status": "ok", "warnings": [], "weights": [{**base["weights"][0], "source": "published"}]}
    group = key({name: value for name, value in cell.items() if name != "seed"})
    new = {**base, **healthy, "cell": cell, "key": key(cell), "group": group, "seeds": {"cell": cell["seed"]}}
    new |= {"arms": dict(arms), "metrics": {}}
    known = follows(Record.model_validate(new))
    new["metrics"] = {name: figure(name, value) for name, value in known.items()}
    return {**new, "record_sha256": key({name: value for name, value in new.items() if name != "record_sha256"})}


def figure(name: str, value: float) -> Content:
    """A metric with an interval around it."""
    wide = 3.0 if "delta" in name or name == "clean_cost" else 0.03
    found = {"value": float(value), "low": value - wide, "high": value + wide, "definition": metrics.definition(name)}
    plain: Content = json.loads(canonical(found))  # as a file holds it
    return plain
