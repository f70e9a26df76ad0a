"""The runner's side of the peers' processes: start them, let them take turns, end them."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The threads of BLAS and OpenMP spin for some tens of milliseconds after their last work; without a
# pause they would take a core from the next peer.
PAUSE_SECONDS = 0.05


class PeerError(Exception):
    """A peer failed; the text says how."""


class PeerProcess:
    """A running `peers.serve`, or another module with such a server."""

    def __init__(self, arguments, environment):
        self.errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115, closed by `close`
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=Path(__file__).parent,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def send(self, do, **arguments):
        """Ask for a method of the server's session, without waiting for the answer."""
        # A process that has ended breaks the pipe; `receive` finds no answer and says why.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)

    def receive(self):
        """Wait for the answer."""
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            raise PeerError(f"its process ended with status {status}\n{self.errors.read()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self):
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class Team:
    """The peers of a run. One that fails is reported, named in `failures`, and leaves the team."""

    def __init__(self, variants):
        self.variants = {variant.name: variant for variant in variants}
        self.processes = {}
        self.failures = []

    def __enter__(self):
        for name, variant in self.variants.items():
            options = json.dumps(variant.options)
            arguments = ["peers.serve", variant.module, variant.precision, options]
            self.processes[name] = PeerProcess(arguments, variant.environment)
        return self

    def __exit__(self, *exception):
        for process in self.processes.values():
            process.close()

    def names(self, ability):
        """Who is still there and has the ability, ``'trains'`` or ``'predicts'``."""
        return [name for name in self.processes if getattr(self.variants[name], ability)]

    def prepare(self, names, **arguments):
        """Let all of them load a workload, at the same time since nothing is measured."""
        for name in names:
            self.processes[name].send("prepare", **arguments)
        for name in names:
            self._receive(name)

    def take_turns(self, names, do, **arguments):
        """Ask one after the other; return the answers of those that did not fail, by name."""
        answers = {}
        for name in names:
            if name in self.processes:
                time.sleep(PAUSE_SECONDS)
                self.processes[name].send(do, **arguments)
                answer = self._receive(name)
                if answer is not None:
                    answers[name] = answer
        return answers

    def _receive(self, name):
        try:
            return self.processes[name].receive()
        except PeerError as error:
            print(f"{name}: failed and left the run: {error}", file=sys.stderr)
            self.failures.append(name)
            self.processes.pop(name).close()
            return None


def installed(variants, extra="bench"):
    """The variants whose libraries are there; says once for each library that is not."""
    libraries = dict.fromkeys(library for variant in variants for library in variant.libraries)
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    for library in missing:
        package = "." if library == "fastmlp" else f'".[{extra}]"'
        print(f"{library}: not installed, skipped (pip install {package})")
    return [variant for variant in variants if not set(missing).intersection(variant.libraries)]
