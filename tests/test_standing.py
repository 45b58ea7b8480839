"""Where a sweep stands can be read at any moment, from any shell; what a killed one left says that it was killed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from molebench.jobs import Ended, Got, Started
from molebench.standing import Notice, Standing, duration, folder, posted
from molebench.watching import JsonLines, Lines, display
from molebench.workspace import Workspace
from tests.null_sweeps import begun, molebench, sweep_file


def standing() -> Standing:
    """Ten cells, four of them done before; of this run's six one is done, one failed, one is half-way."""
    found = Standing("example", total=10, before=4, began=1000.0)
    for key in "abc":
        found.hear(Started(key, "worker 1"), f"cell {key}")
    found.hear(Ended("a", "ok", 30.0))
    found.hear(Ended("b", "failed", 10.0, "Boom", "it broke"))
    found.hear(Got("c", "training", 5, 10))
    return found


def test_rate_and_time_left_are_of_this_run_alone() -> None:
    found = standing()
    assert (found.done, found.finished, found.failed) == (5, 1, 1)
    assert found.per_minute(1060.0) == 1.0
    assert found.seconds_left(1060.0) == 300.0  # five cells, one a minute
    assert found.words(1060.0) == "5 of 10 cells done (4 before), 1 failed, 1 a minute, about 5 min left"
    assert [flight.words() for flight in found.flights.values()] == ["worker 1  cell c: training 5/10"]


def test_nothing_is_known_of_the_time_left_before_the_first_cell_is_done() -> None:
    assert Standing("example", 10, 0).seconds_left(2000.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.42, "0.4 s"), (41.0, "41 s"), (720.0, "12 min"), (11_100.0, "3 h 05 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_lines_say_how_cells_end_and_machines_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    end = Ended("a", "failed", 2.0, "Boom", "it broke")
    Lines(standing(), {"a": "cell a"}).hear(end)
    assert capsys.readouterr().err == "failed    cell a, 2.0 s: it broke\n"
    machine = JsonLines(standing())
    machine.hear(end)
    machine.tick()
    ended, totals = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (ended["event"], ended["key"], ended["message"]) == ("ended", "a", "it broke")
    assert (totals["event"], totals["done"], totals["total"], totals["in_flight"]) == ("standing", 5, 10, 1)


def test_the_live_table_shows_the_bar_the_cells_in_flight_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with display("rich", standing(), {"b": "cell b"}) as shown:
        shown.hear(Ended("b", "failed", 2.0, "Boom", "it broke"))
    err = capsys.readouterr().err
    assert "example" in err
    assert "5 of 10 cells done (4 before)" in err
    assert "training 5/10" in err
    assert "failed    cell b, 2.0 s: it broke" in err


def test_a_notice_is_read_back_and_of_a_dead_process_only_once(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path / "cache", tmp_path / "store")
    notice = Notice.of(Standing("example", 10, 4), workspace)
    notice.standing.hear(Started("c", "worker 1"), "cell c")
    notice.tick()
    ((found, alive),) = posted(workspace)
    assert alive
    assert (found.name, found.done, found.flights["c"].label) == ("example", 4, "cell c")
    content = json.loads(notice.path.read_text("utf-8"))
    dead = notice.path.with_name("4194304.json")  # no process has so high a number
    dead.write_text(json.dumps({**content, "pid": 4194304, "updated": 0.0}), "utf-8")
    assert sorted(alive for _, alive in posted(workspace)) == [False, True]
    assert [alive for _, alive in posted(workspace)] == [True]
    notice.down()
    assert list(posted(workspace)) == []
    assert list(posted(replace(workspace, store=tmp_path / "other"))) == []
    assert folder(workspace).parent == tmp_path / "cache" / "sweeps"


def test_status_tells_of_a_sweep_that_runs_and_of_what_there_is(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, 3, {"seconds": 4.0, "behaves": "raises", "seeds": "0"})
    process = begun(tmp_path, "sweep", str(file), "--workers", "2", "--progress", "jsonl")
    assert process.stderr
    for line in process.stderr:
        if '"started"' in line and '"ended"' not in line:
            break
    while True:  # the notice is written within a second
        code, out, err = molebench(tmp_path, "status", str(file))
        assert code == 0, err
        if ("sweep null, running" in out and "null_victim" in out.splitlines()[1]) or process.poll() is not None:
            break
    assert process.poll() is None
    process.communicate(timeout=60)
    code, out, _ = molebench(tmp_path, "status", str(file))
    assert "running" not in out
    assert "null: 2 of 3 cells done" in out
    assert "CellFailed: the null victim was told to fail (1 attempts)" in out
    code, out, _ = molebench(tmp_path, "status", "--json")
    assert json.loads(out)["records"] == {"ok": 2}
    assert list(folder(Workspace(tmp_path, tmp_path / "cache", tmp_path / "store")).iterdir()) == []
