"""A copy of fastmlp that is built with a sanitizer, and what it has reported.

The copy has a program `python` that runs Python with the sanitizer's library, for all that
`sanitizers.py` does in it, and for whoever looks for a fault by hand (`--keep`).
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("fastmlp", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")

# Of C files and of the extensions. Sanitizers see what is compiled with them, and the functions of
# the C library that anybody calls, such as memcpy; reports without a place of ours are of Python,
# NumPy or BLAS, which are not compiled with them.
OURS = "fastmlp/_"

COMMON = "-O1 -g -fno-omit-frame-pointer"
# float-cast-overflow is as undefined as the others, but gcc does not count it among them.
# With "recover" a process goes on after a report, so that one does not hide another. The flags of
# Python have -fwrapv, with which an overflow would be defined, and not be reported.
MEMORY = (
    "-fno-wrapv -fsanitize=address,undefined,float-cast-overflow "
    "-fsanitize-recover=address,undefined,float-cast-overflow"
)

# Python keeps what is allocated until it ends, so that leaks are soak.py's. An array of billions
# of columns must be refused as without a sanitizer, which would take the addresses and no memory.
SHARED_OPTIONS = "halt_on_error=0:allocator_may_return_null=1:max_allocation_size_mb=8000"
OPTIONS = {
    # faulthandler must not take the signals: the report has a stack of C functions. The use of a
    # function's memory after its return is not looked for: gcc 12 then moves that memory to where
    # it is not aligned to the vectors of AVX-512 (gcc's bug 110027), and add_rows crashes.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:handle_segv=2:handle_sigbus=2:"
    "handle_sigfpe=2:handle_sigill=2",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # A report is counted where it is read, and does not change the exit status.
    "TSAN_OPTIONS": "exitcode=0:history_size=7:die_after_fork=0",
}
VALGRIND = (
    "valgrind --quiet --tool=memcheck --show-leak-kinds=none --error-limit=no --num-callers=40 "
    "--xml=yes --xml-file={logs}/valgrind.%p"
)
SETTINGS = {
    "OMP_WAIT_POLICY": "passive",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONMALLOC": "malloc",  # Python's own allocator would hide where a block ends
}


class Kind(NamedTuple):
    """A compiler with its flags, the library to be loaded first, and a program that runs Python."""

    compiler: str
    flags: str
    library: str = ""
    runner: str = ""

    def missing(self):
        """Return the names of the programs that this kind needs and that are not there."""
        needed = [self.compiler, *self.runner.split()[:1]]
        return [name for name in needed if not shutil.which(name)]


def newest_clang():
    """Return the name of the newest clang on the PATH."""
    names = [f"clang-{version}" for version in range(40, 10, -1)]
    return next(filter(shutil.which, names), "clang")


CLANG_LIBRARY = f"libclang_rt.asan-{platform.machine()}.so"
KINDS = {
    "asan-gcc": Kind("gcc", MEMORY, "libasan.so"),
    "asan-clang": Kind(newest_clang(), f"{MEMORY} -shared-libasan", CLANG_LIBRARY),
    "tsan": Kind("gcc", "-fsanitize=thread", "libtsan.so"),
    "valgrind": Kind("gcc", "", runner=VALGRIND),
}


class Fault(NamedTuple):
    """A fault to be planted: ``text``, which stands in ``file`` once, becomes ``other``.

    ``report`` is a pattern for what the sanitizers of ``kinds`` say of it.
    """

    file: str
    text: str
    other: str
    report: str
    kinds: tuple


PLANTS = {
    # so that the last one is beyond the end of the memory
    "arrays are a float too short": Fault(
        "_engine/exact.py",
        "CACHE_LINE, n_bytes) != 0",
        "CACHE_LINE, max(n_bytes - 4, 0)) != 0",
        r"heap-buffer-overflow|Invalid(Read|Write)",
        ("asan-gcc", "asan-clang", "valgrind"),
    ),
    "a sum of int overflows": Fault(
        "_team/team.c",
        "return (int)(microseconds * PAUSES / least) + 1;",
        "return (int)(microseconds * PAUSES / least) + 2147483647;",
        r"runtime error: signed integer overflow",
        ("asan-gcc", "asan-clang"),
    ),
    "nobody waits at a barrier": Fault(
        "_team/team.c",
        "        WAIT_UNTIL(team->members[me], load(&team->n_barriers) != n_barriers, "
        "stay_apart(team, me));\n",
        "        pause_a_little();\n",
        r"data race",
        ("tsan",),
    ),
}


class Copy:
    """The source in a folder, where it is changed, built and run."""

    def __init__(self, folder):
        self.folder, self.logs = folder, folder / "logs"
        self.python = folder / "python"
        for name in NEEDED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, folder / name)
        for leftover in (folder / "fastmlp").glob("_*.so"):
            leftover.unlink()
        shutil.copy2(ROOT / "stress" / "exact.py", folder / "fastmlp" / "_engine")
        with open(folder / "fastmlp" / "_engine" / "layout.py", "a", encoding="utf-8") as layout:
            layout.write("\n\nfrom fastmlp._engine.exact import aligned as _aligned\n")

    def plant(self, fault):
        """Change the source so that it has the fault."""
        path = self.folder / "fastmlp" / fault.file
        source = path.read_text(encoding="utf-8")
        if source.count(fault.text) != 1:
            sys.exit(f"what is to be changed stands {source.count(fault.text)} times in {path}")
        path.write_text(source.replace(fault.text, fault.other), encoding="utf-8")

    def build(self, kind):
        """Compile with the flags of a kind, and write the program that runs Python with it."""
        kind = KINDS[kind]
        done = subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"],
            cwd=self.folder,
            env={
                **os.environ,
                "CC": kind.compiler,
                "FASTMLP_CFLAGS": f"{COMMON} {kind.flags}",
                "LDFLAGS": kind.flags,
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            sys.exit(f"it does not build:\n{done.stdout[-3000:]}")
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir()
        self.python.write_text(self._program(kind), encoding="utf-8")
        self.python.chmod(0o755)

    def _program(self, kind):
        """Return the text of a program that runs Python with the sanitizer of a kind."""
        settings = SETTINGS | {
            name: f"{options}:{SHARED_OPTIONS}:log_path={self.logs / 'report'}"
            for name, options in OPTIONS.items()
        }
        # The library for exceptions of C++ must be there when that of the sanitizer looks for it.
        libraries = [kind.library, "libstdc++.so.6"] if kind.library else []
        settings["LD_PRELOAD"] = " ".join(path_of(kind.compiler, name) for name in libraries)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
        path = shlex.quote(str(self.folder))
        runner = kind.runner.format(logs=shlex.quote(str(self.logs)))
        # With gcc, the path of UndefinedBehaviorSanitizer goes to the library of AddressSanitizer,
        # which has a function of the same name, and it writes to stderr itself.
        errors = shlex.quote(str(self.logs / "stderr"))
        return "\n".join(
            (
                "#!/bin/sh",
                f"export PYTHONPATH={path}${{PYTHONPATH:+:$PYTHONPATH}}",
                *lines,
                f'exec {runner} {shlex.quote(sys.executable)} "$@" 2>> {errors}.$$\n',
            )
        )

    def run(self, arguments):
        """Run the copy's `python` in its folder; return what has become of it."""
        return subprocess.run(
            [str(self.python), *arguments], cwd=self.folder, stdout=subprocess.PIPE, text=True,
            errors="replace", check=False,
        )  # fmt: skip

    def kernels(self):
        """Return the names of the kernels, if Python starts at all and takes this copy."""
        code = "import fastmlp; print(fastmlp.__file__, *fastmlp._core.kernel_names())"
        done = self.run(["-P", "-c", code])
        path, *names = done.stdout.partition("\n")[0].split(" ")
        if done.returncode != 0 or Path(path).parent != self.folder / "fastmlp":
            said = "".join(path.read_text(errors="replace") for path in self.logs.iterdir())
            sys.exit(f"Python does not start with the sanitizer:\n{said[-3000:]}")
        return names

    def reports(self):
        """Return all reports that have a place of ours, each once, by their first lines."""
        reports = {}
        for path in sorted(self.logs.iterdir()):
            for report in reports_in(path.read_text(encoding="utf-8", errors="replace")):
                if OURS in places_in(report):
                    reports.setdefault(headline_of(report), report)
        return reports


def path_of(compiler, library):
    """Return where a compiler has a library."""
    return subprocess.run(
        [compiler, f"-print-file-name={library}"], capture_output=True, text=True, check=True
    ).stdout.strip()


BEGINNINGS = re.compile(
    r"^(?:==\d+==\s*ERROR: |WARNING: ThreadSanitizer: |FATAL: |\S+: runtime error: |<error>)", re.M
)


def reports_in(text):
    """Return the reports in the log of a process. Leaks, which XML cannot do without, are none."""
    starts = [match.start() for match in BEGINNINGS.finditer(text)]
    reports = [text[i:j] for i, j in pairwise([*starts, len(text)])]
    return [report for report in reports if "<kind>Leak_" not in report]


def places_in(report):
    """Return the part of a report that says where it happened.

    ThreadSanitizer says, too, where a thread was started that has done something elsewhere: all
    threads of a team are started by us.
    """
    return re.split(r"^  Thread T\d+ ", report, maxsplit=1, flags=re.M)[0]


def headline_of(report):
    """Return what distinguishes a report from others: its kind and the first place of ours."""
    first, _, rest = report.partition("\n")
    if "runtime error: " in first:  # it begins with its place, and tells the numbers
        place, _, what = first.partition(" runtime error: ")
        return f"{place} {re.sub(r'-?[0-9][0-9a-fx.e+-]*', '#', what)}"
    if first.startswith("<error>"):
        return " ".join(re.findall(r"<(?:kind|fn|line)>(.*?)</", report)[:6])
    place = next((line for line in rest.splitlines() if OURS in line), "")
    return " ".join(re.sub(r"\b0x[0-9a-f]+|\(pid=\d+\)|==\d+==", "", first + place).split())
