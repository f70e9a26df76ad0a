"""Extension modules and compiler flags; everything else is in pyproject.toml.

FASTMLP_DEBUG=1       bounds checks on and optimisation off in the core
FASTMLP_CFLAGS="..."  flags that follow all others, such as those of a sanitizer
FASTMLP_CLANG_CL=1    on Windows, clang-cl instead of Microsoft's compiler, which has no vectors
"""

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SIMD = Path("fastmlp/_simd")
C_FILES = sorted(map(str, Path("fastmlp").glob("_*/*.[ch]")))

# The compiler must neither fuse multiplications with additions by itself nor reorder anything: what
# is fused says so (_simd/fma.h), and so all compilers make the same bits (tests/test_compilers.py).
SAME_BITS = ["-ffp-contract=off"]
# Symbols for debuggers would be four fifths of the core.
OPTIMIZATION = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-g0"]

# Unless they are told to inline first, clang 14 to 16 simplify the tile before its sizes are known,
# and then keep the sums in memory instead of registers (bench/figures.md: inline-first). gcc and
# Microsoft's compiler do not know the option.
INLINE_FIRST = ["-mllvm", "-enable-module-inliner"]

# _simd/kernels.c is compiled once with each of these, for 64-bit x86; elsewhere just once. Without
# prfchw, a prefetch for writing is one for reading, which claims nothing (_simd/products.h); a CPU
# that has AVX2 but not this instruction ignores it.
INSTRUCTION_SETS = {
    "baseline": [],
    "avx2": ["-DVECTOR_BYTES=32", "-mavx2", "-mfma", "-mprfchw"],
    "avx512": [
        "-DVECTOR_BYTES=64", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma",
        "-mprfchw", "-mprefer-vector-width=512",
    ],
}  # fmt: skip
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")

DEBUG = os.environ.get("FASTMLP_DEBUG", "0") == "1"
CLANG_CL = sys.platform == "win32" and os.environ.get("FASTMLP_CLANG_CL", "0") == "1"
# CFLAGS would come first, and ours would win over them.
LAST_FLAGS = os.environ.get("FASTMLP_CFLAGS", "").split()


class BuildExtensions(build_ext):
    """Compiles all C files of all extensions side by side, and then links them."""

    def build_extensions(self):
        if CLANG_CL:
            self.use_clang_cl()
            compile_flags = of_clang_cl(["-O0"] if DEBUG else OPTIMIZATION + SAME_BITS)
        elif self.compiler.compiler_type == "msvc":
            compile_flags = ["/Od"] if DEBUG else ["/O2"]
        elif DEBUG:
            compile_flags = ["-O0", "-g", *SAME_BITS]
        else:
            compile_flags = OPTIMIZATION + SAME_BITS
        compile_flags = compile_flags + LAST_FLAGS
        # The compiler of Microsoft is set up by its first file.
        n_at_once = 1 if self.compiler.compiler_type == "msvc" else os.cpu_count()
        with ThreadPoolExecutor(n_at_once) as pool:
            of_extensions = [
                [pool.submit(job, compile_flags=compile_flags) for job in self.jobs(extension)]
                for extension in self.extensions
            ]
        for extension, objects in zip(self.extensions, of_extensions, strict=True):
            extension.depends = [*extension.depends, *extension.sources]
            extension.sources = []  # they are compiled
            extension.extra_objects = [path for done in objects for path in done.result()]
        super().build_extensions()

    def use_clang_cl(self):
        """Compile with clang-cl, which takes the options of Microsoft's compiler."""
        self.compiler.initialize()
        self.compiler.cc = shutil.which("clang-cl")
        if self.compiler.cc is None:
            raise RuntimeError("FASTMLP_CLANG_CL=1, but there is no clang-cl on the path")

    def jobs(self, extension):
        """Give functions that each compile a C file of an extension, the longest one first."""
        for source in extension.sources:
            yield partial(
                self.objects_of,
                source,
                self.build_temp,
                macros=extension.define_macros,
                include_dirs=extension.include_dirs,
            )
        if extension.name != "fastmlp._core":
            return
        has_sets = ON_X86 and (self.compiler.compiler_type == "unix" or CLANG_CL)
        # With a sanitizer, clang would take a quarter of an hour for it.
        inlining = INLINE_FIRST if not LAST_FLAGS and self.takes(INLINE_FIRST) else []
        for name, flags in INSTRUCTION_SETS.items() if has_sets else [("baseline", [])]:
            flags = of_clang_cl(flags) if CLANG_CL else flags + inlining
            yield partial(self.objects_of, SIMD / "kernels.c", Path(self.build_temp, name), flags)
        macros = [("FASTMLP_X86", "1")] if has_sets else []
        yield partial(self.objects_of, SIMD / "choose.c", self.build_temp, macros=macros)

    def takes(self, flags):
        """Tell whether the compiler of a Unix knows flags."""
        if self.compiler.compiler_type != "unix":
            return False
        command = [*self.compiler.compiler_so, *flags, "-fsyntax-only", "-x", "c", os.devnull]
        return subprocess.run(command, capture_output=True).returncode == 0

    def objects_of(self, source, folder, flags=(), compile_flags=(), **options):
        """Compile a C file; return the object files."""
        return self.compiler.compile(
            [str(source)], str(folder), extra_postargs=[*compile_flags, *flags], **options
        )


def of_clang_cl(flags):
    """Return flags of clang as clang-cl takes them."""
    return [f"/clang:{flag}" for flag in flags]


setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastmlp._core",
                ["fastmlp/_core.pyx", "fastmlp/_team/team.c"],
                include_dirs=["fastmlp", numpy.get_include()],
                depends=C_FILES,
            ),
            Extension("fastmlp._guard", ["fastmlp/_guard.pyx"]),
        ],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "initializedcheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "freethreading_compatible": True,
        },
    ),
    cmdclass={"build_ext": BuildExtensions},
)
