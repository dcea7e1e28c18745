"""Work ahead keeps the order of its input, is bounded, and loses nothing before an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from digitcli.recognition.ordered_map import grouped_until, ordered_map


def done(item: int) -> Future[int]:
    """Return a finished task."""
    task: Future[int] = Future()
    task.set_result(10 * item)
    return task


def failing_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise ZeroDivisionError


def test_results_come_in_the_order_of_the_input() -> None:
    def work(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return 10 * item

    with ThreadPoolExecutor(4) as pool:
        tasks = ordered_map(lambda item: pool.submit(work, item), range(50), 6)
        assert [(item, task.result()) for item, task in tasks] == [(item, 10 * item) for item in range(50)]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_tasks_than_the_limit_are_in_flight(limit: int) -> None:
    taken: list[int] = []
    tasks = ordered_map(done, (taken.append(item) or item for item in range(100)), limit)
    assert taken == []
    for number in range(5):
        next(tasks)
        assert len(taken) == limit + number + 1


def test_a_task_runs_while_the_result_before_it_is_used() -> None:
    is_running = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            is_running.set()
        return item

    with ThreadPoolExecutor(1) as pool:
        tasks = ordered_map(lambda item: pool.submit(work, item), range(2), 1)
        next(tasks)
        assert is_running.wait(10)


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("limit", [1, 3, 9])
def test_an_error_of_the_input_follows_the_results_before_it(count: int, limit: int) -> None:
    results = []
    with pytest.raises(ZeroDivisionError):
        for _, task in ordered_map(done, failing_after(count), limit):
            results.append(task.result())
    assert results == [10 * item for item in range(count)]


@pytest.mark.parametrize("limit", [1, 3, 9])
def test_a_task_that_cannot_be_submitted_follows_the_results_before_it(limit: int) -> None:
    def start(item: int) -> Future[int]:
        if item == 4:
            raise RuntimeError("can't start new thread")
        return done(item)

    results = []
    with pytest.raises(RuntimeError, match="new thread"):
        for _, task in ordered_map(start, range(9), limit):
            results.append(task.result())
    assert results == [0, 10, 20, 30]


def test_an_error_of_a_task_stays_in_the_task() -> None:
    def start(item: int) -> Future[int]:
        task = done(item)
        if item == 1:
            task = Future()
            task.set_exception(ZeroDivisionError())
        return task

    tasks = dict(ordered_map(start, range(3), 2))
    assert isinstance(tasks[1].exception(), ZeroDivisionError) and tasks[2].result() == 20


def test_closing_cancels_the_tasks_that_have_not_begun() -> None:
    started: list[Future[int]] = []

    def start(item: int) -> Future[int]:
        started.append(done(item) if item == 0 else Future())
        return started[-1]

    tasks = ordered_map(start, range(9), 3)
    next(tasks)
    tasks.close()
    assert [task.cancelled() for task in started] == [False, True, True, True]


def test_groups_end_with_the_item_that_makes_them_full() -> None:
    groups = grouped_until([1, 2, 3, 4, 5, 6, 1], lambda group: sum(group) >= 5)
    assert list(groups) == [[1, 2, 3], [4, 5], [6], [1]]
    assert list(grouped_until([], lambda group: True)) == []


def test_an_error_of_the_input_follows_the_group_before_it() -> None:
    groups = grouped_until(failing_after(3), lambda group: len(group) == 2)
    assert [next(groups), next(groups)] == [[0, 1], [2]]
    with pytest.raises(ZeroDivisionError):
        next(groups)
