"""Runs random cases in child processes, so that a crash or a hang of one of them is seen.

A case is a function of its seed alone: it raises `Broken` (or anything else) if a promise does not
hold, and otherwise returns a `Counter` of what it did and a list of measured numbers. A child that
dies or that hangs is replaced, and the case is reported. `--case SEED` runs a single one.
"""

import argparse
import faulthandler
import itertools
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

SECONDS_OF_HANG = 120
MOST_FAULTS = 10
CHILDREN = multiprocessing.get_context("spawn")


class Broken(AssertionError):
    """A promise does not hold."""


def check(holds, message):
    """Raise `Broken` with the message unless the promise holds."""
    if not holds:
        raise Broken(message)


def be_quiet():
    """Silence warnings, which are allowed, for good."""
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    np.seterr(all="ignore")


def serve(connection, try_case):
    """Try the cases whose seeds arrive, until there are no more: the work of a child."""
    os.setsid()  # a group of its own, for the processes that it starts
    faulthandler.enable()
    be_quiet()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    connection.send(True)
    while (seed := connection.recv()) is not None:
        try:
            answer = try_case(seed)
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        connection.send(answer)


class Child:
    """A process that tries one case after the other."""

    def __init__(self, try_case):
        self.connection, theirs = CHILDREN.Pipe()
        self.process = CHILDREN.Process(target=serve, args=(theirs, try_case))
        self.process.start()
        theirs.close()
        self.seed, self.began = None, time.monotonic()

    def start(self, seed):
        self.seed, self.began = seed, time.monotonic()
        self.send(seed)

    def send(self, seed):
        # If the child has died, that is seen when its answer is received.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(seed)

    def is_ready(self):
        """Wait until the child has imported everything."""
        return self.connection.recv()

    def answer(self):
        """Return what the case has returned, or what has ended it."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def is_hanging(self):
        return time.monotonic() - self.began > SECONDS_OF_HANG

    def end(self):
        """Let the process end, or kill it if it does not, and all that it has started."""
        if self.is_hanging() and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGABRT)  # faulthandler shows where it hangs
        self.send(None)
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it has left behind
        self.connection.close()


class Results:
    """What all cases together did: counts, measured numbers, and the faults by seed."""

    def __init__(self):
        self.counts, self.numbers, self.faults = Counter(), [], {}

    def add(self, seed, answer):
        """Add the answer of a case; return whether it was a fault."""
        if isinstance(answer, str):
            self.faults[seed] = answer
            return True
        self.counts.update(answer[0])
        self.numbers += answer[1]
        return False


def run_cases(try_case, seconds, seeds, n_children):
    """Try the cases of one seed after the other; return the `Results`.

    It ends after so many seconds, or after the last seed.
    """
    results, seeds = Results(), iter(seeds)
    busy = [Child(try_case) for _ in range(n_children)]
    all(child.is_ready() for child in busy)
    began = time.monotonic()
    for child in list(busy):
        start_next(child, seeds, busy)
    while busy:
        ready = wait([child.connection for child in busy], timeout=1)
        has_time = time.monotonic() - began <= seconds and len(results.faults) < MOST_FAULTS
        for child in list(busy):
            is_hanging = child.connection not in ready and child.is_hanging()
            if child.connection not in ready and not is_hanging:
                continue
            answer = f"no end after {SECONDS_OF_HANG} s" if is_hanging else child.answer()
            was_fault = results.add(child.seed, answer)
            if was_fault or not has_time:
                child.end()
                busy.remove(child)
            if was_fault and has_time:
                child = Child(try_case)
                child.is_ready()
                busy.append(child)
            if has_time:
                start_next(child, seeds, busy)
    return results


def start_next(child, seeds, busy):
    """Start the case of the next seed, or end the child if there is none."""
    seed = next(seeds, None)
    if seed is None:
        child.end()
        busy.remove(child)
    else:
        child.start(seed)


def again(script, seed):
    """Run a case once more on its own; return what it prints, which ends with the fault."""
    command = [sys.executable, script, "--case", str(seed)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_OF_HANG, check=False
        )
    except subprocess.TimeoutExpired as error:
        return f"{(error.stdout or b'').decode()}\nno end after {SECONDS_OF_HANG} s"
    if done.returncode == 0:
        return "It did not happen again."
    return f"{done.stdout}\n{done.stderr[-3000:]}\nexit status {done.returncode}"


def try_alone(try_case, seed):
    """Try one case in this process and show its fault; return the exit status."""
    faulthandler.enable()
    be_quiet()
    try:
        counts, _ = try_case(seed)
    except BaseException:
        traceback.print_exc()
        return 1
    print(f"case {seed}: {in_words(counts)}: nothing found")
    return 0


def in_words(counts):
    return ", ".join(f"{number:,} {what}" for what, number in counts.items())


def arguments(description):
    """Return the parser of the options that all scripts have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=10, help="how long (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case (default 0)")
    return parser


def main(script, description, try_case, n_children=None, figures=None, every=None, n_cases=None):
    """Run the cases for as long as the command line says, and print the figure in one line.

    ``figures`` returns further words for the line from the measured numbers. ``every`` returns the
    seeds of all cases of the names that follow `--every`. After ``n_cases`` all have been tried.
    """
    parser = arguments(description)
    if every:
        parser.add_argument(
            "--every", nargs="*", metavar="CALL",
            help="try all cases of these calls, or of those that the script knows to be common",
        )  # fmt: skip
    parser.add_argument("--case", type=int, metavar="SEED", help="run the case of this seed alone")
    parser.add_argument("--jobs", type=int, default=n_children or os.cpu_count() or 1)
    given = parser.parse_args()
    if given.case is not None:
        return try_alone(try_case, given.case)
    seconds, seeds = given.seconds, itertools.islice(itertools.count(given.seed), n_cases)
    if every and given.every is not None:
        be_quiet()
        seconds, seeds = math.inf, every(given.every)
    began = time.monotonic()
    results = run_cases(try_case, seconds, seeds, given.jobs)
    words = in_words(results.counts) or "nothing done"
    if figures and results.numbers:
        words += f"; {figures(results.numbers)}"
    n_faults = len(results.faults)
    found = f"{n_faults} FAULTS" if n_faults else "nothing found"
    print(f"{Path(script).stem}: {words} in {time.monotonic() - began:.0f} s: {found}", flush=True)
    for seed, fault in results.faults.items():
        print(f"\ncase {seed}: {fault}\nreproduced by: python {script} --case {seed}")
        print(again(script, seed), flush=True)
    return int(n_faults > 0 or not results.counts)
