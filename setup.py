"""Extension modules and compiler flags; everything else is in pyproject.toml.

FASTMLP_OPENMP=0   build for one thread, even where OpenMP is there
FASTMLP_DEBUG=1    bounds checks on and optimisation off in the core
"""

import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SIMD = Path("fastmlp/_simd")
SIMD_FILES = sorted(map(str, SIMD.glob("*.[ch]")))

# The compiler must neither fuse multiplications with additions by itself nor reorder anything: what
# is fused says so (_simd/fma.h), and so all compilers make the same bits (tests/test_compilers.py).
SAME_BITS = ["-ffp-contract=off"]
OPTIMIZATION = ["-O3", "-fno-math-errno", "-fno-trapping-math"]

# _simd/kernels.c is compiled once with each of these, for 64-bit x86; elsewhere just once.
INSTRUCTION_SETS = {
    "baseline": [],
    "avx2": ["-DVECTOR_BYTES=32", "-mavx2", "-mfma"],
    "avx512": [
        "-DVECTOR_BYTES=64", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma",
        "-mprefer-vector-width=512",
    ],
}  # fmt: skip
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")

DEBUG = os.environ.get("FASTMLP_DEBUG", "0") == "1"

OPENMP_PROGRAM = """
#include <omp.h>
int main(void) {
    int n = 0;
    #pragma omp parallel
    { n = omp_get_num_threads(); }
    return n < 1;
}
"""

# (compiler flags, linker flags), tried in this order
OPENMP_FLAGS = {
    "win32": [(["/openmp"], [])],
    "darwin": [
        (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),
        *[
            (["-Xpreprocessor", "-fopenmp", f"-I{omp}/include"], [f"-L{omp}/lib", "-lomp"])
            for omp in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp")
        ],
        (["-fopenmp"], ["-fopenmp"]),
    ],
}.get(sys.platform, [(["-fopenmp"], ["-fopenmp"])])

NO_OPENMP = """
********************************************************************************
fastmlp is being built for ONE THREAD: {reason}.
It works all the same, only slower on large networks. For more threads:
  Debian, Ubuntu   apt install build-essential   (gcc brings OpenMP)
  macOS            brew install libomp
  Windows          the C++ build tools of Visual Studio bring OpenMP
then install again.
********************************************************************************
"""


class BuildExtensions(build_ext):
    def build_extensions(self):
        if self.compiler.compiler_type == "msvc":
            compile_flags = ["/Od"] if DEBUG else ["/O2"]
        elif DEBUG:
            compile_flags = ["-O0", "-g", *SAME_BITS]
        else:
            compile_flags = OPTIMIZATION + SAME_BITS
        openmp_compile, openmp_link = self.openmp_flags()
        for extension in self.extensions:
            extension.extra_compile_args = compile_flags + openmp_compile
            extension.extra_link_args = openmp_link
            extension.extra_objects = self.kernel_objects(compile_flags)
        super().build_extensions()

    def kernel_objects(self, compile_flags):
        """Compile the kernels once for each instruction set, and what chooses among them."""
        has_sets = ON_X86 and self.compiler.compiler_type == "unix"
        objects = self.compiler.compile(
            [str(SIMD / "choose.c")],
            output_dir=self.build_temp,
            macros=[("FASTMLP_X86", "1")] if has_sets else [],
            extra_postargs=compile_flags,
        )
        for name, flags in INSTRUCTION_SETS.items() if has_sets else [("baseline", [])]:
            objects += self.compiler.compile(
                [str(SIMD / "kernels.c")],
                output_dir=str(Path(self.build_temp, name)),
                extra_postargs=compile_flags + flags,
            )
        return objects

    def openmp_flags(self):
        if os.environ.get("FASTMLP_OPENMP", "1") == "0":
            print(NO_OPENMP.format(reason="FASTMLP_OPENMP=0 is set"), file=sys.stderr)
            return [], []
        for compile_flags, link_flags in OPENMP_FLAGS:
            if self.links(OPENMP_PROGRAM, compile_flags, link_flags):
                return compile_flags, link_flags
        print(NO_OPENMP.format(reason="the C compiler has no OpenMP"), file=sys.stderr)
        return [], []

    def links(self, program, compile_flags, link_flags):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(program)
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=compile_flags
                )
                self.compiler.link_executable(
                    objects, "probe", output_dir=folder, extra_postargs=link_flags
                )
            except Exception:  # each compiler class raises errors of its own
                return False
        return True


setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastmlp._core",
                ["fastmlp/_core.pyx"],
                include_dirs=["fastmlp", numpy.get_include()],
                depends=SIMD_FILES,
            )
        ],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "initializedcheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
        },
    ),
    cmdclass={"build_ext": BuildExtensions},
)
