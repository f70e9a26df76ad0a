"""Mixed work for a long time: `python stress/soak.py --seconds 600`.

The programs of `configurations.py` run again and again, always the same ones, in one process. After
the first quarter of an hour, or the first third of a shorter run, its resident memory grows by less
than 1%: memory that is kept from one round to the next would grow without end. Only a run of at
least a minute decides; a shorter one is over before all memory that is reused has been allocated.
"""

import ctypes
import gc
import io
import itertools
import sys
import time
from collections import Counter
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np
from cases import arguments, be_quiet, in_words

SHORTEST_DECISION = 60
MOST_GROWTH = 0.01
FIRST_SECONDS, FIRST_PART = 900, 1 / 3  # the first part is the shorter one of the two
N_SAMPLES = 40


def resident_megabytes():
    """Return the resident memory, without what the C library has been given back."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not say how much memory is resident")


def work(seconds, first_seed, n_programs):
    """Run the programs for so long. Return counts, and the megabytes at equal intervals."""
    from configurations import try_case

    counts, samples, began = Counter(), [], time.monotonic()
    for i in itertools.count():
        passed = time.monotonic() - began
        if passed >= len(samples) / N_SAMPLES * seconds:
            samples.append(resident_megabytes())
        if passed > seconds:
            return counts, samples
        with redirect_stdout(io.StringIO()):
            counts += try_case(first_seed + i % n_programs)[0]
        counts["programs"] += 1


def growth(samples, seconds):
    """Return by what share the memory grows from the end of the first part to the last one."""
    after = samples[int(len(samples) * min(FIRST_PART, FIRST_SECONDS / seconds)) :]
    quarter = max(1, len(after) // 4)
    return np.median(after[-quarter:]) / np.median(after[:quarter]) - 1


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=200, help="how many different ones")
    given = parser.parse_args()
    be_quiet()
    n_programs = max(1, min(given.programs, int(given.seconds)))
    counts, samples = work(given.seconds, given.seed, n_programs)
    grown = growth(samples, given.seconds)
    is_long = given.seconds >= SHORTEST_DECISION
    is_broken = is_long and grown >= MOST_GROWTH
    found = "FAULT" if is_broken else "nothing found" if is_long else "too short to decide"
    shown = " ".join(f"{sample:.0f}" for sample in samples[:: max(1, len(samples) // 10)])
    print(
        f"soak: {in_words(counts)}; resident MB at intervals: {shown}; growth after the first "
        f"part {100 * grown:+.2f}% in {given.seconds:g} s: {found}"
    )
    if is_broken:
        print(f"reproduced by: python {__file__} --seconds {given.seconds:g} --seed {given.seed}")
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
