"""Progress output for `verbose`: none, a single live line, or a line per epoch."""

import sys
import time

PLAIN_LINE_EVERY = 1.0  # seconds, if the output is not a terminal


def progress(verbose):
    """Return the display for ``verbose``: none for 0, a live line for 1, a log for 2 or more.

    A display is called with each `Epoch`. Its method ``say`` shows a message, and ``close`` ends
    the display.
    """
    if not verbose:
        return Silence()
    if verbose is not True and verbose >= 2:
        return Log()
    try:
        return RichBar()
    except ImportError:
        return PlainLine()


def describe(epoch):
    """Format the loss, score and learning rate of an epoch."""
    parts = [f"loss {epoch.loss:.5g}"]
    if epoch.val_loss is not None:
        parts += [f"val_loss {epoch.val_loss:.5g}", f"val_score {epoch.val_score:.5g}"]
    if epoch.learning_rate is not None:
        parts.append(f"rate {epoch.learning_rate:.3g}")
    return "  ".join(parts)


class Silence:
    def __call__(self, epoch):
        pass

    def say(self, text):
        pass

    def close(self):
        pass


class Log(Silence):
    """A line per epoch, in scikit-learn's format."""

    def __call__(self, epoch):
        print(f"Iteration {epoch.epoch}, loss = {epoch.loss:.8f}")
        if epoch.val_score is not None:
            print(f"Validation score: {epoch.val_score:f}")

    def say(self, text):
        print(text)


class RichBar(Silence):
    """A progress bar of rich, with the remaining time."""

    def __init__(self):
        from rich import get_console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        # In Jupyter, rich needs ipywidgets: without it, rich shows only a warning in every fit.
        if get_console().is_jupyter:
            import ipywidgets  # noqa: F401

        self._bar = Progress(
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        self._bar.start()
        self._task = None

    def __call__(self, epoch):
        if self._task is None:
            self._task = self._bar.add_task("", total=epoch.max_iter)
        self._bar.update(self._task, completed=epoch.epoch, description=describe(epoch))

    def close(self):
        self._bar.stop()


class PlainLine(Silence):
    """A single line, updated in place on a terminal and printed once per second elsewhere."""

    def __init__(self):
        self._began = time.perf_counter()
        self._shown = -PLAIN_LINE_EVERY
        self._last = None
        self._is_terminal = sys.stdout.isatty()

    def __call__(self, epoch):
        now = time.perf_counter()
        self._last = epoch
        if self._is_terminal:
            print(f"\r{self._text(now):100}", end="", flush=True)
        elif now - self._shown >= PLAIN_LINE_EVERY:
            print(self._text(now), flush=True)
            self._shown, self._last = now, None

    def _text(self, now):
        epoch = self._last
        left = (now - self._began) * (epoch.max_iter / epoch.epoch - 1)
        return f"epoch {epoch.epoch}/{epoch.max_iter}  {describe(epoch)}  {left:.0f} s left"

    def close(self):
        if self._is_terminal:
            print()
        elif self._last is not None:
            print(self._text(time.perf_counter()))
