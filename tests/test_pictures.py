"""The pictures in a run's folder: when they are drawn, that they are whole and readable, and the maths behind them."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from molebench import curves, drawing, pictures
from molebench.record import Record
from molebench.scenarios.illustration import illustration, pairs, principal
from molebench.stats import wilson_interval
from molebench.store import Store, load_illustration, load_records
from molebench.types import Array, Poison, Samples
from molebench.workspace import Workspace
from tests import commands
from tests.commands import typed
from tests.conftest import ROOT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL = tuple(word for word in commands.SMALL if word != "--no-plots")
RUN = ("run", "--attack", "feature_collision", *SMALL, "--set", "attack.steps=10")
ALL = ["collisions.png", "features.png", "queries.pdf", "queries.png"]


@pytest.fixture(scope="module")
def finished(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A store with one cell that drew its pictures; tests put back what they take away."""
    home = replace(fetched, store=tmp_path_factory.mktemp("pictures"))
    done = typed(home, *RUN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"pictures: {folder(home)} (collisions.png, features.png, queries.png)"
    return home


def only(home: Workspace) -> Record:
    """The one record of a store."""
    (record,) = load_records(home.store)
    return record


def folder(home: Workspace) -> Path:
    return Store(home.store).cell(only(home).key)


def drawn(where: Path) -> dict[str, bytes]:
    """Every picture of a folder, by name."""
    return {f.name: f.read_bytes() for f in sorted(where.iterdir()) if f.suffix in (".png", ".pdf")}


# When


def test_a_run_leaves_its_pictures_beside_its_record(finished: Workspace) -> None:
    assert list(drawn(folder(finished))) == ALL
    for file in folder(finished).glob("*.png"):
        with Image.open(file) as image:
            image.verify()
            assert (image.format, image.size[0]) == ("PNG", 1300)
            assert set(image.info) <= {"molebench", "dpi"}  # no date and no name of a program
    assert drawn(folder(finished))["queries.pdf"].startswith(b"%PDF")
    assert [f for f in folder(finished).iterdir() if f.name.startswith(".")] == []


def test_no_plots_leaves_none_and_the_next_run_draws_them(finished: Workspace, tmp_path: Path) -> None:
    home = replace(finished, store=tmp_path)
    done = typed(home, *RUN, "--no-plots")
    assert (done.returncode, "pictures" in done.stdout) == (0, False)
    assert drawn(folder(home)) == {}
    done = typed(home, *RUN, "--json")
    assert "pictures" not in done.stdout
    assert list(drawn(folder(home))) == ALL


def test_a_rerun_draws_only_what_is_missing_and_the_same_bytes(finished: Workspace) -> None:
    before = drawn(folder(finished))
    (folder(finished) / "features.png").unlink()
    (folder(finished) / "queries.png").unlink()
    kept = (folder(finished) / "collisions.png").stat().st_mtime_ns
    assert typed(finished, *RUN).returncode == 0
    assert drawn(folder(finished)) == before
    assert (folder(finished) / "collisions.png").stat().st_mtime_ns == kept


def test_a_picture_of_another_record_or_a_damaged_one_counts_as_missing(finished: Workspace, tmp_path: Path) -> None:
    picture = folder(finished) / "queries.png"
    with Image.open(picture) as image:
        source = image.info["molebench"]
    assert pictures.current(picture, source)
    assert not pictures.current(picture, "another")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:30])
    assert not pictures.current(tmp_path / "cut.png", source)
    assert not pictures.current(tmp_path / "none.png", source)


def test_what_cannot_be_drawn_is_one_warning_and_loses_nothing(finished: Workspace, tmp_path: Path) -> None:
    home = replace(finished, store=tmp_path)
    with mock.patch("matplotlib.figure.Figure.savefig", side_effect=RuntimeError("no ink")):
        done = typed(home, *RUN)
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert all(word in warnings[0] for word in ("collisions.png, features.png, queries.png", "RuntimeError: no ink"))
    assert only(home).metrics == only(finished).metrics
    assert drawn(folder(home)) == {}
    assert [f for f in folder(home).iterdir() if f.name.startswith(".")] == []


def test_without_matplotlib_a_run_is_whole(finished: Workspace, tmp_path: Path) -> None:
    home = replace(finished, store=tmp_path)
    with mock.patch.dict(sys.modules, {"matplotlib": None, "matplotlib.style": None}):
        done = typed(home, *RUN)
    assert done.returncode == 0
    assert sum("could not be drawn" in line for line in done.stderr.splitlines()) == 1
    assert only(home).metrics == only(finished).metrics


def test_an_attack_without_poisons_has_curves_alone(finished: Workspace, tmp_path: Path) -> None:
    home = replace(finished, store=tmp_path)
    words = [word for word in SMALL if not word.startswith("attack.")]
    words = [w for i, w in enumerate(words) if w != "--set" or words[i + 1 : i + 2] not in ([], ["--set"])]
    assert typed(home, "run", "--attack", "none", *words).returncode == 0
    assert list(drawn(folder(home))) == ["queries.pdf", "queries.png"]
    assert load_illustration(folder(home)) == {}


def test_several_seeds_have_a_picture_of_their_own_that_follows_them(finished: Workspace, tmp_path: Path) -> None:
    home = replace(finished, store=tmp_path)
    done = typed(home, *RUN, "--trials", "2", "--set", "victim.queries=5")
    records = load_records(home.store)
    group = home.store / "groups" / records[0].group
    assert done.stdout.splitlines()[-1] == f"pictures: {group} (queries.png)"
    two = drawn(group)
    assert list(two) == ["queries.pdf", "queries.png"]
    assert pictures.of_seeds(records[:1], Store(home.store)) == []
    pictures.of_seeds([records[0]] * 3, Store(home.store))
    assert drawn(group) != two
    pictures.of_seeds(sorted(records, key=lambda r: r.seeds["cell"]), Store(home.store))
    assert drawn(group) == two


def test_listing_does_not_import_matplotlib() -> None:
    program = (
        "import sys; sys.argv = ['molebench', 'list', '--json']\n"
        "from molebench.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as left:\n    assert not left.code\n"
        "print('matplotlib' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "False"


# What they show


def readable(figure: "Figure") -> "Figure":
    """The same figure, once nothing in it is off the page and no text below 8 points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    inked = figure.get_tightbbox(canvas.get_renderer())
    assert figure.get_figwidth() == drawing.WIDTH
    assert min(inked.x0, inked.y0) >= 0, inked
    assert inked.x1 <= drawing.WIDTH, inked
    assert inked.y1 <= figure.get_figheight(), inked
    assert min(float(text.get_fontsize()) for text in figure.findobj(Text) if isinstance(text, Text)) >= 8
    return figure


def words(figure: "Figure") -> str:
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text) if isinstance(t, Text))


def test_a_change_of_three_is_thirty_off_mid_grey() -> None:
    original = np.array([100, 100, 100, 0, 255], dtype=np.uint8)
    poison = np.array([103, 97, 100, 255, 0], dtype=np.uint8)
    assert drawing.difference(original, poison).tolist() == [158, 98, 128, 255, 0]


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (96, 64, 3), (8, 200, 4)])
@pytest.mark.parametrize("n", [1, 2, 10])
def test_images_of_any_size_and_channels_are_shown(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> None:
    original, poison = rng.integers(0, 256, (2, n, *shape), dtype=np.uint8)
    names = ["a very long name of a class, $5$", *(f"class_{i}" for i in range(1, n))][:n]
    facts = {"PSNR (dB)": ["39.9"] * n, "coll. ratio": ["0.012"] * n}
    with drawing.styled():
        figure = readable(drawing.collisions(original, poison, names, facts, "cell " * 30))
    assert [len(axes.images) for axes in figure.axes] == [1] * 3 * n
    assert words(figure).count("39.9") == n


@pytest.mark.parametrize("k", [2, 10, 1000])
@pytest.mark.parametrize("arms", [("poisons",), ("poisons", "control")])
def test_a_map_names_its_classes_where_they_are_few(k: int, arms: Sequence[str], rng: np.random.Generator) -> None:
    pool, label = rng.normal(size=(50, 2)), rng.integers(0, k, 50)
    classes = [f"kind_{c}" for c in range(k)]
    with drawing.styled():
        injected = {arm: rng.normal(size=(7, 2)) for arm in arms}
        figure = readable(drawing.feature_map(pool, label, classes, injected, np.array([0.4, 0.2]), "cell"))
    assert ("kind 1" in words(figure)) == (k <= 10)
    assert (f"{k} classes" in words(figure)) == (k > 10)
    assert "axis 1 (40% of the clean variance" in words(figure)


def test_sounds_have_no_grid_of_images(finished: Workspace) -> None:
    sounds = {name: np.zeros((3, 100), dtype=np.int16) for name in ("original", "poison")}
    assert pictures.collisions(only(finished), {**sounds, "label": np.zeros(3, dtype=np.int64)}) is None


def test_six_arms_are_told_apart_by_colour_and_by_dash_or_marker(finished: Workspace) -> None:
    record = only(finished)
    behind = {f"{arm}_defended": record.arms[f"{arm}_undefended"] for arm in ("clean", "poisoned")}
    matched = {"poisoned_matched": record.arms["poisoned_undefended"]}
    record = record.model_copy(update={"arms": {**record.arms, **behind, **matched}})
    with drawing.styled():
        figure = pictures.queries([record])
        assert figure is not None
        readable(figure)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 7  # and chance
    assert set(record.arms) == set(drawing.LOOKS)
    looks = list(drawing.LOOKS.values())
    assert len({look.colour for look in looks}) == len({str(look.dash) for look in looks}) == 6
    assert len({(look.marker, look.hollow) for look in looks}) == 6


# The numbers behind them


def test_curves_end_at_the_figures_of_the_record(finished: Workspace) -> None:
    record = only(finished)
    last = {c.arm: (c.y[-1], c.low[-1], c.high[-1]) for c in curves.accuracy([record])}
    assert last["poisoned_undefended"][0] == pytest.approx(100 * record.metrics["accuracy_poisoned"].value)
    assert all(low < y < high for y, low, high in last.values())
    (share,) = [c for c in curves.share([record]) if c.arm == "poisoned_undefended"]
    assert share.y[-1] == pytest.approx(100 * record.metrics["success_rate"].value)  # as many poisons as queries
    assert curves.chance([record]) == pytest.approx(100 * record.metrics["random_success_rate"].value)


def test_shares_by_round_add_up_to_the_share_of_all(finished: Workspace) -> None:
    for one, all_of_them in zip(curves.by_round([only(finished)]), curves.share([only(finished)]), strict=True):
        assert one.arm == all_of_them.arm
        assert np.sum(one.y * np.diff(one.x)) == pytest.approx(all_of_them.y[-1] * one.x[-1])


def test_equal_seeds_have_a_band_of_no_width(finished: Workspace) -> None:
    for curve in curves.accuracy([only(finished)] * 3):
        np.testing.assert_allclose(curve.low, curve.high)


def test_wilson_s_interval_is_the_known_one() -> None:
    low, high = wilson_interval(np.array([0.5, 0.0, 1.0]), 10)
    np.testing.assert_allclose(low, [0.2366, 0.0, 0.7225], atol=5e-5)
    np.testing.assert_allclose(high, [0.7634, 0.2775, 1.0], atol=5e-5)


def test_the_principal_axes_of_a_cross_are_its_arms() -> None:
    cross = np.array([[3.0, 0, 7], [-3, 0, 7], [0, 1, 7], [0, -1, 7]])
    plane = principal(cross)
    np.testing.assert_allclose(plane.axes, [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(plane.share, [0.9, 0.1])
    np.testing.assert_allclose(plane.placed(np.array([[5.0, 2.0, 100.0]])), [[5, 2]], atol=1e-6)


def made(n: int, k: int) -> tuple[Samples, Poison]:
    """n poisons, each its base plus one, of k classes in turn."""
    base = Samples(np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2, 1), np.arange(n) % k)
    return base, Poison(Samples(base.x[::-1] + 1, base.y[::-1]), np.arange(n)[::-1])


def test_ten_poisons_are_shown_beside_their_own_originals_one_of_each_class() -> None:
    base, poison = made(40, 10)
    found = pairs(base, poison, {"psnr": np.arange(40.0), "seconds": np.ones(40)}, seed=0)
    assert found["label"].tolist() == list(range(10))
    assert (found["poison"] == found["original"] + 1).all()
    assert set(found) == {"original", "poison", "label", "fact.psnr"}
    again = pairs(base, poison, {}, seed=1)
    assert (again["poison"] != found["poison"]).any()


def test_the_axes_are_those_of_clean_features_whatever_is_injected(rng: np.random.Generator) -> None:
    base, poison = made(4, 2)
    clean: tuple[Array, Array] = (rng.normal(size=(30, 5)), np.zeros(30, dtype=np.int64))
    far: tuple[Array, Array] = (100 + rng.normal(size=(4, 5)), poison.samples.y)
    found = illustration(base, poison, {}, {"pool": clean, "poisoned": far}, seed=0)
    without = illustration(base, poison, {}, {"pool": clean}, seed=0)
    assert (found["map.pool"] == without["map.pool"]).all()
    assert "map.poisoned" not in without
    np.testing.assert_allclose(found["map.pool"].mean(axis=0), 0, atol=1e-6)
    none = Poison(poison.samples[:0], poison.base[:0])
    assert illustration(base, none, {}, {"pool": clean}, seed=0) == {}
