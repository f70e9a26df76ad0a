"""Say what of fastmlp got slower or faster between two runs of a benchmark, beyond noise.

    python bench/run.py --json before.json
    python bench/run.py --json after.json
    python bench/compare.py before.json after.json

The runs are of bench/run.py, or of bench/tabular.py. The noise of a figure is how much longer the
median of the turns (of the splits of a table) took than the best one, in either run. A difference
counts if it is larger than twice that, and larger than 5%. The exit status is 1 if anything got
slower. Compare runs on the same machine, a short time apart.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

import report
from peers import REFERENCE

LEAST_DIFFERENCE = 0.05
KIND = ("cpu", "instruction_sets")  # what two machines of one kind have in common


def read(path):
    """The results in a file: the contents of a JSON, or the machine and the fits of tables."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".jsonl":
        return json.loads(text)
    lines = [json.loads(line) for line in text.splitlines()]
    of_run = {name: value for line in lines if "table" not in line for name, value in line.items()}
    return {"machine": of_run.get("machine", {}), "fits": [it for it in lines if "table" in it]} | {
        name: of_run[name] for name in ("source",) if name in of_run
    }


def figures_of_tables(fits):
    """The seconds of fastmlp's fits of each table, over its splits."""
    seconds = {}
    for fit in fits:
        if fit["model"].startswith(REFERENCE) and "seconds" in fit:
            seconds.setdefault(f"{fit['table']}, {fit['model']}", []).append(fit["seconds"])
    return {name: {"best": min(of), "median": median(of)} for name, of in seconds.items()}


def figures_of(results):
    """The figures of fastmlp in a run, by what was measured."""
    if "fits" in results:
        return figures_of_tables(results["fits"])
    figures = {}
    for name, entry in results["training"].items():
        figures[f"{name}, an epoch"] = entry["peers"].get(REFERENCE)
    for name, entry in results["prediction"].items():
        for n_rows, peers in entry.items():
            figures[f"{name}, prediction of {int(n_rows):,}"] = peers.get(REFERENCE)
    if results["mnist"]:
        figures["mnist, a fit"] = results["mnist"]["peers"].get(REFERENCE)
    return {name: figure for name, figure in figures.items() if figure}


def noise_of(figure):
    """How much longer the median took than the best turn, as a fraction."""
    return figure["median"] / figure["best"] - 1


def verdict(before, after):
    """The ratio of the times, the noise, and what follows from both."""
    ratio = after["best"] / before["best"]
    noise = max(noise_of(before), noise_of(after))
    limit = max(LEAST_DIFFERENCE, 2 * noise)
    if ratio > 1 + limit:
        return ratio, noise, "slower"
    return ratio, noise, "faster" if 1 / ratio > 1 + limit else ""


def described(results):
    """The commit and the machine of a run in a line."""
    machine = results["machine"]
    return f"{machine.get('commit') or 'an unknown commit'}: {report.machine_line(machine)}"


def main():
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    before, after = read(given.before), read(given.after)
    if "source" in before or "source" in after:
        parser.error("results that were taken over from a table have no medians to tell the noise")
    print(f"before  {described(before)}\nafter   {described(after)}\n")
    if any(before["machine"].get(name) != after["machine"].get(name) for name in KIND):
        print("The two machines are of different kinds: the ratios say little about the code.\n")
    pairs = joined(figures_of(before), figures_of(after))
    verdicts = [(name, old, new, *verdict(old, new)) for name, old, new in pairs]
    rows = [
        [
            name, report.seconds_text(old["best"]), report.seconds_text(new["best"]),
            f"{ratio:.3f}", f"{noise:.1%}", what,
        ]
        for name, old, new, ratio, noise, what in verdicts
    ]  # fmt: skip
    print(report.table(["what", "before", "after", "after / before", "noise", ""], rows))
    return int(any(what == "slower" for *_, what in verdicts))


def joined(before, after):
    """What both runs have measured, with both figures."""
    return [(name, before[name], after[name]) for name in before if name in after]


if __name__ == "__main__":
    sys.exit(main())
