"""Work over the cores: results in their order, and what a process cannot do is done here."""

import operator
import os
import sys
import threading

import pytest

from slotfill.cores import over_cores


def test_each_group_has_its_results_from_a_process_of_its_own() -> None:
    groups = [[(os.getpid, ()), (operator.add, (1, 2))], [(os.getpid, ()), (operator.add, (3, 4))], []]
    here, there, nothing = over_cores(groups)
    assert here == [os.getpid(), 3]
    assert there[0] != os.getpid() and there[1] == 7
    assert nothing == []


def test_what_another_process_cannot_do_is_done_here() -> None:
    [_, [lock]] = over_cores([[], [(threading.Lock, ())]])  # a lock cannot be handed over
    assert not lock.locked()


def test_where_no_process_can_be_made_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert over_cores([[], [(os.getpid, ())]]) == [[], [os.getpid()]]
