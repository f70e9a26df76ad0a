"""Every C compiler makes the same bits of the kernels, and so do AVX2 and AVX-512.

`kernel_bits.c` prints a hash of what each kernel computes. The newest gcc and the newest clang on
the path build it with the kernels and the flags of setup.py; with FASTMLP_ALL_COMPILERS=1 in the
environment every gcc and clang does, which takes half a minute for each.
"""

import ast
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIMD = ROOT / "fastmlp" / "_simd"
TYPES = {"f32": "float", "f64": "double"}


def flags_of_setup():
    """Those assigned in setup.py, which is no module to import: it needs Cython."""
    names = {"OPTIMIZATION", "SAME_BITS", "INLINE_FIRST", "INSTRUCTION_SETS"}
    found = {}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in names:
            found[node.targets[0].id] = ast.literal_eval(node.value)
    assert set(found) == names
    flags = found["OPTIMIZATION"] + found["SAME_BITS"]
    sets = found["INSTRUCTION_SETS"]
    if platform.machine().lower() not in ("x86_64", "amd64"):
        sets = {"baseline": sets["baseline"]}
    return flags, found["INLINE_FIRST"], sets


def compilers_on_path():
    """Each once, by what it says of itself: `cc` is most often one of the others."""
    by_version = {}
    names = {"cc", "gcc", "clang"}
    for folder in os.get_exec_path():
        if os.path.isdir(folder):
            names |= {n for n in os.listdir(folder) if re.fullmatch(r"(gcc|clang)-\d+", n)}
    for name in sorted(names):
        if path := shutil.which(name):
            said = subprocess.run([path, "--version"], capture_output=True, text=True)
            version = said.stdout.replace(name, "").splitlines()[:1]
            if said.returncode == 0 and version:
                by_version[version[0].split("(")[-1]] = name
    return sorted(by_version.values())


def newest_of_each_kind(compilers):
    """By the number in the name; one without a number is taken if there is no other."""
    by_kind = {}
    for name in compilers:
        kind, _, number = name.partition("-")
        by_kind[kind] = max(by_kind.get(kind, (0, name)), (int(number or 0), name))
    return sorted(name for _, name in by_kind.values())


COMPILERS = compilers_on_path()
if os.environ.get("FASTMLP_ALL_COMPILERS", "0") == "0":
    COMPILERS = newest_of_each_kind(COMPILERS)


def lines_by(compiler, folder):
    """What kernel_bits prints when a compiler has built it: {set: [(kernel, hash), ...]}."""
    flags, inline_first, sets = flags_of_setup()
    if "clang" in compiler:
        flags = flags + inline_first

    def compiled(source, name, *more):
        target = folder / f"{name}.o"
        subprocess.run([compiler, *flags, *more, "-c", source, "-o", target], check=True)
        return target

    jobs = [(SIMD / "kernels.c", name, *more) for name, more in sets.items()]
    jobs.append((SIMD / "choose.c", "choose", *(["-DFASTMLP_X86"] if len(sets) > 1 else [])))
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda job: compiled(*job), jobs))
    lines = {}
    for name, real in TYPES.items():
        source = Path(__file__).with_name("kernel_bits.c")
        driver = compiled(source, name, f"-DREAL={real}", f"-DTYPE={name}")
        program = folder / f"kernel_bits_{name}"
        subprocess.run([compiler, driver, *objects, "-o", program, "-lm"], check=True)
        printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        for line in printed.splitlines():
            instruction_set, *kernel, bits = line.split()
            lines.setdefault(instruction_set, []).append((" ".join(kernel), bits))
    return lines


@pytest.fixture(scope="module")
def bits(tmp_path_factory):
    """A function from a compiler's name to its lines, by instruction set."""
    known = {}

    def of(compiler):
        if compiler not in known:
            known[compiler] = lines_by(compiler, tmp_path_factory.mktemp(compiler))
        return known[compiler]

    return of


def differences(got, want):
    """The kernels and sizes that come to other bits, the first of them."""
    assert [kernel for kernel, _ in got] == [kernel for kernel, _ in want]
    assert len(got) > 10_000
    kernels = [a[0] for a, b in zip(got, want, strict=True) if a != b]
    return len(kernels), kernels[:20]


@pytest.mark.slow  # a third of a minute a compiler
@pytest.mark.skipif(len(COMPILERS) < 2, reason=f"there is just one C compiler: {COMPILERS}")
@pytest.mark.parametrize("compiler", COMPILERS[1:])
def test_bits_do_not_depend_on_the_compiler(bits, compiler):
    got, want = bits(compiler), bits(COMPILERS[0])
    assert set(got) == set(want)
    for instruction_set in want:
        assert differences(got[instruction_set], want[instruction_set]) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_bits_do_not_depend_on_the_width_of_vectors(bits, compiler):
    lines = bits(compiler)
    if not {"avx2", "avx512"} <= set(lines):
        pytest.skip(f"this CPU runs just {sorted(lines)}")
    assert differences(lines["avx2"], lines["avx512"]) == (0, [])


@pytest.mark.slow
@pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")
def test_hashes_differ_where_numbers_do(bits):
    """Without fused multiply-adds everything but what has no products is rounded differently."""
    lines = bits(COMPILERS[0])
    if "avx2" not in lines:
        pytest.skip(f"this CPU runs just {sorted(lines)}")
    different = {
        kernel.split()[1]
        for (kernel, bits), (_, others) in zip(lines["avx2"], lines["baseline"], strict=True)
        if bits != others
    }
    assert {"forward", "backward", "gradient", "activate", "softmax", "move"} <= different
    assert "largest_size" not in different


def test_the_core_takes_only_exact_functions_of_the_c_library():
    """Its exp, log and pow have last bits that differ between machines; all round a root alike."""
    taken = set()
    for path in (ROOT / "fastmlp").glob("*.p[yx][xd]"):
        for names in re.findall(r"from libc.math cimport ([\w, ]+)", path.read_text()):
            taken |= set(names.split(", "))
    assert taken == {"fabs", "sqrt"}
