"""What stress/sanitizers.py is believed for: its plants are planted, its reports are read."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

STRESS = Path(__file__).parents[1] / "stress"
if not STRESS.exists():  # the tests of a wheel come without it
    pytest.skip("there is no folder stress/", allow_module_level=True)


def module(name):
    specification = importlib.util.spec_from_file_location(name, STRESS / f"{name}.py")
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


BUILDS = module("sanitizer_builds")

ADDRESS = """=================================================================
==12==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x60 at pc 0x7f bp 0x7f sp 0x7f
READ of size 4 at 0x60 thread T0
    #0 0x7fa in forward_f32 {0}_simd/products.h:31
    #1 0x55b in main (/usr/bin/python3+0x5)

0x60 is located 0 bytes to the right of 8-byte region [0x58,0x60)
"""
UNDEFINED = "{0}_team/team.c:88:50: runtime error: signed integer overflow: 7 + {1} is too large\n"
THREAD = """==================
WARNING: ThreadSanitizer: data race (pid=12)
  Write of size 8 at 0x7b by thread T2:
    #0 memcpy <null> (libtsan.so.2+0x5)
    #1 f <null> ({0}_core.so+0x5)

  Thread T2 (tid=3, running) created by main thread at:
    #0 pthread_create <null> (libtsan.so.2+0x5)
    #1 fastmlp_run fastmlp/_team/team.c:200
"""
MEMCHECK = """<?xml version="1.0"?>
<error><kind>InvalidRead</kind><what>Invalid read of size 4</what>
<stack><frame><obj>{0}_core.cpython-311-x86_64-linux-gnu.so</obj><fn>forward</fn></frame></stack>
</error>
<error><kind>UninitCondition</kind>
<stack><frame><obj>/usr/lib/libopenblas.so</obj></frame></stack>
</error>
<error><kind>Leak_PossiblyLost</kind>
<stack><frame><obj>{0}_core.cpython-311-x86_64-linux-gnu.so</obj></frame></stack>
</error>
"""


def reports_of(text):
    """Return the headlines of the reports that count."""
    return [
        BUILDS.headline_of(report)
        for report in BUILDS.reports_in(text)
        if BUILDS.OURS in BUILDS.places_in(report)
    ]


@pytest.mark.parametrize(
    ("text", "n_all"), [(ADDRESS, 1), (UNDEFINED, 1), (THREAD, 1), (MEMCHECK, 2)]
)
def test_reports_count_that_have_a_place_of_ours(text, n_all):
    assert len(BUILDS.reports_in(text.format("/tmp/copy/fastmlp/", 1))) == n_all
    assert len(BUILDS.reports_in(2 * text.format("/tmp/copy/fastmlp/", 1))) == 2 * n_all
    assert len(reports_of(text.format("/tmp/copy/fastmlp/", 1))) == 1
    assert reports_of(text.format("/usr/lib/numpy/", 1)) == []


@pytest.mark.parametrize("text", ["", "a line\n"])
def test_logs_without_reports(text):
    assert BUILDS.reports_in(text) == []


def test_one_place_is_one_report():
    texts = [UNDEFINED.format("fastmlp/", number) for number in (1, 2147483647)]
    assert len({BUILDS.headline_of(text) for text in texts}) == 1
    other = UNDEFINED.format("fastmlp/", 1).replace(":88:", ":89:")
    assert BUILDS.headline_of(other) != BUILDS.headline_of(texts[0])


@pytest.mark.parametrize("name", BUILDS.PLANTS)
def test_what_is_planted_finds_its_text(name):
    fault = BUILDS.PLANTS[name]
    path = BUILDS.ROOT / "fastmlp" / fault.file
    if path.name == "exact.py":  # comes into the copy from another folder
        path = STRESS / "exact.py"
    source = path.read_text(encoding="utf-8")
    assert source.count(fault.text) == 1
    assert fault.other != fault.text
    assert fault.kinds


def test_every_kind_has_a_plant():
    assert {kind for fault in BUILDS.PLANTS.values() for kind in fault.kinds} == set(BUILDS.KINDS)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no posix_memalign")
@pytest.mark.parametrize("shape", [(3, 5), (0, 4), 7])
def test_exact_memory(shape):
    array = module("exact").aligned(np.zeros, 4 * int(np.prod(shape)), shape, np.dtype("float32"))
    assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert array.__array_interface__["data"][0] % 64 == 0
    assert not array.any()
    array[...] = 1  # it can be written
