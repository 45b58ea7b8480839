"""Failures are tried again as often as allowed, what hangs is stopped, what is lost comes back; the others go on."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from molebench.jobs import Ended, Event, Executor, Got, Hear, Job, Said, Started, event, job, job_line, line
from molebench.scheduling import LOST, Policy, Schedule, Stop, Tally, interruptible
from molebench.turns import Turns


@dataclass
class Scripted:
    """An executor whose cells end at once as the script says, one state a try; `hangs` never end by themselves."""

    script: dict[str, list[str]] = field(default_factory=dict)
    slots: int = 2
    flying: list[Job] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    most: int = 0
    stopped: list[str] = field(default_factory=list)
    closed: bool = False
    fresh: list[Job] = field(default_factory=list)
    begins: bool = True
    between: Callable[[], None] = lambda: None

    def submit(self, job: Job) -> None:
        self.flying.append(job)
        self.fresh.append(job)
        self.most = max(self.most, len(self.flying))

    def wait(self, seconds: float, hear: Hear) -> None:
        while self.fresh and self.begins:
            hear(Started(self.fresh.pop().key, "somewhere"))
        self.between()
        for each in list(self.flying):
            states = self.script.get(each.key, ["ok"])
            state = states[min(self.tried[each.key], len(states) - 1)]
            if state != "hangs":
                self.flying.remove(each)
                self.tried[each.key] += 1
                hear(Ended(each.key, state, 1.0, "Boom", "it broke"))  # type: ignore[arg-type]

    def stop(self, key: str) -> None:
        self.stopped.append(key)
        self.flying = [each for each in self.flying if each.key != key]

    def close(self) -> None:
        self.closed = True


def jobs(*keys: str) -> Iterator[Job]:
    return (Job(key, {}, key) for key in keys)


@dataclass
class Played:
    tally: Tally
    executor: Scripted
    heard: list[Event]
    notes: list[tuple[str, str]]


def play(executor: Scripted, *keys: str, policy: Policy = Policy(), stop: Stop | None = None) -> Played:
    heard: list[Event] = []
    notes: list[tuple[str, str]] = []
    assert isinstance(executor, Executor)

    def note(job: Job, end: Ended) -> None:
        notes.append((job.key, end.state))

    tally = Schedule(Turns(jobs(*keys)), executor, policy, heard.append, note).play(stop or Stop())
    return Played(tally, executor, heard, notes)


def test_no_more_cells_are_in_flight_than_there_are_slots() -> None:
    played = play(Scripted(slots=3), *"abcdefg")
    assert (played.executor.most, played.tally.states) == (3, Counter(ok=7))
    assert played.executor.closed


def test_a_cell_that_failed_is_noted_and_the_others_go_on() -> None:
    played = play(Scripted({"b": ["failed"]}), *"abc")
    assert played.tally.states == Counter(ok=2, failed=1)
    assert played.tally.failures["b"].message == "it broke"
    assert played.notes == [("b", "failed")]


@pytest.mark.parametrize(("retries", "states", "tries"), [(0, "failed", 1), (1, "failed", 2), (2, "ok", 3)])
def test_a_failure_is_tried_again_as_often_as_allowed(retries: int, states: str, tries: int) -> None:
    played = play(Scripted({"a": ["failed", "failed", "ok"]}), "a", policy=Policy(retries=retries))
    assert (dict(played.tally.states), played.executor.tried["a"]) == ({states: 1}, tries)
    assert ("a" in played.tally.failures) == (states == "failed")


def test_a_lost_worker_costs_no_retry_but_not_for_ever() -> None:
    assert play(Scripted({"a": ["lost", "lost", "ok"]}), "a").tally.states == Counter(ok=1)
    forever = play(Scripted({"a": ["lost"]}), "a", "b")
    assert forever.tally.states == Counter(ok=1, lost=1)
    assert forever.executor.tried["a"] == 1 + LOST


def test_a_cell_that_another_process_is_at_comes_again_later_and_is_no_failure() -> None:
    played = play(Scripted({"a": ["busy", "ok"]}), "a", "b")
    assert played.tally.states == Counter(ok=2)
    assert played.notes == []


def test_a_cell_that_hangs_is_stopped_and_named() -> None:
    played = play(Scripted({"a": ["hangs"]}), "a", "b", "c", policy=Policy(timeout=0.05))
    assert played.tally.states == Counter(ok=2, timeout=1)
    assert played.executor.stopped == ["a"]
    assert "--timeout allows 0.05" in played.tally.failures["a"].message


def test_the_time_that_a_cell_waits_for_a_free_node_is_not_its_own() -> None:
    waits = iter(range(10))
    executor = Scripted({"a": ["hangs"]}, begins=False)

    def between() -> None:
        time.sleep(0.02)
        if next(waits) == 9:  # long after the timeout its turn comes
            executor.script = {}

    executor.between = between
    assert play(executor, "a", policy=Policy(timeout=0.05)).tally.states == Counter(ok=1)


def test_without_keep_going_a_failure_is_the_last_cell_but_those_in_flight_end() -> None:
    played = play(Scripted({"a": ["failed"]}, slots=1), *"abc", policy=Policy(keep_going=False))
    assert (played.tally.states, played.tally.left, played.tally.stopped) == (Counter(failed=1), 2, True)


def test_a_first_ctrl_c_lets_cells_in_flight_end_and_begins_no_other() -> None:
    with interruptible(lambda words: None) as stop:
        executor = Scripted(slots=2, between=lambda: None if stop.asked else os.kill(os.getpid(), signal.SIGINT))
        played = play(executor, *"abcdef", stop=stop)
    assert (played.tally.states, played.tally.left, played.tally.stopped) == (Counter(ok=2), 4, True)


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_a_second_ctrl_c_or_a_sigterm_stops_at_once(signals: tuple[signal.Signals, ...]) -> None:
    def interrupt() -> None:
        for number in signals:
            os.kill(os.getpid(), number)

    with interruptible(lambda words: None) as stop:
        played = play(Scripted({"a": ["hangs"]}, between=interrupt), "a", "b", "c", stop=stop)
    assert played.tally.left == 3
    assert [each.state for each in played.heard if isinstance(each, Ended)] == ["interrupted", "interrupted"]
    assert played.executor.closed


def test_signals_mean_what_they_meant_before_once_the_sweep_is_over() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible(lambda words: None):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(
    "told", [Started("k", "worker 1"), Got("k", "training", 3, 9), Said("k", "ü"), Ended("k", "ok", 1.5, "", "", True)]
)
def test_events_cross_a_pipe_as_they_are(told: Event) -> None:
    assert event(line(told)) == told
    assert "\n" not in line(told)


def test_jobs_cross_a_pipe_as_they_are() -> None:
    given = Job("k", {"attack": "none", "parameters": {"victim.epochs": 3}}, "none")
    assert job(job_line(given)) == given
