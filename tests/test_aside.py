"""A second pair of hands: what is done beside a loop, and what is shared by threads."""

import threading

import pytest
import torch

from molebench.aside import aside, shared


def test_work_is_done_in_the_order_in_which_it_was_begun_by_somebody_else_where_there_is_one(threads: int) -> None:
    done: list[int] = []

    def work(n: int) -> int:
        done.append(n)
        return threading.get_ident()

    with aside() as hands:
        answers = [hands.begin(work, n) for n in range(5)]
        who = {answer() for answer in answers}
    assert done == list(range(5))
    assert hands.late == threads - 1
    assert (who == {threading.get_ident()}) == (threads == 1)


def test_everybody_computes_alone_while_two_work_and_as_before_afterwards(threads: int) -> None:
    with aside() as hands:
        assert hands.begin(torch.get_num_threads)() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


def test_what_fails_aside_fails_where_it_is_asked_for(threads: int) -> None:
    with aside() as hands:
        answer = hands.begin(int, "no number")
        with pytest.raises(ValueError, match="no number"):
            answer()
    assert torch.get_num_threads() == threads


def test_shared_work_is_all_done_and_a_fault_in_it_is_heard_of(threads: int) -> None:
    found = torch.zeros(100)
    shared(lambda i: found[i].fill_(i), range(100))
    assert found.tolist() == list(range(100))
    with pytest.raises(ZeroDivisionError):
        shared(lambda i: 1 // (i - 50), range(100))
    assert torch.get_num_threads() == threads
