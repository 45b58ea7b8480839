"""What can be taken away: numbers as numbers, text that no spreadsheet computes, tables for LaTeX, references."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from molebench.leaderboard.boards import boards
from molebench.leaderboard.charts.chart import Chart
from molebench.leaderboard.downloads import charts, downloads, of_tables, painting
from molebench.leaderboard.site import Site
from molebench.leaderboard.tables import as_csv, as_latex, csv_text
from tests.conftest import ROOT
from tests.test_site_pages import HOSTILE, entry, seeded, standing


def taken(site: Site) -> dict[str, bytes]:
    """Every file that is no page."""
    with painting(site) as pictures:
        return {file.path: file.content for file in [*downloads(site), *charts(site, pictures)]}


def rows(content: bytes) -> list[dict[str, str]]:
    """A CSV file's rows."""
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_every_record_is_there_as_it_is(tmp_path: Path) -> None:
    record = seeded(4)
    assert taken(Site([record]))[f"data/{record.key}.json"].decode() == record.text()
    (tmp_path / "record.json").write_text(f" {record.text()}", "utf-8")
    assert taken(Site([record], {record.key: tmp_path}))[f"data/{record.key}.json"].decode() == f" {record.text()}"


def test_records_csv_has_a_line_for_each_record_with_all_its_metrics() -> None:
    records = [seeded(4), seeded(5)]
    found = rows(taken(Site(records))["data/records.csv"])
    assert [row["key"] for row in found] == [record.key for record in records]
    figure = records[0].metrics["delta_total"]
    assert [float(found[0][n]) for n in ("delta_total", "delta_total_low", "delta_total_high")] == [
        figure.value,
        figure.low,
        figure.high,
    ]
    assert (found[0]["seed"], found[0]["status"], found[0]["rankable"]) == ("4", "unhealthy", "no")


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\tx", "\rx"])
def test_no_spreadsheet_computes_what_a_record_says(text: str) -> None:
    ((field, number),) = list(csv.reader(io.StringIO(csv_text(["a", "b"], [[text, -1.5]])), strict=True))[1:]
    assert field.startswith("'")
    assert float(number) == -1.5
    found = rows(taken(Site([seeded(0, cell={"profile": text})]))["data/records.csv"])
    assert found[0]["profile"][0] == "'"


def test_boards_are_there_for_programs() -> None:
    records = [seeded(0), seeded(1)]
    best = entry("deep_knn", -1.5, records, state="ranked", why="", rank=(1, 2), group=1)
    found = taken(Site(records, standings=[standing(records, best)]))
    (plain,) = json.loads(found["data/board.json"])
    assert plain["setting"]["victim"] == "al_efficientnet_lite0"
    assert plain["entries"][0]["rank"] == [1, 2]
    assert plain["entries"][0]["met"][0]["keys"] == [record.key for record in records]
    (row,) = rows(found["data/board.csv"])
    assert (row["defense"], row["place_low"], row["place_high"], row["score"]) == ("deep_knn", "1", "2", "-1.5")


def test_a_board_s_table_can_be_had_for_spreadsheets_and_papers() -> None:
    record = seeded(0)
    hostile = entry(r"a_b & \input{x} <b>", -1.5, [record], why="=1")
    (page,) = boards(Site([record], standings=[standing([record], hostile)]))
    files = {file.path: file.content.decode() for file in of_tables(page)}
    assert set(files) == {"tables/board-active-lite0-x.csv", "tables/board-active-lite0-x.tex"}
    (table,) = page.tables
    ((head, row),) = [list(csv.reader(io.StringIO(as_csv(table))))]
    found = dict(zip(head, row, strict=True))
    assert (found["score"], found["score_low"], found["score_high"], found["why"]) == ("-1.5", "-2.5", "-0.5", "'=1")
    latex = as_latex(table)
    assert r"a\_b \& \textbackslash{}input\{x\}" in latex
    assert r"\toprule" in latex


def test_references_are_bibtex_and_name_molebench() -> None:
    found = taken(Site([seeded(0, cell={"attack": {"name": "feature_collision", "parameters": {}}})]))
    assert b"@inproceedings{mueller2021adversarial" in found["cite/attack-feature-collision.bib"]
    assert b"@software{molebench" in found["cite/attack-feature-collision.bib"]
    assert found["cite/all.bib"].count(b"@inproceedings{mueller2021adversarial") == 1


def test_a_hostile_name_stays_in_its_folder() -> None:
    cell = {"attack": {"name": "../../x", "parameters": {}}, "defenses": [{"name": HOSTILE, "parameters": {}}]}
    assert all(Path(path).parts[0] in FOLDERS for path in taken(Site([seeded(0, cell=cell)])))
    assert not any(".." in Path(path).parts for path in taken(Site([seeded(0, cell=cell)])))


FOLDERS = {"static", "vendor", "data", "cite", "tables", "charts"}


def test_styles_and_scripts_are_there_as_they_are() -> None:
    found = taken(Site([seeded(0)]))
    for path in (ROOT / "leaderboard" / "static").glob("*.*"):
        assert found[f"static/{path.name}"] == path.read_bytes()


def test_a_chart_is_there_as_pictures_and_numbers() -> None:
    def draw(chart: Chart) -> Any:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([row[1] for row in chart.rows])
        return figure

    chart = Chart("dose", "Dose", "Read it.", ("who", "points"), (("=a", -1.0), ("b", 2.0)), (), {}, draw)
    found = taken(Site([seeded(0)], charts=[chart]))
    assert found["charts/dose.svg"].startswith(b"<?xml")
    assert found["charts/dose.png"].startswith(b"\x89PNG")
    assert rows(found["charts/dose.csv"])[0] == {"who": "'=a", "points": "-1.0"}
