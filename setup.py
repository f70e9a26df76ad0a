"""Extension modules and compiler flags; everything else is in pyproject.toml.

FASTMLP_DEBUG=1    bounds checks on and optimisation off in the core
"""

import os
import platform
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


class BuildExtensions(build_ext):
    def build_extensions(self):
        if self.compiler.compiler_type == "msvc":
            compile_flags = ["/Od"] if DEBUG else ["/O2"]
        elif DEBUG:
            compile_flags = ["-O0", "-g", *SAME_BITS]
        else:
            compile_flags = OPTIMIZATION + SAME_BITS
        for extension in self.extensions:
            extension.extra_compile_args = compile_flags
            if extension.name == "fastmlp._core":
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
        },
    ),
    cmdclass={"build_ext": BuildExtensions},
)
