"""Several runs that wait for one another at every meeting, one of them computing at a time.

A forward pass cannot be paused, but a thread can: each micro-batch runs in a thread of its own and
hands over at a meeting what all are waiting for. The last one to come makes the result, and all go
on with it. One lock is the baton, so that there is never more than one at work.
"""

import contextvars
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Generic, TypeVar

import torch

Value = TypeVar("Value")
Result = TypeVar("Result")


class Abandoned(BaseException):
    """Ends a run after another one failed; no handler of errors in between may catch it."""


class Lockstep(Generic[Value, Result]):
    """A meeting place for a fixed number of runs.

    Args:
        meet: called once at every meeting with its key and what each run brought, in the order of
            the runs; all runs get what it returns.
    """

    def __init__(self, meet: Callable[[str, list[Value]], Result]) -> None:
        self._meet = meet
        self._baton = threading.Condition()
        self._local = threading.local()
        self._brought: dict[int, tuple[str, Value]] = {}
        self._rounds = self._count = self._ended = 0
        self._results: list[Result] = []
        self._error: BaseException | None = None

    @property
    def index(self) -> int:
        """Number of the run that this thread is."""
        return self._local.index

    def arrive(self, key: str, value: Value) -> Result:
        """Wait for the others, and return what the meeting made of all values.

        Raises:
            RuntimeError: if the runs do not meet for the same key.
        """
        if self._ended:
            raise RuntimeError(f"a run ended before {key}, which others give")
        self._brought[self.index] = (key, value)
        this_round = self._rounds
        if len(self._brought) == self._count:
            self._hold_meeting()
        else:
            self._baton.wait_for(lambda: self._rounds > this_round or self._error is not None)
            if self._error is not None:
                raise Abandoned
        return self._results[0]

    def _hold_meeting(self) -> None:
        keys = {key for key, _ in self._brought.values()}
        if len(keys) > 1:
            raise RuntimeError(f"runs must give the same outputs in one order, got {sorted(keys)}")
        values = [self._brought[index][1] for index in sorted(self._brought)]
        self._results = [self._meet(keys.pop(), values)]
        self._brought.clear()
        self._rounds += 1
        self._baton.notify_all()

    def run(self, jobs: Sequence[Callable[[], object]]) -> None:
        """Run all jobs to their end, and raise the first error of one, if any."""
        self._count = len(jobs)
        modes = _modes()
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._work, index, job, modes),
                daemon=True,
            )
            for index, job in enumerate(jobs)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:  # an interrupt: end the runs before leaving
            with self._baton:
                self._fail(error)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise
        if self._error is not None:
            raise self._error

    def _work(self, index: int, job: Callable[[], object], modes: Callable[[], ExitStack]) -> None:
        self._local.index = index
        with self._baton:
            if self._error is not None:
                return
            try:
                with modes():
                    job()
                if self._brought:
                    waiting = next(iter(self._brought.values()))[0]
                    raise RuntimeError(f"a run ended while others wait for {waiting}")
                self._ended += 1
            except Abandoned:
                pass
            except BaseException as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._baton.notify_all()


def _modes() -> Callable[[], ExitStack]:
    """What torch keeps per thread, to be entered in another one; gradients are off."""
    device, kinds = torch.get_default_device(), ("cpu", "cuda")
    autocast = [
        (kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind)
    ]

    def enter() -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.no_grad())
        if device != torch.device("cpu"):
            stack.enter_context(device)
        for kind, dtype in autocast:
            stack.enter_context(torch.autocast(kind, dtype=dtype))
        return stack

    return enter
