"""Write the tables of the pages from the results that are kept in bench/results.

python bench/pages.py           # write them
python bench/pages.py --check   # change nothing; the status is 1 if a page has other tables

In a page, a generated table stands between two comments:

<!-- table: zen4/run, training -->
<!-- end -->

The first one names a file of bench/results, without its ending, and a table of it.
"""

import argparse
import functools
import json
import re
import sys
from pathlib import Path

import report
import table_report
from peers.tables import models

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGES = ("README.md", "docs/benchmarks.md", "bench/README.md")
BEGIN = re.compile(r"^<!-- table: (\S+), (.+) -->$", re.M)
END = "<!-- end -->"


def of_run(path):
    """What makes each table of a run of bench/run.py, by the name of the table."""
    results = json.loads(path.read_text(encoding="utf-8"))
    sections = {name: lambda shown=shown: shown for name, shown in report.sections(results).items()}
    return sections | {
        "machine": lambda: ran_on(results["machine"]),
        "ratios": lambda: report.training_ratios(results),
        "ratios and losses": lambda: report.training_ratios(results, with_reached=True),
        "prediction in brief": lambda: report.prediction_table(
            results["prediction"], without=report.OTHER_FORMS
        ),
    }


def ran_on(machine):
    """The commit and the machine of a run in a paragraph."""
    return f"Commit {machine['commit']}, {report.machine_line(machine)}."


def of_tabular(path):
    """The same for a run of bench/tabular.py. Its fits come first in the file's lines."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    cells = [line for line in lines if "model" in line]
    results = table_report.Results(
        cells,
        list(dict.fromkeys(cell["table"] for cell in cells)),
        models(),
        1 + max(cell["split"] for cell in cells),
    )
    kept = {}
    for line in lines:
        kept |= of_kept(line.get("tables", {}))
    return results.of_pages() | kept


def of_small(path):
    """The same for a smaller benchmark, whose file has the tables themselves."""
    return of_kept(json.loads(path.read_text(encoding="utf-8"))["tables"])


def of_kept(tables):
    return {name: lambda kept=kept: report.table(**kept) for name, kept in tables.items()}


@functools.cache
def tables_of(stem):
    """What makes each table of a file of bench/results."""
    for path in (RESULTS / f"{stem}.jsonl", RESULTS / f"{stem}.json"):
        if path.exists():
            return {"run": of_run, "tabular": of_tabular}.get(path.stem, of_small)(path)
    raise SystemExit(f"bench/results has no file {stem}.json or {stem}.jsonl")


def shown(stem, name):
    """A table of a file of bench/results."""
    tables = tables_of(stem)
    if name not in tables:
        raise SystemExit(f"{stem} has no table {name!r}; there are: {', '.join(tables)}")
    return tables[name]()


def filled(text):
    """The text of a page with its tables as the results give them."""
    parts, place = [], 0
    while begin := BEGIN.search(text, place):
        end = text.find(f"\n{END}\n", begin.end()) + 1
        if end == 0 or BEGIN.search(text, begin.end(), end):
            raise SystemExit(f"no {END} behind {begin[0]}")
        parts.append(f"{text[place : begin.end()]}\n\n{shown(*begin.groups())}\n\n{END}")
        place = end + len(END)
    return "".join(parts) + text[place:]


def main():
    """Write or check every page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    check = parser.parse_args().check
    others = []
    for name in PAGES:
        page = ROOT / name
        text = page.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            others.append(name)
            if not check:
                page.write_text(new, encoding="utf-8", newline="\n")
    if others:
        said = "have other tables than bench/results gives" if check else "written"
        print(f"{', '.join(others)}: {said}")
    return int(check and bool(others))


if __name__ == "__main__":
    sys.exit(main())
