"""Work ahead of the consumer, lazily and in order: a bounded map over an executor, and a grouping.

Both take from their input only what they need. When the input raises an error, or a task cannot be submitted,
both yield all earlier results and then raise the error.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    submit: Callable[[Item], Future[Result]], items: Iterable[Item], limit: int
) -> Generator[tuple[Item, Future[Result]]]:
    """Submit a task for each item, and yield each item with its finished task, in the order of the items.

    At most `limit` tasks are in flight. The next task is submitted before a finished one is yielded, so work
    goes on while the consumer uses the result. Closing the generator cancels the tasks that have not begun.
    """
    remaining = iter(items)
    tasks: deque[tuple[Item, Future[Result]]] = deque()
    error_at_end: Exception | None = None

    def submit_next() -> None:
        nonlocal error_at_end
        if error_at_end is not None:
            return
        try:
            for item in itertools.islice(remaining, 1):
                tasks.append((item, submit(item)))
        except Exception as error:
            error_at_end = error

    try:
        for _ in range(limit):
            submit_next()
        while tasks:
            item, task = tasks[0]
            task.exception()  # waits until the task is finished
            tasks.popleft()
            submit_next()
            yield item, task
        if error_at_end is not None:
            raise error_at_end
    finally:
        for _, task in tasks:
            task.cancel()


def grouped_until(items: Iterable[Item], is_full: Callable[[list[Item]], bool]) -> Generator[list[Item]]:
    """Group items into lists; the item with which a list `is_full` is its last one."""
    group: list[Item] = []
    try:
        for item in items:
            group.append(item)
            if is_full(group):
                yield group
                group = []
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group
