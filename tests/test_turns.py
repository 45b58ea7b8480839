"""Cells that would wait for one another begin apart; order is kept where nothing is gained by leaving it."""

from collections.abc import Iterator

from molebench.jobs import Job
from molebench.turns import AHEAD, Turns


def jobs(*names: str) -> Iterator[Job]:
    """Jobs whose key begins with the letters of what they need: 'vp1' needs v and p."""
    return (Job(name, {}, name, needs=tuple(filter(str.isalpha, name))) for name in names)


def begun(turns: Turns, *flying: Job) -> Job:
    found = turns.next(flying)
    assert found
    return found


def test_a_cell_that_shares_nothing_with_those_in_flight_begins_before_one_that_would_wait() -> None:
    turns = Turns(jobs("v1", "v2", "w1", "w2"))
    first = begun(turns)
    second = begun(turns, first)
    assert (first.key, second.key) == ("v1", "w1")
    turns.over(first)
    assert begun(turns, second).key == "v2"


def test_what_is_computed_once_is_there_for_all_that_come_after() -> None:
    turns = Turns(jobs("v1", "v2", "v3", "w1"))
    turns.over(begun(turns))
    second = begun(turns)
    assert (second.key, begun(turns, second).key) == ("v2", "v3")


def test_where_all_would_wait_they_begin_in_order() -> None:
    turns = Turns(jobs("v1", "vp1", "vq1"))
    first = begun(turns)
    assert begun(turns, first).key == "vp1"


def test_only_so_many_are_looked_at_and_none_is_lost() -> None:
    turns = Turns(jobs("v0", *(f"v{i}" for i in range(1, 3 * AHEAD)), "w"))
    first = begun(turns)
    assert begun(turns, first).key == "v1", "the one that fits is too far ahead"
    assert len(turns.ahead) < AHEAD
    assert turns.left() == 3 * AHEAD - 1
