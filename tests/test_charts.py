"""The charts of the board: which there are, what they hold, that no record breaks them, and how they are drawn."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from molebench.cards import UNRANKED
from molebench.leaderboard.charted import every, kinds, written
from molebench.leaderboard.charts import collisions, courses, dose, forest, heatmap, pareto, rho, shares, sizes
from molebench.leaderboard.charts.chart import Chart
from molebench.leaderboard.charts.drawing import drawn, pictures
from molebench.leaderboard.charts.words import distinct, figure, filed, plain
from molebench.leaderboard.standings import Entry, Interval, Met, Setting, Standings
from molebench.record import Record
from molebench.stages import canonical, key, save_arrays
from molebench.store import ILLUSTRATION
from tests.board_records import add
from tests.commands import one_line, typed
from tests.stored import content

HOSTILE = "</script><img src=x onerror=alert(1)> $\\frac{1}{0}$ [a].b'\"\u202e\x00\ud800"
CLASSES = ["cat", "dog", "fox"]
Content = dict[str, Any]


# Records of three classes, made up


def arm(right: Sequence[int], trace: Mapping[str, list[float]] | None = None) -> Content:
    """Ten test items of each class, so many of them right."""
    confusion = [[n if i == j else (10 - n if j == (i + 1) % 3 else 0) for j in range(3)] for i, n in enumerate(right)]
    files = {"predictions": "a.safetensors", "predictions_sha256": "0" * 64}
    return {"n": [10] * 3, "correct": list(right), "confusion": confusion, "trace": dict(trace or {}), **files}


def record(scenario: str, arms: Content, seed: int = 0, **changes: Any) -> Record:
    """A record of a scenario; changes: of attack's parameters, defenses, victim, updates, metrics."""
    new = content()
    cell = new["cell"]
    cell |= {"seed": seed, "defenses": changes.get("defenses", []), "victim": changes.get("victim", cell["victim"])}
    cell["attack"] = {"name": changes.get("attack", "attack"), "parameters": changes.get("parameters", {})}
    group = key({name: value for name, value in cell.items() if name != "seed"})
    new |= {"scenario": scenario, "arms": arms, "seeds": {"cell": seed}, "key": key(cell), "group": group}
    new |= {"updates": changes.get("updates", []), "metrics": metrics(changes.get("metrics", {})), "status": "ok"}
    new["data"]["classes"] = changes.get("classes", CLASSES)
    new["weights"] = []
    return Record.model_validate(new).sealed()


def metrics(values: Mapping[str, float]) -> Content:
    """Figures with an interval of a point on either side."""
    return {n: {"value": v, "low": v - 1, "high": v + 1, "definition": ""} for n, v in values.items()}


def update(pairs: Sequence[tuple[str, str]], moles: int, rho: float | None = 0.5, **arms: Sequence[int]) -> Content:
    """An update for these pairs of (attacked, confounding)."""
    named = [{"attacked": a, "confounding": c, "rho": rho, "n": moles, "mean_score": 0.5} for a, c in pairs]
    return {"pairs": named, "moles": moles, "size": 30, "arms": {name: arm(right) for name, right in arms.items()}}


def query_trace(poisons: Sequence[float]) -> dict[str, list[float]]:
    """Of a learner that buys ten labels a round."""
    x = [10.0 * i for i in range(len(poisons))]
    return {"queries": x, "poisons": [float(n) for n in poisons], "accuracy": [0.5] * len(x)}


def active(seed: int = 0, defended: bool = False, **changes: Any) -> Record:
    """An active cell: the attack gets in, its control hardly, and a defense stops it."""
    arms = {
        "clean_undefended": arm([9, 9, 9], query_trace([0, 0, 0])),
        "poisoned_undefended": arm([5, 5, 5], query_trace([0, 10, 16])),
        "control_undefended": arm([9, 9, 8], query_trace([0, 1, 2])),
    }
    if defended:
        arms |= {name: arm([9, 9, 8], query_trace([0, 0, 1])) for name in ("clean_defended", "poisoned_defended")}
        changes.setdefault("defenses", [{"name": "sieve", "parameters": {}}])
    figures = {"delta_total": -40.0 - seed, **({"delta_total_defended": -3.0, "clean_cost": -1.0} if defended else {})}
    return record("active", arms, seed, **{"metrics": figures, **changes})


PAIRS = [("cat", "dog"), ("dog", "cat"), ("fox", "dog")]


def offline(seed: int = 0, sizes: Sequence[int] = (20,), defended: bool = False, **changes: Any) -> Record:
    """An offline cell: an update takes 2 of 10 right answers from its class, one more for each size above the first."""
    found = []
    for place, pair in enumerate(PAIRS):
        for i, n in enumerate(sizes):
            hit = [9 - (2 + i if c == CLASSES.index(pair[0]) else 0) for c in range(3)]
            after = {"poisoned_undefended": hit, "control_undefended": [9, 9, 9]}
            found.append(
                update([pair], n, 0.2 * place, **after, **({"poisoned_defended": [9, 9, 9]} if defended else {}))
            )
    clean = {"clean_undefended": arm([9, 9, 9])} | ({"clean_defended": arm([9, 9, 9])} if defended else {})
    changes.setdefault("defenses", [{"name": "sieve", "parameters": {}}] if defended else [])
    figures = {
        "mean_delta_a": -20.0,
        "mean_delta_a_control": 0.0,
        **({"mean_delta_a_defended": 0.0} if defended else {}),
    }
    return record("offline", clean, seed, **{"updates": found, "metrics": figures, **changes})


def continual(seed: int = 0, name: str = "learner", attacked: bool = False) -> Record:
    """A continual cell of two tasks, its second pair attacked."""
    trace = {"classes": [2.0, 3.0], "accuracy": [0.9 - 0.1 * seed, 0.6]}
    arms = {"clean_undefended": arm([9, 9, 9], trace)}
    victim = {"name": name, "parameters": {}}
    if not attacked:
        return record("continual", arms, seed, attack="none", victim=victim)
    arms["poisoned_undefended"] = arm([4, 8, 9], trace)
    late = [update([], 0), update([("cat", "fox"), ("dog", "fox")], 40)]
    return record("continual", arms, seed, victim=victim, updates=late, metrics={"mean_delta_a": -30.0})


def mapped(folder: Path, n: int = 30, **changes: Any) -> Path:
    """A cell's folder with a map of features."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        f"map.{name}": rng.normal(size=(n, 2)).astype(np.float32) for name in ("pool", "poisoned", "control")
    }
    arrays |= {f"{name}.label": rng.integers(0, 3, n) for name in list(arrays)}
    arrays |= {"map.share": np.array([0.5, 0.2])} | changes
    folder.mkdir(parents=True, exist_ok=True)
    save_arrays(folder / ILLUSTRATION, {name: each for name, each in arrays.items() if each is not None})
    return folder


def interval(value: float | int) -> Interval:
    """Two points on either side."""
    return Interval(float(value), float(value - 2), float(value + 2))


def entry(defense: str, score: float | int, cost: float | int | None, **changes: Any) -> Entry:
    """An entry that met one attack."""
    span = interval(score)
    price = None if cost is None else interval(cost)
    made = Entry(defense, span, "attack", (Met("attack", ("k",), span),), (), 5, price, "ranked", "", (1, 2), 1)
    return replace(made, **changes)


def standings(*entries: Entry, figure: str = "delta_total") -> Standings:
    """A setting with these entries."""
    setting = Setting("learner-digits-tiny", "active", "learner", "digits", "tiny", "")
    return Standings(setting, figure, tuple(sorted({m.attack for e in entries for m in e.met})), entries)


def by_columns(chart: Chart) -> list[dict[str, Any]]:
    """The rows of a chart by column."""
    return [dict(zip(chart.columns, row, strict=True)) for row in chart.rows]


@pytest.fixture
def all_kinds(tmp_path: Path) -> list[Chart]:
    """A chart of every kind, from made-up records."""
    found = [active(s) for s in (0, 1)] + [active(0, defended=True), active(parameters={"n_poison": 7})]
    found += [active(parameters={"n_poison": 70}), offline(sizes=(10, 80)), offline(1, sizes=(10, 80))]
    found += [offline(defended=True), continual(), continual(1), continual(name="other"), continual(0, attacked=True)]
    folders = {found[0].key: mapped(tmp_path / "cell")}
    board = standings(entry("none", -40, None), entry("sieve", -3, -1), entry("net", -9, -4))
    return every(found, folders, [board])


# Which there are


def test_every_kind_of_chart_is_a_file_in_the_folder_and_made_where_records_call_for_it(all_kinds: list[Chart]) -> None:
    names = {"collisions", "courses", "dose", "forest", "heatmap", "pareto", "rho", "shares", "sizes"}
    assert set(kinds()) == {chart.name.partition("-")[0] for chart in all_kinds} == names
    assert [chart.name for chart in all_kinds] == sorted({chart.name for chart in all_kinds})


def test_no_records_make_no_charts() -> None:
    assert every([], {}, []) == []


def test_where_charts_are_too_many_every_kind_keeps_its_largest() -> None:
    many = [active(parameters={"flavour": str(i)}) for i in range(9)] + [active(1, parameters={"flavour": "5"})]
    found = every([*many, offline(), continual(), continual(name="other")], {}, [], most=5)
    assert len(found) == 5
    assert {chart.name.partition("-")[0] for chart in found} == {"courses", "heatmap", "rho", "shares"}
    assert any(f"cell {many[5].key}" in chart.subjects for chart in found)


def test_a_chart_names_whose_pages_it_stands_on() -> None:
    (chart,) = shares.charts([active(defended=True)], {}, [])
    assert {"scenario active", "attack attack", "defense sieve", "victim al_efficientnet_lite0"} < set(chart.subjects)


def test_records_in_another_order_make_the_same_charts(all_kinds: list[Chart]) -> None:
    found = [active(s) for s in range(3)] + [offline(s, sizes=(10, 80)) for s in range(3)]
    one, two = (every(order, {}, []) for order in (found, found[::-1]))
    assert [(c.name, c.title, c.caption, c.rows, c.spec) for c in one] == [
        (c.name, c.title, c.caption, c.rows, c.spec) for c in two
    ]


# What they hold


def test_shares_are_of_all_labels_bought_so_far_with_that_of_the_round_beside() -> None:
    (chart,) = shares.charts([active(defended=True)], {}, [])
    rows = [row for row in by_columns(chart) if row["line"] == "attack, undefended"]
    assert [(r["queries"], r["share"], r["round"], r["low"]) for r in rows] == [
        (10, 100, 100, None),
        (20, 80, 60, None),
    ]
    assert {row["line"] for row in by_columns(chart)} == {
        "attack, undefended",
        "attack, defended",
        "control, undefended",
    }


def test_traces_that_do_not_fit_together_make_no_chart() -> None:
    broken = active()
    broken.arms["poisoned_undefended"].trace["queries"].pop()
    assert list(shares.charts([broken], {}, [])) == []
    late = continual(attacked=True)
    late.arms["poisoned_undefended"].trace["classes"].reverse()
    assert list(courses.charts([late], {}, [])) == []


def test_a_heat_map_holds_the_mean_change_of_each_pair_over_updates_and_seeds() -> None:
    harder = [update([("cat", "dog")], 40, 0.6, poisoned_undefended=[3, 9, 9]), *offline().model_dump()["updates"]]
    (chart,) = heatmap.charts([offline(), offline(1, updates=harder)], {}, [])
    rows = {(row["attacked"], row["confounding"]): row for row in by_columns(chart)}
    assert rows["cat", "dog"]["delta"] == pytest.approx(100 * (-0.2 - 0.2 - 0.6) / 3)
    assert rows["cat", "dog"]["updates"] == 3
    assert rows["cat", "dog"]["moles"] == pytest.approx(80 / 3)
    assert rows["fox", "dog"] == {
        "attacked": "fox",
        "confounding": "dog",
        "delta": -20,
        "rho": 0.4,
        "moles": 20,
        "updates": 2,
    }
    assert len(rows) == 3


def test_what_is_undefended_is_shown_once_and_behind_each_defense_what_it_leaves() -> None:
    found = [offline(), offline(defended=True), offline(defended=True, defenses=[{"name": "net", "parameters": {}}])]
    charts = list(heatmap.charts(found, {}, []))
    assert [[row["delta"] for row in by_columns(chart)] for chart in charts] == [[-20.0] * 3, [0.0] * 3, [0.0] * 3]
    assert ["sieve" in chart.title for chart in charts] == [False, False, True]


def test_a_continual_learner_is_judged_by_its_last_task() -> None:
    (chart,) = heatmap.charts([continual(attacked=True)], {}, [])
    assert [row["delta"] for row in by_columns(chart)] == [-50.0, -10.0]
    assert "counts for each" in chart.caption


def test_doses_are_the_cells_that_differ_in_one_number_of_their_attack() -> None:
    def cell(n: int, steps: int, delta: float, seed: int = 0) -> Record:
        return active(seed, parameters={"n_poison": n, "steps": steps, "flavour": "x"}, metrics={"delta_total": delta})

    found = [cell(10, 5, -1.0), cell(100, 5, -9.0), cell(100, 5, -11.0, seed=1), cell(1000, 7, -50.0)]
    (chart,) = dose.charts(found, {}, [])
    assert "attack.n_poison" in chart.title
    (low, high) = by_columns(chart)
    assert (low["dose"], low["delta"], low["low"], low["high"], low["seeds"]) == (10, -1, -2, 0, 1)
    assert (high["dose"], high["delta"], high["seeds"]) == (100, -10, 2)
    assert high["low"] == pytest.approx(-10 - 12.7062, abs=1e-3)  # Student's, of one degree of freedom


def test_sizes_are_means_over_pairs_and_the_pair_that_loses_most() -> None:
    worse = offline(sizes=(10, 80)).model_dump()["updates"]
    worse[0]["arms"]["poisoned_undefended"] = arm([1, 9, 9])
    (chart,) = sizes.charts([offline(sizes=(10, 80), updates=worse)], {}, [])
    rows = {(row["line"], row["moles"]): row["delta"] for row in by_columns(chart)}
    assert rows["attack, undefended", 10] == -40
    assert rows["attack, undefended: worst pair", 10] == -80
    assert rows["attack, undefended", 80] == rows["attack, undefended: worst pair", 80] == -30
    assert rows["control, undefended", 80] == 0
    assert list(sizes.charts([offline()], {}, [])) == []


def test_rho_is_a_point_a_pair() -> None:
    (chart,) = rho.charts([offline(), offline(1)], {}, [])
    points = [
        (row["attacked"], row["rho"], row["delta"]) for row in by_columns(chart) if row["arm"] == "attack, undefended"
    ]
    assert sorted(points) == [("cat", 0, -20), ("dog", 0.2, -20), ("fox", 0.4, -20)]


def test_courses_set_the_victims_of_a_dataset_side_by_side_and_the_arms_of_an_attack() -> None:
    found = [continual(), continual(1), continual(name="other"), continual(attacked=True, name="third")]
    together, attacked = courses.charts(found, {}, [])
    rows = {(row["line"], row["classes"]): row for row in by_columns(together)}
    assert {name for name, _ in rows} == {"learner", "other", "third"}
    assert rows["learner", 2]["accuracy"] == 85
    assert rows["other", 2]["low"] is None
    assert {row["line"] for row in by_columns(attacked)} == {"clean, undefended", "attack, undefended"}


def test_a_map_shows_each_set_of_poisons_once_thins_the_pool_and_names_classes(tmp_path: Path) -> None:
    found = [active(), active(defended=True)]
    folders = {r.key: mapped(tmp_path / r.key, n=1500) for r in found}
    (chart,) = collisions.charts(found, folders, [])
    rows = by_columns(chart)
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in ("poison", "control item", "clean item")}
    assert counts == {"poison": 500, "control item": 500, "clean item": 1000}
    assert "2500 points are left out" in chart.caption
    assert {row["class"] for row in rows} == set(CLASSES)


@pytest.mark.parametrize(
    "change",
    [
        {"map.pool": np.zeros((30, 3), np.float32)},
        {"map.pool": np.full((30, 2), np.nan, np.float32)},
        {"map.pool.label": np.full(30, 3)},
        {"map.pool.label": np.zeros(29, np.int64)},
        {"map.poisoned": np.zeros((30, 2), np.int64)},
        {"map.share": np.zeros(3)},
        {"map.pool": None},
        {"map.poisoned": None, "map.control": None},
    ],
)
def test_a_foreign_map_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    one = active()
    assert list(collisions.charts([one], {one.key: mapped(tmp_path / "a", **change)}, [])) == []


def test_a_damaged_or_missing_map_is_none(tmp_path: Path) -> None:
    one, folder = active(), mapped(tmp_path / "a")
    assert len(list(collisions.charts([one], {one.key: folder}, []))) == 1
    whole = (folder / ILLUSTRATION).read_bytes()
    for damaged in (whole[:-3], whole[:-1] + b"\x55", b"", b"nonsense"):
        (folder / ILLUSTRATION).write_bytes(damaged)
        assert list(collisions.charts([one], {one.key: folder}, [])) == []
    (folder / ILLUSTRATION).unlink()
    assert list(collisions.charts([one], {one.key: folder}, [])) == []
    assert list(collisions.charts([one], {}, [])) == []


def test_a_forest_holds_the_numbers_of_the_standings_and_beside_them_no_defense_and_control() -> None:
    bare = offline(metrics={"mean_delta_a": -20.0, "mean_delta_a_control": 1.0, "mean_delta_a_defended": -4.0})
    met = (Met("attack", (bare.key,), interval(-4)), Met("unmeasured", (), None))
    (chart,) = forest.charts([bare], {}, [standings(entry("sieve", -4, None, met=met), figure="mean_delta_a")])
    rows = {row["defense"]: row for row in by_columns(chart)}
    assert rows["sieve"] == {
        "defense": "sieve",
        "attack": "attack",
        "delta": -4,
        "low": -6,
        "high": -2,
        "seeds": 1,
        "standing": "rank 1-2",
    }
    assert rows["no defense"]["delta"] == -20
    assert rows["control, no defense"]["delta"] == 1
    assert len(rows) == 3


def test_a_forest_of_very_many_defenses_keeps_the_best_and_says_so() -> None:
    board = standings(*(entry(f"defense_{i}", -i, None) for i in range(200)))
    (chart,) = forest.charts([], {}, [board])
    assert len(chart.rows) == 60
    assert chart.rows[0][0] == "defense_0"
    assert "60 first of 200" in chart.caption


def test_attacks_of_one_name_are_told_apart_by_what_differs() -> None:
    names = ["mole a=1 n=5", "mole a=1 n=6", "none a=1"]
    assert forest.told_apart(names) == ["mole n=5", "mole n=6", "none"]


def test_the_front_is_whoever_no_other_beats_in_both() -> None:
    assert pareto.front([(0.0, -40.0), (-1.0, -3.0), (-4.0, -9.0), (-6.0, -1.0), (-6.0, -2.0)]) == {
        (0, -40),
        (-1, -3),
        (-6, -1),
    }
    assert pareto.front([(0.0, 0.0), (0.0, 0.0)]) == {(0, 0)}


def test_who_is_told_the_truth_or_has_not_met_every_attack_beats_nobody() -> None:
    told = active(defended=True).model_copy(update={"trusted_data": dict.fromkeys(UNRANKED, 1)})
    entries = [
        entry("none", -40, None),
        entry("sieve", -3, -1),
        entry("unpriced", -1, None),
        entry("partial", 0, 0, missing=("attack",)),
        entry("oracle", 0, 0, met=(Met("attack", (told.key,), interval(0)),)),
    ]
    assert not told.rankable
    (chart,) = pareto.charts([told], {}, [standings(*entries)])
    places = {row["defense"]: row["place"] for row in by_columns(chart)}
    apart = "not comparable (see its standing)"
    assert places == {"no defense": "no defense", "sieve": "on the front", "partial": apart, "oracle": apart}
    assert "left out: 1" in chart.caption


# What browsers get


def test_specifications_hold_no_data_but_a_constant_no_address_and_no_field_but_the_columns(
    all_kinds: list[Chart],
) -> None:
    for chart in all_kinds:
        assert "data" not in chart.spec
        assert "://" not in json.dumps(chart.spec)
        assert all(data == {"values": [{}]} for data in found(chart.spec, "data"))
        fields = [field for field in found(chart.spec, "field") if isinstance(field, str)]
        assert set(fields) <= set(chart.columns)
        assert all(re.fullmatch("[A-Za-z0-9_ ]+", column) for column in chart.columns)
        assert not {"expr", "test", "url", "href", "calculate", "signal"} & set(names(chart.spec))


def found(tree: object, name: str) -> Iterator[Any]:
    """Every value of a name in a tree."""
    children = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else []
    for own, value in children:
        if own == name:
            yield value
        yield from found(value, name)


def names(tree: object) -> Iterator[str]:
    """Every name in a tree."""
    children = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else []
    for own, value in children:
        yield str(own)
        yield from names(value)


def test_rows_and_specifications_are_json_and_at_most_two_thousand_rows(all_kinds: list[Chart]) -> None:
    for chart in all_kinds:
        assert 0 < len(chart.rows) <= 2000
        assert {len(row) for row in chart.rows} == {len(chart.columns)}
        canonical([chart.spec, chart.rows])  # refuses NaN


def test_numbers_are_short_and_finite() -> None:
    values = (1 / 3, -0.0, 5, None, float("nan"), float("inf"), 1e300)
    assert [figure(value) for value in values] == [0.333333, 0, 5, None, None, None, None]


def test_labels_are_short_visible_and_distinct() -> None:
    long = distinct(["x" * 10_000_000 + "a", "x" * 10_000_000 + "b", "", "\u202e"])
    assert len(set(long)) == 4
    assert max(map(len, long)) < 60
    assert plain("a\nb\tc\x00").startswith("a b c")
    assert "\u202e" not in plain("\u202eabc")
    plain(HOSTILE).encode()


def test_names_are_files_names_whatever_a_record_is_called() -> None:
    name = filed("shares", ["../../etc/passwd", "CON", HOSTILE, "x" * 1000], 1)
    assert re.fullmatch("[a-z0-9-]{1,110}", name)
    assert filed("shares", ["a"], 1) != filed("shares", ["a"], 2)


def test_hostile_records_make_harmless_charts(tmp_path: Path) -> None:
    kinds_of = [HOSTILE, f"{HOSTILE}2", "$x$"]
    updates = json.loads(json.dumps(offline(sizes=(10, 80)).model_dump()["updates"]))
    for each in updates:
        each["pairs"][0].update(attacked=kinds_of[0], confounding=kinds_of[1])
    updates[0]["pairs"][0].update(attacked=kinds_of[2])
    bad = {"attack": HOSTILE, "victim": {"name": HOSTILE, "parameters": {HOSTILE: HOSTILE}}, "classes": kinds_of}
    hidden = [active(parameters=sealable({HOSTILE: n}), **sealable(bad)) for n in (1, 5)]
    hidden.append(offline(sizes=(10, 80), updates=sealable(updates), **sealable(bad)))
    board = standings(entry(HOSTILE, -3, -1), entry("none", -9, None))
    charts = every(hidden, {hidden[0].key: mapped(tmp_path / "a")}, [board])
    assert len({chart.name.partition("-")[0] for chart in charts}) == 7
    for chart in charts:
        assert re.fullmatch("[a-z0-9-]+", chart.name)
        text = canonical([chart.title, chart.caption, chart.rows, chart.spec])
        assert not {"\u202e", "\\u0000"} & set(text)
        assert len(text) < 100_000
        svg = ElementTree.fromstring(drawn(chart, "svg"))  # well-formed
        assert {node.tag.rpartition("}")[2] for node in svg.iter()}.isdisjoint({"script", "img", "a"})
        links = [value for node in svg.iter() for name, value in node.attrib.items() if name.endswith("href")]
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def sealable(value: Any) -> Any:
    """The same without lone surrogates, which no record's file can hold."""
    return json.loads(json.dumps(value).replace("\\ud800", ""))


def test_counts_that_are_not_of_the_classes_make_no_chart() -> None:
    short = offline()
    short.updates[0].arms["poisoned_undefended"].n.pop()
    stranger = offline(1)
    stranger.data.classes[0] = "wolf"
    for broken in (short, stranger):
        assert every([broken], {}, []) == []


# Pictures


def test_the_same_chart_gives_the_same_bytes_without_a_date_and_text_stays_text(all_kinds: list[Chart]) -> None:
    chart = next(c for c in all_kinds if c.name.startswith("forest"))
    one, two = pictures(chart, ("svg", "png", "pdf")), pictures(chart, ("png", "svg", "pdf"))
    assert one == two
    svg = one["svg"].decode()
    assert "sieve</text>" in svg
    assert "<dc:date>" not in svg
    assert one["png"].startswith(b"\x89PNG")
    assert one["pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in one["pdf"]


def test_every_kind_can_be_drawn(all_kinds: list[Chart]) -> None:
    first = {chart.name.partition("-")[0]: chart for chart in all_kinds}
    for chart in first.values():
        svg = drawn(chart, "svg").decode()
        assert plain(chart.title).split()[0] in svg


# molebench report --charts


def test_report_draws_the_charts_of_a_store_names_them_and_replaces_its_own(workspace: Any, tmp_path: Path) -> None:
    add(workspace.store, 1, lambda new: new.update(status="ok", warnings=[]))
    out = tmp_path / "pictures"
    done = typed(workspace, "report", "--charts", str(out), "--picture", "png")
    assert done.returncode == 0, done.stderr
    files = sorted(out.iterdir())
    assert sorted(Path(line) for line in done.stdout.splitlines()) == files
    assert {file.name.partition("-")[0] for file in files} >= {"forest", "shares"}
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    (out / "forest-of-an-earlier-day-0123456789.png").write_bytes(b"old")
    again = typed(workspace, "report", "--charts", str(out))
    assert again.returncode == 0, again.stderr
    assert {file.suffix for file in out.iterdir()} == {".svg"}


def test_report_refuses_a_foreign_or_unwritable_place_and_an_unknown_form(workspace: Any, tmp_path: Path) -> None:
    add(workspace.store, 0)
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.tex").write_text("mine", "utf-8")
    refused = one_line(typed(workspace, "report", "--charts", str(mine)))
    assert "holds chapter.tex, which is no chart of ours" in refused
    assert [file.name for file in mine.iterdir()] == ["chapter.tex"]
    file = tmp_path / "a file"
    file.write_text("mine", "utf-8")
    assert "cannot write" in one_line(typed(workspace, "report", "--charts", str(file)))
    assert "cannot write" in one_line(typed(workspace, "report", "--charts", str(file / "below")))
    assert "no form of pictures named 'gif'" in one_line(
        typed(workspace, "report", "--charts", str(tmp_path / "new"), "--picture", "gif")
    )
    assert not (tmp_path / "new").exists()


def test_report_of_nothing_to_draw_is_one_line(workspace: Any, tmp_path: Path) -> None:
    assert "nothing to draw" in one_line(typed(workspace, "report", "--charts", str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def test_charts_that_were_drawn_before_are_replaced_whole(all_kinds: list[Chart], tmp_path: Path) -> None:
    chart = next(c for c in all_kinds if c.name.startswith("rho"))
    (path,) = written([chart], tmp_path / "new", "svg")
    before = path.read_bytes()
    assert written([chart], tmp_path / "new", "svg") == [path]
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
