"""The curve of a sweep: what it takes for a line, and where it stands on the page."""

from pathlib import Path

import numpy as np
import pytest

from molebench import pictures
from molebench.fit_curve import curve, lines
from molebench.record import Record
from molebench.store import Store
from tests.test_mole_pictures import record


def offline(epochs: int, fit: float, augment: str, delta: float) -> Record:
    """A record with the figures that the curve reads."""
    made = record(metrics={"accuracy_train": fit, "max_delta_a": delta, "mean_delta_a": delta / 10, "max_rho": 1 - fit})
    victim = {"name": "offline_resnet18", "parameters": {"epochs": epochs, "augment": augment}}
    return made.model_copy(update={"cell": made.cell | {"victim": victim}})


PLAIN = [offline(9, 1.0, "none", -1.0), offline(3, 0.8, "none", -40.0), offline(5, 0.9, "none", -20.0)]
SWEEP = [*PLAIN, offline(3, 0.6, "crop_flip", -30.0), offline(9, 0.7, "crop_flip", -30.0)]


def test_cells_that_differ_in_epochs_are_a_line_by_train_accuracy_and_two_points_are_none() -> None:
    (line,) = lines(SWEEP)
    assert [r.metrics["accuracy_train"].value for r in line.records] == [0.8, 0.9, 1.0]
    assert line.words.endswith("victim.augment=none")


def test_the_points_drawn_are_those_of_the_records() -> None:
    figure = curve(SWEEP, "three fits")
    assert figure is not None
    drawn = [
        (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for axes in figure.axes for line in axes.lines
    ]
    fits, deltas = [80.0, 90.0, 100.0], [-40.0, -20.0, -1.0]
    expected = [deltas, [d / 10 for d in deltas], [], [0.2, 0.1, 0.0]]  # no control, and no mean rho, in these records
    for (x, y), wanted in zip(drawn, expected, strict=False):
        assert x.tolist() == fits[: len(wanted)]
        assert y.tolist() == pytest.approx(wanted)


def test_a_sweep_leaves_its_curve_beside_the_records_and_one_of_other_cells_leaves_none(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    assert pictures.of_sweep("fits", SWEEP, store) == [tmp_path / "sweeps" / "fits" / "fit.png"]
    assert (tmp_path / "sweeps" / "fits" / "fit.pdf").is_file()
    assert pictures.of_sweep("others", [record()] * 3, store) == []
