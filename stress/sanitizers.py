"""Memory safety: `python stress/sanitizers.py --seconds 60`.

fastmlp is built with a sanitizer in a copy of the source, once for each kind:

- asan-gcc, asan-clang: AddressSanitizer and UndefinedBehaviorSanitizer,
- tsan: ThreadSanitizer,
- valgrind: memcheck.

In it the tests of the kernels, the core and the engine run (not with valgrind), and then random
cases: those of `configurations.py`, and for threads also those of `at_once.py` and `threads.py`.
There may be no report with a place of ours, and the cases keep all other promises, too.

`--plant` checks the check: it plants faults that must be reported.
"""

import importlib
import itertools
import math
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

import cases
from cases import arguments, in_words, run_cases
from sanitizer_builds import KINDS, PLANTS, Copy

cases.SECONDS_OF_HANG = 1800  # of a case that takes fifty times as long as usual

# What the cases of a script are called in the figures.
NAMES = {
    "configurations": "configurations",
    "at_once": "groups of fits at once",
    "threads": "fits shared by 64 threads",
}
SCRIPTS = dict.fromkeys(KINDS, ("configurations",)) | {
    "tsan": ("configurations", "at_once", "threads")
}

TESTS = ("tests/core", "tests/engine")
# What is compiled by the test itself, or by the user, has no sanitizer.
NOT_TESTED = ["tests/core/test_compilers.py", "tests/engine/test_c_source.py"]
# Arrays are changed there while the core reads them: data races on purpose, which are to do no
# harm to memory. That is for AddressSanitizer to see.
RACES_ON_PURPOSE = ["tests/core/test_changed_arrays.py"]

N_CASES_OF_PLANT = 12


def try_script(script, seed):
    """Try a case of a script, and count it. Configurations have all kernels of this CPU in turn."""
    core = importlib.import_module("fastmlp._core")
    names = core.kernel_names()
    # Those of threads.py are compared with fits of cases before, which had the same bits then.
    core.use_kernels(names[seed % len(names)] if script == "configurations" else names[0])
    counts, numbers = importlib.import_module(script).try_case(seed)
    return Counter({NAMES[script]: 1}) + counts, numbers


def run_tests(copy, kind):
    """Run the tests; return how many have passed, and what pytest says if any has failed."""
    left_out = NOT_TESTED + RACES_ON_PURPOSE * (kind == "tsan")
    options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", "--rootdir=.", "--no-header"]
    options += ["--capture=no"]  # reports on stderr are to get out
    done = copy.run(
        ["-P", "-m", "pytest", *options, *(f"--ignore={path}" for path in left_out), *TESTS]
    )
    passed = re.findall(r"(\d+) passed", done.stdout)
    is_broken = done.returncode != 0 or not passed
    return int((passed or [0])[-1]), [f"tests:\n{done.stdout[-6000:]}"] if is_broken else []


def run_scripts(copy, kind, given):
    """Try the cases of all scripts of a kind; return counts, and the faults in words."""
    resource_tracker.ensure_running()  # with the Python of this process
    multiprocessing.set_executable(str(copy.python))
    sys.path.insert(0, str(copy.folder))  # children take over the path of this process
    counts, faults = Counter(), []
    for script in SCRIPTS[kind]:
        seconds, seeds = given.seconds / len(SCRIPTS[kind]), itertools.count(given.seed)
        if script == "configurations" and given.configurations:
            seconds, seeds = math.inf, range(given.seed, given.seed + given.configurations)
        # A case of threads.py has 64 of them.
        n_children = 1 if script == "threads" else given.jobs
        results = run_cases(partial(try_script, script), seconds, seeds, n_children)
        counts += results.counts
        faults += [f"case {seed} of {script}.py: {fault}" for seed, fault in results.faults.items()]
    sys.path.remove(str(copy.folder))
    return counts, faults


def version_of(kind):
    """Return the versions of the compiler and of the program that runs Python."""
    programs = [KINDS[kind].compiler, *KINDS[kind].runner.split()[:1]]
    said = [
        subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
        for name in programs
    ]
    return ", ".join(re.sub(r" \([^)]*\)", "", text.splitlines()[0]) for text in said)


def check_kind(kind, copy, given):
    """Build and run all that is done with a kind; return whether a promise is broken."""
    copy.build(kind)
    kernels, counts, faults = copy.kernels(), Counter(), []
    if kind != "valgrind" and given.tests:
        counts["tests"], faults = run_tests(copy, kind)
    if given.seconds > 0 or given.configurations:
        more = run_scripts(copy, kind, given)
        counts, faults = counts + more[0], faults + more[1]
    reports = copy.reports()
    found = f"{len(faults)} FAULTS" if faults else "FAULTS" if reports else "nothing found"
    print(
        f"sanitizers, {kind} ({version_of(kind)}; {' '.join(kernels)}): "
        f"{in_words(counts) or 'nothing done'}: {len(reports)} reports, {found}",
        flush=True,
    )
    command = f"python {__file__} --only {kind} --no-tests --seconds 0 --configurations 1 --seed"
    for fault in faults:
        print(f"\n{fault}\na configuration alone: {command} SEED", flush=True)
    for headline, report in reports.items():
        print(f"\n{headline}\n{report[:6000]}", flush=True)
    return bool(faults or reports or not counts)


def check_plants(kind, copy, given):
    """Plant the faults that this kind should report; return whether one has not been reported."""
    plants = {name: fault for name, fault in PLANTS.items() if kind in fault.kinds}
    for fault in plants.values():
        copy.plant(fault)
    copy.build(kind)
    copy.kernels()
    run_scripts(copy, kind, given)
    reports = copy.reports().values()
    missed = [
        name
        for name, fault in plants.items()
        if not any(re.search(fault.report, report) for report in reports)
    ]
    print(
        f"sanitizers, {kind}: of {len(plants)} faults planted {len(plants) - len(missed)} are "
        f"reported{': NOT ' * bool(missed)}{', '.join(missed)}",
        flush=True,
    )
    return bool(missed)


def try_kind(kind, given):
    """Do all that is to be done with a kind in a copy; return whether a promise is broken."""
    if missing := KINDS[kind].missing():
        print(f"sanitizers, {kind}: NOT RUN: there is no {' and no '.join(missing)}", flush=True)
        return False
    folder = Path(tempfile.mkdtemp(prefix="sanitizers-")).resolve()
    try:
        copy = Copy(folder)
        if not given.plant:
            return check_kind(kind, copy, given)
        return check_plants(kind, copy, given)
    finally:
        if given.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--configurations", type=int, metavar="N", help="so many, however long they take"
    )
    parser.add_argument("--no-tests", dest="tests", action="store_false", help="only random cases")
    parser.add_argument("--plant", action="store_true", help="plant faults that must be reported")
    parser.add_argument("--keep", action="store_true", help="keep the copies, and say where")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.plant:
        given.configurations = given.configurations or N_CASES_OF_PLANT
    return int(any([try_kind(kind, given) for kind in given.only]))


if __name__ == "__main__":
    sys.exit(main())
