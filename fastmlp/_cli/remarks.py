"""Remarks and progress on standard error."""

import math
import sys
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fastmlp._tabular.progress import Lines, Silence


def remark(options, text):
    """Print a remark, unless the options say not to."""
    if not options.quiet:
        print(f"fastmlp: {text}", file=sys.stderr)


def error_console():
    """Return rich's console on standard error."""
    return Console(stderr=True)


class Bar(Silence):
    """rich's bar of the networks trained in each round of a fit."""

    def __init__(self, console):
        self._progress = Progress(
            TextColumn(
                "round {task.fields[round]}: {task.completed:.0f}/{task.total:.0f} networks"
            ),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._progress.start()
        self._task, self._round, self._least = None, 0, math.inf

    def begin_round(self, n_members):
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._round += 1
        self._task = self._progress.add_task(self._text(), total=n_members, round=self._round)

    def end_member(self, loss):
        self._least = min(loss, self._least)
        self._progress.update(self._task, advance=1, description=self._text())

    def _text(self):
        return "" if math.isinf(self._least) else f"best loss {self._least:.4g}"

    def close(self):
        self._progress.stop()


def display_of_fit(options):
    """Return what makes the display of a fit from its deadline."""
    if options.quiet:
        return lambda deadline: Silence()
    console = error_console()
    if console.is_terminal:
        return lambda deadline: Bar(console)
    return lambda deadline: Lines(deadline, sys.stderr)


@contextmanager
def bar_of_bytes(options, n_bytes, is_shown=True):
    """Give a function to be called with the number of bytes done, and show a bar of them."""
    console = error_console()
    if options.quiet or not is_shown or not console.is_terminal:
        yield lambda n: None
        return
    with Progress(
        SpinnerColumn(), BarColumn(bar_width=24), DownloadColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("", total=n_bytes)
        yield lambda n: progress.update(task, advance=n)
