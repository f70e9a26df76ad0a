"""What `verbose` shows of a fit: members done, the least loss so far, and the time left."""

import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar

SECONDS_BETWEEN_LINES = 1.0


class Silence:
    """Shows nothing."""

    def begin_round(self, n_members):
        pass

    def end_member(self, loss):
        pass

    def close(self):
        pass


class Lines(Silence):
    """A line about once per second, updated in place on a terminal."""

    def __init__(self, deadline, file=None):
        self._deadline = deadline
        self._file = sys.stdout if file is None else file
        self._round, self._shown, self._least = 0, -SECONDS_BETWEEN_LINES, float("inf")
        self._is_terminal = self._file.isatty()

    def begin_round(self, n_members):
        self._round += 1
        self._n_members, self._n_done, self._began = n_members, 0, time.perf_counter()

    def end_member(self, loss):
        self._n_done += 1
        self._least = min(loss, self._least)
        now = time.perf_counter()
        is_last = self._n_done == self._n_members
        if now - self._shown < SECONDS_BETWEEN_LINES and not is_last:
            return
        self._shown = now
        left = (now - self._began) * (self._n_members / self._n_done - 1)
        left = max(0.0, min(left, self._deadline.at - now))
        text = (
            f"round {self._round}: {self._n_done}/{self._n_members} networks, "
            f"best loss {self._least:.5g}, {left:.0f} s left"
        )
        if self._is_terminal:
            # A terminal waits for the end of the line.
            print(f"\r{text:79}", end="", flush=True, file=self._file)
        else:
            print(text, file=self._file)

    def close(self):
        if self._is_terminal:
            print(file=self._file)


_display = ContextVar("display", default=None)


@contextmanager
def shown_by(display):
    """Let ``display(deadline)`` make the displays of all fits inside, whatever ``verbose`` is."""
    before = _display.set(display)
    try:
        yield
    finally:
        _display.reset(before)


def progress_of_members(verbose, deadline):
    """Return the display for ``verbose``. It has to be closed."""
    display = _display.get()
    if display is not None:
        return display(deadline)
    return Lines(deadline) if verbose else Silence()
