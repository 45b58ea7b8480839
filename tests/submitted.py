"""Submissions to spoil: a good defense's folder, and an attack's with records that bear out its claim."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from molebench.record import Record
from molebench.report import number
from molebench.submission.check import checked
from molebench.submission.form import read
from molebench.submission.scaffold import scaffold
from molebench.submission.standing_in import digest
from tests.board_records import resealed
from tests.stored import FIRST, KEY, content

SLUG = "calm_screen"
BREAK = "loud_break"
SAID = {"trusted_data": "none", "extra_data": "none", "pretrained": "none"}


def form(folder: Path) -> dict[str, Any]:
    """What the form says."""
    found: dict[str, Any] = yaml.safe_load((folder / "submission.yaml").read_text("utf-8"))
    return found


def fill(folder: Path, **words: Any) -> Path:
    """Writes the form with other words in it."""
    text = yaml.safe_dump({**form(folder), **words}, allow_unicode=True, sort_keys=False)
    (folder / "submission.yaml").write_text(text, "utf-8")
    return folder


def claim(folder: Path, **words: Any) -> dict[str, Any]:
    """The form's one claim with other words in it."""
    first: dict[str, Any] = form(folder)["claims"][0]
    return {**first, **words}


def filled(home: Path, slug: str = SLUG, kind: str = "defense") -> Path:
    """A scaffold whose author has filled in what is to be filled in."""
    folder = scaffold(slug, kind, home)
    figures = {"value": -3.2, "low": -6.0, "high": -1.0}
    said = {**form(folder)["disclosure"], **SAID}
    return fill(folder, authors=["A. Author"], disclosure=said, claims=[claim(folder, **figures)])


def with_records(home: Path) -> Path:
    """A break whose claim is what its one record says."""
    folder, record = filled(home, BREAK, "attack"), renamed(BREAK)
    figure, cell = record.metrics["delta_total"], record.cell
    words = {
        "victim": cell["victim"]["name"],
        "profile": cell["profile"],
        "seeds": [cell["seed"]],
        "metric": "delta_total",
        "value": float(number(figure.value, "delta_total")),
        "low": float(number(figure.low or 0.0, "delta_total")),
        "high": float(number(figure.high or 0.0, "delta_total")),
    }
    fields = "\n    ".join(f"{name}: Any = {value!r}" for name, value in cell["attack"]["parameters"].items())
    source = (folder / "attack.py").read_text("utf-8")
    mine = source.replace("    n_poison: Count = 500", f"    {fields}")
    (folder / "attack.py").write_text(mine, "utf-8")
    fill(folder, params=cell["attack"]["parameters"], claims=[{**claim(folder), **words}])
    put(folder, renamed(BREAK, digest(read(folder), folder)))
    return folder


def renamed(slug: str, source: str = "", **changes: Any) -> Record:
    """The first store's record as an attack of this name, and of this code, would have made it."""
    new = {**content(), **changes}
    for component in new["components"]:
        if component["kind"] == "attack" and component["name"] == new["cell"]["attack"]["name"]:
            component |= {"name": slug, "code_sha256": source or component["code_sha256"]}
    new["cell"]["attack"]["name"] = slug
    return resealed(new)


def put(folder: Path, record: Record, name: str = "") -> Path:
    """Lays a record with its predictions into a submission; its folder."""
    there = folder / "records" / (name or record.key)
    shutil.copytree(FIRST / "cells" / KEY, there, ignore=only_predictions)
    (there / "record.json").write_text(record.text(), "utf-8")
    return there


def only_predictions(folder: str, names: list[str]) -> list[str]:
    """What of a cell's folder is not copied."""
    del folder
    return [name for name in names if not name.endswith(".safetensors")]


def faults(folder: Path) -> list[str]:
    """What the check finds."""
    return checked(folder).faults
