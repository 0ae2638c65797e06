"""Scans that can be stopped at every call and go on later, several at once, in one thread: the order is the test's."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import count
from typing import Any

from greenlet import getcurrent, greenlet


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing may handle it."""


class Task(greenlet):
    """``work``, up to its next call of AWS or DynamoDB at each ``step``."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        super().__init__()
        self.name = name
        self.work = work
        self.at = ""
        self.result: Any = None
        self.crashed = False
        # Ended with an outcome that is not a failure.
        self.succeeded = False
        self.begun, self.ended = 0, 10**9
        self.changes: list[Any] = []
        self.faulted = False
        # By place, up to when it was known that it exists, and what is judged of it, when this began.
        self.known: dict[Any, tuple[int, int]] = {}

    def run(self) -> None:
        try:
            self.result = self.work()
        except Crash:
            self.crashed = True

    def step(self, calls: int) -> None:
        for _ in range(calls):
            if self.dead:
                return
            self.switch()

    def step_to(self, call: str) -> None:
        """Up to its next call of that name, or its end."""
        self.step(1)
        while not self.dead and self.at != call:
            self.switch()

    def kill(self) -> None:
        if self and not self.dead:
            self.throw(Crash())
        self.crashed = True


def current() -> Task | None:
    """The task that is running, None outside of all."""
    running = getcurrent()
    return running if isinstance(running, Task) else None


def pause(call: str) -> None:
    """Let others act ahead of ``call``, if this is a task."""
    task = current()
    if task:
        task.at = call
        task.parent.switch()


_NUMBERS = count()


class Done(Future[Any]):
    """A future whose place in a set does not depend on its address: examples must run the same way again."""

    def __init__(self) -> None:
        super().__init__()
        self._number = next(_NUMBERS)

    def __hash__(self) -> int:
        return self._number

    __eq__ = object.__eq__


class OneThread:
    """A thread pool without threads: work is done when it is submitted, or never once a piece of it has crashed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "OneThread":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future = Done()
        try:
            future.set_result(work(*args))
        except Exception as error:  # noqa: BLE001 - as a pool does
            future.set_exception(error)
        return future


def first_done(futures: Iterable[Future[Any]], **_: Any) -> tuple[list[Future[Any]], set[Future[Any]]]:
    """``concurrent.futures.wait`` where all are done."""
    return sorted(futures, key=hash), set()
