"""Which lines and decisions of the compiled code the tests reach: `python stress/coverage.py`.

A copy of the source is built with `gcc --coverage -O0` in a temporary folder, and the tests run
there. gcov counts how often each line of the generated C and of the kernels ran, and each outcome
of each decision. The kernels are built once for each instruction set and each type, and functions
of the core for each type: a line is reached if it is in one of them.

- C (`_simd`, `_team`): gcov's lines and branches. gcov lists those of all inlined copies of a
  kernel's line, one after the other. They are taken together, by the number of conditions in the
  line.
- Cython: the comments in the generated C say to which line of the .pyx each of its lines belongs.
  The decisions are those lines of C that stand for an `if`, `elif`, `while`, `for`, `and`, `or`,
  conditional expression, `min` or `max` of the source. The checks of errors, types and reference
  counts that Cython adds by itself, those of `with` and `except`, and the wrappers that unpack
  arguments, are left out: so are, for example, failures of a call that raises through the line.

That a `for` ran without a single turn is not asked for, only that it ran and that it ended. Nothing
is said about copies: that a decision has both outcomes for both types, or in each function that it
is inlined into.

`unreached.toml` has the lines and the decisions that no test can reach, or that a test reaches only
if one thread comes before another one, each with a reason. The status is 1 if one without a reason
is unreached, or one with a reason is reached or gone.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "fastmlp"
NEEDED = (PACKAGE, "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
TESTS = ("core", "engine", "training", "estimators", "inspection", "tabular")
# Compiles with flags of its own, and not what is counted here.
IGNORED = ("core/test_compilers.py",)
REASONS = Path(__file__).with_name("unreached.toml")

FLAGS_OF_SETUP = "compile_flags = OPTIMIZATION + SAME_BITS"
# The counts of threads are added up.
FLAGS = ["-O0", "--coverage", "-fprofile-update=atomic"]

# Every process writes its counts to a folder of its own: tests kill some of them while they write.
# Python imports a module of this name when it starts.
AT_START = """
import os


def choose_folder():
    os.environ["GCOV_PREFIX"] = os.path.join({counts!r}, str(os.getpid()))


choose_folder()
os.register_at_fork(after_in_child=choose_folder)
"""

# Children that end by os._exit, as forks do, write their counts, too.
AT_EXIT = """
import ctypes
import os

import fastmlp._core
import fastmlp._guard

libraries = [ctypes.CDLL(module.__file__) for module in (fastmlp._core, fastmlp._guard)]
exit_at_once = os._exit


def write_and_exit(status):
    for library in libraries:
        getattr(library, "__gcov_dump")()
    exit_at_once(status)


os._exit = write_and_exit
"""


class Place(NamedTuple):
    """A line of the source."""

    file: str
    line: int


# Building and testing --------------------------------------------------------------------------


def build(folder):
    """Copy the source to a folder and compile it there with counters."""
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for leftover in (folder / PACKAGE).glob("_*.so"):
        leftover.unlink()
    setup = folder / "setup.py"
    text = setup.read_text(encoding="utf-8")
    if text.count(FLAGS_OF_SETUP) != 1:
        raise RuntimeError(f"setup.py must have {FLAGS_OF_SETUP!r} once")
    counting = f"compile_flags = {FLAGS} + SAME_BITS"
    setup.write_text(text.replace(FLAGS_OF_SETUP, counting), encoding="utf-8")
    (folder / "write_counts.py").write_text(AT_EXIT, encoding="utf-8")
    at_start = AT_START.format(counts=str(folder / "counts"))
    (folder / "sitecustomize.py").write_text(at_start, encoding="utf-8")
    dump = "-Wl,-u,__gcov_dump -Wl,--export-dynamic-symbol=__gcov_dump"
    run(folder, "setup.py", "-q", "build_ext", "--inplace", LDFLAGS=f"--coverage {dump}")


def test(folder, tests):
    """Run the tests, and add what they have counted; return whether they pass."""
    ignored = [f"--ignore=tests/{name}" for name in IGNORED]
    options = ["-q", "-p", "no:cacheprovider", "-p", "write_counts", "-m", "not slow"]
    names = [f"tests/{name}" for name in tests]
    is_good = run(folder, "-P", "-m", "pytest", *options, *ignored, *names, check=False) == 0
    for counts in sorted((folder / "counts").iterdir(), key=os.path.getmtime, reverse=True):
        add_counts(folder, counts)
    return is_good


def add_counts(folder, counts):
    """Add the counts of a process to those beside the object files, and remove them."""
    build, merged = folder / "build", counts / "merged"
    of_process = counts / build.relative_to("/")
    if any(build.rglob("*.gcda")):
        command = ["gcov-tool", "merge", str(build), str(of_process), "--output", str(merged)]
        is_whole = subprocess.run(command, capture_output=True).returncode == 0
    else:  # the process that has ended last: that of pytest
        merged, is_whole = of_process, True
    if is_whole:
        shutil.copytree(merged, build, dirs_exist_ok=True)
    shutil.rmtree(counts)


def run(folder, *arguments, check=True, **environment):
    """Run Python in the folder; its output goes to standard error."""
    settings = {
        "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_WAIT_POLICY": "passive",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, stdout=sys.stderr, check=check,
        env={**os.environ, **settings, **environment},
    ).returncode  # fmt: skip


# What gcov says --------------------------------------------------------------------------------


def files_of_gcov(folder):
    """Give what gcov says of each file of C, for every object file that has counts."""
    for counts in sorted(folder.glob("build/**/*.gcda")):
        command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", str(counts)]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        for line in said.stdout.splitlines():
            for file in json.loads(line)["files"]:
                yield name_in(folder, file["file"]), file["lines"]


def name_in(folder, path):
    path = os.path.normpath(folder / path)
    return os.path.relpath(path, folder)


class Counts:
    """How often each line ran and each of its branches was taken, over all copies of the code."""

    def __init__(self):
        self.lines = defaultdict(int)  # by Place
        self.branches = defaultdict(lambda: defaultdict(list))  # by Place and what is one decision

    def add_line(self, place, count):
        self.lines[place] += count

    def add_branches(self, place, decision, counts):
        known = self.branches[place][decision]
        known += [0] * (len(counts) - len(known))
        for i, count in enumerate(counts):
            known[i] += count

    def unreached_lines(self):
        return {place for place, count in self.lines.items() if count == 0}

    def unreached_branches(self):
        """Return the outcomes that never happened, as words, by the lines that were reached."""
        found = {}
        for place, decisions in sorted(self.branches.items()):
            missing = [
                f"{i + 1} of {len(counts)}" + (f" of decision {n}" if len(decisions) > 1 else "")
                for n, counts in enumerate(decisions.values(), 1)
                for i, count in enumerate(counts)
                if count == 0
            ]
            if missing and self.lines[place] > 0:
                found[place] = ", ".join(missing)
        return found


def counts_of(folder, sources):
    """Return the counts of all of our files."""
    counts = Counts()
    generated = {}
    for name, lines in files_of_gcov(folder):
        if name.startswith(f"build{os.sep}cython"):
            if name not in generated:
                generated[name] = lines_of_cython((folder / name).read_text(encoding="utf-8"))
            add_cython(counts, generated[name], lines, sources)
        elif name.startswith(PACKAGE):
            add_c(counts, name, lines, sources)
    return counts


CONDITION = re.compile(r"\b(if|for|while)\b|&&|\|\||\?")


def add_c(counts, name, lines, sources):
    for line in lines:
        place = Place(name, line["line_number"])
        counts.add_line(place, line["count"])
        taken = [branch["count"] for branch in line["branches"]]
        if taken and "_simd" in name:
            n = 2 * max(1, len(CONDITION.findall(sources.line(place)[1])))
            n = n if len(taken) % n == 0 else 2
            taken = [sum(taken[i::n]) for i in range(n)]
        if taken:
            counts.add_branches(place, len(taken), taken)


# Cython ----------------------------------------------------------------------------------------

MARKER = re.compile(r'\s*/\* "(?P<path>[^"]+)":(?P<line>\d+)$')
# From here to the next marker, the code is Cython's own.
END_OF_BODY = re.compile(r"\s*/\* function exit code \*/|\}|/\* Python wrapper \*/")
# `if (t) {`, `if (!t) break;` and the like, with a temporary variable. Cython thinks it unlikely
# that an exception is raised.
DECISION = re.compile(
    r"\s*(\} else )?"
    r"(if \((?P<condition>.*)\) (\{|break;)|for \(__pyx_t_\d+ = .*\{|switch \(.*\) \{)$"
)
OWN_OF_CYTHON = re.compile(
    r"likely\((?!__pyx_t_\d+\)$)|Py[A-Z_x]|values\[|CYTHON_|__pyx_nargs|__pyx_temp"
)
# What Cython decides in these is whether there is an exception.
LINES_OF_EXCEPTIONS = ("with ", "except", "try:", "finally:", '"""')


def lines_of_cython(text):
    """Return for each line of the generated C its place, and whether it is a decision."""
    found, place, is_comment = [None], None, False
    for line in text.splitlines():
        marker = MARKER.match(line)
        if marker:
            path, number = marker["path"], int(marker["line"])
            place = Place(path, number) if path.startswith(PACKAGE) else None
            is_comment = True
        elif END_OF_BODY.match(line):
            place = None
        decision = DECISION.match(line)
        is_decision = bool(decision) and not OWN_OF_CYTHON.search(decision["condition"] or line)
        found.append(None if is_comment else (place, is_decision))
        if is_comment and line.endswith("*/"):
            is_comment = False
    return found


def add_cython(counts, generated, lines, sources):
    n_seen = defaultdict(int)  # decisions of a line of the source, by function
    for line in lines:
        entry = generated[line["line_number"]]
        if entry is None or entry[0] is None:
            continue
        place, is_decision = entry
        counts.add_line(place, line["count"])
        text = sources.line(place)[1]
        if is_decision and line["branches"] and not text.startswith(LINES_OF_EXCEPTIONS):
            function = line.get("function_name", "")
            n_seen[place, function] += 1
            # The copies of a function for each type decide the same.
            decision = (re.sub(r"__pyx_fuse_\d+", "", function), n_seen[place, function])
            taken = [branch["count"] for branch in line["branches"]]
            counts.add_branches(place, decision, taken)


# Reasons ---------------------------------------------------------------------------------------

BEGIN_OF_FUNCTION = {
    ".pyx": re.compile(r"\s*(?:cdef|cpdef|def)\b[^=]*?(\w+)\("),
    ".pxd": re.compile(r"\s*(?:cdef|cpdef|def)\b[^=]*?(\w+)\("),
    ".c": re.compile(r"[A-Za-z_][\w \*]*?\b(?:NAME\()?(\w+)\)?\("),
    ".h": re.compile(r"[A-Za-z_][\w \*]*?\b(?:NAME\()?(\w+)\)?\("),
}


class Sources:
    """The text and the function of each line of the source."""

    def __init__(self, folder):
        self.folder, self._known = folder, {}

    def line(self, place):
        """Return the function that a line is in, and its text."""
        if place.file not in self._known:
            self._known[place.file] = self._read(place.file)
        return self._known[place.file][place.line - 1]

    def has(self, file, function, text):
        """Whether a function has a line with this text."""
        self.line(Place(file, 1))
        return (function, text) in self._known[file]

    def _read(self, file):
        begin, function, lines = BEGIN_OF_FUNCTION[Path(file).suffix], "", []
        for text in (self.folder / file).read_text(encoding="utf-8").splitlines():
            if (found := begin.match(text)) and not text.endswith(";"):
                function = found[1]
            lines.append((function, text.strip()))
        return lines


def reasons():
    """Return what has a reason, (what, file, function, text), and whether it may be reached."""
    entries = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    return {
        (what, f"{PACKAGE}/{entry['file']}", entry["function"], entry["text"]): entry.get(
            "sometimes", False
        )
        for what in ("line", "branch")
        for entry in entries.get(what, ())
        if entry["reason"]
    }


def report(counts, sources):
    """Print the figures and all that is wrong; return the exit status."""
    unreached = {("line", place): "" for place in sorted(counts.unreached_lines())}
    unreached |= {("branch", place): words for place, words in counts.unreached_branches().items()}
    known, used, faults = reasons(), set(), []
    used |= {entry for entry, may_be in known.items() if may_be and sources.has(*entry[1:])}
    for (what, place), words in unreached.items():
        function, text = sources.line(place)
        entry = (what, place.file, function, text)
        if entry in known:
            used.add(entry)
        else:
            faults.append(f"{what} {place.file}:{place.line}: {function}: {text}  {words}")
    faults += [
        f"reached or gone, but has a reason: {entry}" for entry in sorted(known.keys() - used)
    ]
    print(figures(counts, len(known), len(faults)), flush=True)
    print(*faults, sep="\n")
    return int(bool(faults))


def figures(counts, n_reasons, n_faults):
    """Return the figures of all files in one line."""
    words = []
    for name, suffixes in (("Cython", (".pyx", ".pxd")), ("C", (".c", ".h"))):
        lines = [n for place, n in counts.lines.items() if place.file.endswith(suffixes)]
        branches = [
            n
            for place, decisions in counts.branches.items()
            if place.file.endswith(suffixes)
            for taken in decisions.values()
            for n in taken
        ]
        words.append(
            f"{name}: {len(lines) - lines.count(0):,} of {len(lines):,} lines, "
            f"{len(branches) - branches.count(0):,} of {len(branches):,} outcomes of decisions"
        )
    found = f"{n_faults} FAULTS" if n_faults else "nothing found"
    return f"coverage: {'; '.join(words)}; {n_reasons} with a reason: {found}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", default=TESTS, help="files and folders of tests/")
    parser.add_argument("--folder", type=Path, help="build and test here, and keep it")
    parser.add_argument("--again", action="store_true", help="only read the counts of the folder")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        is_good = True
        if not given.again:
            if not (folder / PACKAGE).exists():
                build(folder)
            is_good = test(folder, given.tests)
        sources = Sources(folder)
        status = report(counts_of(folder, sources), sources)
    if not is_good:
        print("the tests must pass")
    return status or int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
