"""What each page says: figures with their records, places, cards, papers, glossary, threats, coverage; hostile text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from molebench.leaderboard import cells as all_cells
from molebench.leaderboard.charts.chart import Chart
from molebench.leaderboard.failures import failures
from molebench.leaderboard.naming import file_safe, paper_links, readable, slug
from molebench.leaderboard.pages import pages
from molebench.leaderboard.papers import agrees
from molebench.leaderboard.plugins import card
from molebench.leaderboard.rendering import navigation, rendered
from molebench.leaderboard.site import Site
from molebench.leaderboard.standings import Entry, Interval, Met, Setting, Standings
from molebench.leaderboard.tables import shard
from molebench.metrics import DEFINITIONS
from molebench.record import Record
from molebench.store import Store
from tests.board_records import resealed
from tests.stored import content
from tests.test_leaderboard import Page

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}</script>"


def seeded(seed: int, **more: Any) -> Record:
    """The first record under another seed; more: in place of what it says."""
    new = {**content(), **more}
    new["cell"] = {**content()["cell"], **more.get("cell", {}), "seed": seed}
    new["seeds"] = {**new["seeds"], "cell": seed}
    return resealed(new)


def shown(site: Site) -> dict[str, Page]:
    """Every page of a site, read strictly."""
    links = navigation(site)
    return {page.path: Page(rendered(page, links).content.decode()) for page in pages(site)}


@pytest.fixture(scope="module")
def one() -> dict[str, Page]:
    """The pages of one record."""
    return shown(Site([seeded(0)]))


def entry(defense: str, score: float, records: list[Record], **more: Any) -> Entry:
    """An entry that one attack has met."""
    figure = Interval(score, score - 1, score + 1)
    met = (Met("noise", tuple(record.key for record in records), figure),)
    given: dict[str, Any] = {"state": "shown", "why": "status unhealthy", "rank": None, "group": None, "cost": None}
    given |= {"worst": "noise", "met": met, "missing": (), "seeds": 2, **more}
    return Entry(defense=defense, score=figure, **given)


def standing(records: list[Record], *entries: Entry) -> Standings:
    """The standings of one setting."""
    setting = Setting("lite0-x", "active", "al_efficientnet_lite0", "photo_patches", "tiny", "victim.head=nn2")
    return Standings(setting, "delta_total", ("noise",), entries or (entry("none", -12.25, records),))


# Rows, cells, boards


def test_seeds_are_one_row_whose_numbers_lead_to_their_records() -> None:
    records = [seeded(seed) for seed in (3, 5)]
    found = shown(Site(records))
    (row,) = found["cells.html"].table()
    assert (row["attack"], row["defenses"], row["seeds"], row["intervals over"]) == ("noise", "none", "3 5", "seeds")
    mean = sum(record.metrics["accuracy_clean"].value for record in records) / 2
    assert row["accuracy_clean"].startswith(f"{mean:.3f} [")
    assert {f"cell/{record.key}.html" for record in records} <= set(found["cells.html"].links)
    page = found[f"cell/{records[0].key}.html"]
    assert "seeds" in page.ids
    assert f"../cell/{records[1].key}.html" in page.links
    assert f"../data/{records[0].key}.json" in page.links


def test_what_sets_rows_of_the_same_names_apart_is_said() -> None:
    other = content()["cell"]["victim"]
    other = {**other, "parameters": {**other["parameters"], "head": "nn2"}}
    found = shown(Site([seeded(0), seeded(0, cell={"victim": other})]))
    assert {row["parameters"] for row in found["cells.html"].table()} == {"victim.head=nn1", "victim.head=nn2"}


def test_a_cell_s_page_has_every_metric_with_its_interval_and_meaning(one: dict[str, Page]) -> None:
    record = seeded(0)
    page = one[f"cell/{record.key}.html"]
    rows = {row[0]: row for row in page.rows}
    for name, figure in record.metrics.items():
        assert name in rows
        assert bool(rows[name][2]) == (figure.low is not None)
    assert rows["delta_total"][3] == DEFINITIONS["delta_total"]
    assert f"{sum(record.arms['clean_undefended'].correct)} of {sum(record.arms['clean_undefended'].n)}" in page.text
    assert "checked by others: claimed" in page.text
    told = shown(Site([record], tiers={record.key: "reproduced"}))[f"cell/{record.key}.html"].text
    assert "checked by others: reproduced" in told
    for said in (record.record_sha256, record.components[0].code_sha256, record.poison.sha256, record.warnings[0]):
        assert said in page.text


def test_a_board_says_who_stands_where_and_why_others_do_not() -> None:
    records = [seeded(0), seeded(1)]
    first = entry("deep_knn share=0.2", -1.5, records, state="ranked", why="", rank=(1, 3), group=1)
    site = Site(records, standings=[standing(records, first, entry("knn_head+unfreeze", -9.0, records))])
    found = shown(site)
    best, last = found["board-active.html"].table()
    assert (best["defense"], best["place"], best["tie group"]) == ("deep_knn share=0.2", "1–3", "1")
    assert (best["score"], best["noise"]) == ("-1.5 [-2.5, -0.5]", "-1.5 [-2.5, -0.5]")
    assert (last["place"], last["state"], last["why"]) == ("–", "shown", "status unhealthy")
    links = found["board-active.html"].links
    assert "defense-deep-knn.html" in links
    assert f"cell/{records[0].key}.html#seeds" in links
    short = found["index.html"].table()
    assert [row["defense"] for row in short] == ["deep_knn share=0.2", "knn_head+unfreeze"]
    assert "1 are ranked, 0 provisional" in found["index.html"].text


def test_a_scenario_without_standings_still_has_a_board(one: dict[str, Page]) -> None:
    assert "all cells has its records" in one["board-active.html"].text


def test_many_rows_take_several_pages_and_the_script_gets_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_cells, "PER_PAGE", 2)
    monkeypatch.setattr(all_cells, "PER_SHARD", 2)
    records = [seeded(0, cell={"profile": name}) for name in ("a", "b", "c", "d</script>", "e")]
    site = Site(records)
    found = shown(site)
    tables = {path: found[path].all("table")[0] for path in ("cells.html", "cells-2.html", "cells-3.html")}
    assert {table["data-shards"] for table in tables.values()} == {"data/rows-1.js data/rows-2.js data/rows-3.js"}
    files = {file.path: file.content.decode() for file in all_cells.shards(site)}
    assert list(files) == ["data/rows-1.js", "data/rows-2.js", "data/rows-3.js"]
    assert all(text.startswith("molebench.rows([{") for text in files.values())
    assert "<" not in "".join(files.values())
    assert sum(text.count('"id":') for text in files.values()) == 5


def test_what_may_not_be_ranked_says_why() -> None:
    records = [
        seeded(0, status="unhealthy", warnings=["the victim slept"]),
        seeded(0, status="ok", warnings=[], cell={"profile": "small"}, trusted_data={"labels": 3}),
        seeded(0, status="ok", warnings=[], cell={"profile": "paper"}, weights=[]),
    ]
    why = {row["profile"]: row["why it is not ranked"] for row in shown(Site(records))["cells.html"].table()}
    assert why["tiny"].startswith("status unhealthy")
    assert why["tiny"].endswith("the victim slept")
    assert "random weights" in why["small"]
    assert why["paper"] == ""


# Cards, papers, glossary, threats, coverage


def test_a_subject_s_page_has_its_card_paper_threat_model_and_parameters(one: dict[str, Page]) -> None:
    page = one["attack-noise.html"]
    assert "may inject, perturb; knows data, extractor" in page.text
    assert "psnr 30.0" in page.text
    assert "https://arxiv.org/abs/1909.13374" in one["defense-deep-knn.html"].links
    assert "no record has this defense" in one["defense-deep-knn.html"].text
    assert "acts at filter_train" in one["defense-deep-knn.html"].text


def test_what_is_not_installed_has_a_page_from_its_records() -> None:
    page = shown(Site([seeded(0, cell={"defenses": [{"name": "sieve", "parameters": {"mesh": 3}}]})]))[
        "defense-sieve.html"
    ]
    assert "Not part of the molebench that made these pages" in page.text
    assert "mesh 3" in page.text
    assert card("defense", "sieve") is None


@pytest.mark.parametrize(
    ("kind", "name", "paper"), [("victim", "al_resnet50", "IDA 2021"), ("dataset", "fsdd", "2018")]
)
def test_a_card_is_read_without_an_import(kind: str, name: str, paper: str) -> None:
    found = card(kind, name)
    assert found is not None
    assert paper in found.paper
    assert found.summary


def test_a_published_number_stands_beside_what_was_measured_or_is_said_to_be_missing(one: dict[str, Page]) -> None:
    page = one["papers.html"]
    rows = page.table()
    assert rows
    assert {row["verdict"] for row in rows} == {"not run"}
    assert all(row["measured"] == "–" and row["published"] != "–" for row in rows)


def test_a_record_is_about_a_published_row_where_it_has_every_parameter_that_the_row_sets() -> None:
    cell = {"attack": {"parameters": {"n": 100}}, "victim": {"parameters": {"head": "nn1"}}}
    assert agrees(cell, {"attack.n": 100, "victim.head": "nn1", "victim.tasks": 5})
    assert not agrees(cell, {"attack.n": 50})


def test_every_metric_is_explained_where_tables_lead(one: dict[str, Page]) -> None:
    ids = one["metrics.html"].ids
    assert set(DEFINITIONS) <= set(ids)
    assert {link.partition("#")[2] for link in one["cells.html"].links if link.startswith("metrics.html#")} <= set(ids)
    (row,) = (row for row in one["metrics.html"].table() if row["metric"] == "delta_total")
    assert row["meaning"] == DEFINITIONS["delta_total"]
    assert row["records that hold it"] == "1"


def test_the_threat_matrix_says_who_knows_what(one: dict[str, Page]) -> None:
    attacks = {row["attack"]: row for row in one["threats.html"].table() if "attack" in row}
    assert (attacks["noise"]["knows data"], attacks["noise"]["knows defense"]) == ("yes", "no")
    assert (attacks["noise"]["said by"], attacks["mole_recruitment"]["said by"]) == ("its records", "its card")
    assert attacks["mole_recruitment"]["may recruit"] == "yes"
    defenses = {row["defense"]: row for row in one["threats.html"].table() if "defense" in row}
    assert "ground_truth" in defenses["oracle_filter"]["sees beyond its view"]


def test_coverage_counts_what_was_run_and_names_what_failed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = seeded(7).cell
    said = {"cell": cell, "type": "CellFailed", "message": "no file /home/someone/data.npz"}
    store.failed("0" * 64, said)
    store.failed("0" * 64, said)
    store.failed("1" * 64, {"type": "CellFailed", "message": HOSTILE})
    records = [seeded(0), seeded(1, cell={"defenses": [{"name": "sieve", "parameters": {}}]})]
    page = shown(Site(records, failures=failures(tmp_path)))["coverage.html"]
    assert "0 of 2 combinations are missing" in page.text
    assert "2 CellFailed no file ‹path›" in " ".join(row_text(page))
    assert "/home" not in page.text
    assert "noise against al_efficientnet_lite0 on photo_patches, seed 7" in page.text
    assert {row["noise"] for row in page.table() if row.get("defenses")} == {"1 unhealthy"}


def row_text(page: Page) -> Iterator[str]:
    """Each row as one text."""
    return (" ".join(" ".join(cells).split()) for cells in page.rows)


def test_the_method_is_in_the_words_of_the_code_that_ranks(one: dict[str, Page]) -> None:
    text = one["method.html"].text
    assert {"score", "places", "states"} <= set(one["method.html"].ids)
    assert "Holm" in text


def test_a_chart_stands_on_its_subject_s_page_with_its_data_and_numbers() -> None:
    rows = (("</script><b>", 1.5), ("b", None))
    chart = Chart("dose", "Dose", "How to read it.", ("who", "points"), rows, ("attack noise",), {"mark": "bar"}, print)
    found = shown(Site([seeded(0)], charts=[chart]))
    page = found["attack-noise.html"]
    assert [f["id"] for f in page.all("figure")] == ["chart-dose"]
    (spec,) = (text for text in page.texts if '"mark"' in text)
    assert spec == (
        '{"mark":"bar","data":{"values":[{"who":"\\u003c/script\\u003e\\u003cb\\u003e","points":1.5},'
        '{"who":"b","points":null}]}}'
    )
    assert {"charts/dose.svg", "charts/dose.png", "charts/dose.csv"} <= set(page.links)
    assert ["</script><b>", "1.5"] in page.rows
    assert not found["attack-none.html"].all("figure")


# Text from elsewhere


def test_hostile_text_appears_as_text_on_every_page() -> None:
    cell = {
        "attack": {"name": HOSTILE, "parameters": {HOSTILE: HOSTILE}},
        "victim": {"name": HOSTILE, "parameters": {}},
        "dataset": {"name": HOSTILE, "parameters": {}},
        "defenses": [{"name": HOSTILE, "parameters": {}}],
        "profile": HOSTILE,
    }
    figures = {HOSTILE: {"value": 1.0, "low": None, "high": None, "definition": HOSTILE}}
    record = seeded(
        0,
        cell=cell,
        status="invalid",
        warnings=[HOSTILE],
        metrics={**content()["metrics"], **figures},
        scenario=HOSTILE,
    )
    found = shown(
        Site([record], standings=[standing([record], entry(HOSTILE, -1.0, [record], worst=HOSTILE, why=HOSTILE))])
    )
    for path, page in found.items():
        assert {"img", "iframe"}.isdisjoint(tag for tag, _ in page.tags), path
        assert all("src" in script for script in page.all("script")), path
        assert "&49" not in page.text, path
    (row,) = found["cells.html"].table()
    assert row["attack"] == row["victim"] == row["defenses"] == row["profile"] == HOSTILE
    assert HOSTILE in found[f"cell/{record.key}.html"].text


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "CON", "", "x" * 10_000, "<b>", "a--b", "split:x", "\u202e", "_"]
)
def test_a_name_becomes_a_file_name_that_is_nothing_else(name: str) -> None:
    assert set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 0 < len(slug(name)) <= 60
    assert file_safe(slug(name)) == slug(name)


def test_no_two_names_share_a_file() -> None:
    names = ["a_b", "a-b", "a--b", "A_b", "a b", "a__b", "ab", slug("a b"), slug("a b").replace("-", "_")]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("feature_collision") == "feature-collision"


def test_long_and_unseen_letters_are_cut_and_named() -> None:
    assert readable("ab\u202ecd\x00") == "ab‹U+202E›cd‹U+0000›"
    assert readable("x" * 10_000_000) == "x" * 300 + "… (cut: 10000000 letters)"
    assert readable("a\ud800") == "a\ufffd"
    long = shown(Site([seeded(0, warnings=["w" * 1_000_000])]))
    assert all("w" * 301 not in page.text for page in long.values())


def test_links_of_references_lead_over_https_to_what_they_name() -> None:
    assert paper_links("Jackson 2018, doi:10.5281/zenodo.1342401") == [
        ("doi:10.5281/zenodo.1342401", "https://doi.org/10.5281/zenodo.1342401")
    ]
    assert paper_links("javascript:alert(1) http://x arXiv:nope") == []


def test_rows_for_the_script_hold_no_letter_that_html_reads() -> None:
    site = Site([seeded(0, cell={"profile": "</script>\u2028&"})])
    columns = all_cells.columns_of(site)
    text = shard([all_cells.line(site.rows[0], columns)])
    assert not set("<>&\u2028") & set(text)
    assert '"\\u003c/script\\u003e\\u2039U+2028\\u203a\\u0026"' in text
