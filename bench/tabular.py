"""Compare fastmlp's estimators for tables with boosting and other networks. See bench/README.md.

python bench/tabular.py --tables FOLDER --json tabular.json
"""

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import report
import table_data
import table_report
import tabular_ours
from peers.tables import OURS, models
from run import progress
from team import PAUSE_SECONDS, PeerError, PeerProcess, installed

DISTRIBUTIONS = (
    "fastmlp", "numpy", "scipy", "scikit-learn", "pandas",
    "lightgbm", "xgboost", "xgboost-cpu", "catboost", "pytabkit", "torch",
)  # fmt: skip


class Cells:
    """The figures of fits by (table, model, split), kept in a file of JSON lines.

    Each line is added when its fit is done, so that a run that was ended can be resumed. Of several
    lines for one fit the last one counts. Other lines say on which machine the fits that follow
    were made, and have tables that are not made of fits.
    """

    def __init__(self, path, again=()):
        self.path, self.figures = path, {}
        if path and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                cell = json.loads(line)
                if "model" in cell and cell["model"] not in again:
                    self.figures[cell["table"], cell["model"], cell["split"]] = cell

    def missing(self, table, model, split):
        """Whether there is no figure yet; a fit that failed is tried again."""
        return "test_error" not in self.figures.get((table, model, split), {})

    def add(self, table, model, split, figures):
        cell = {"table": table, "model": model, "split": split} | figures
        self.figures[table, model, split] = cell
        self.note(cell)

    def note(self, contents):
        """Add a line to the file, if there is one."""
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                print(json.dumps(contents), file=file)


class Peers:
    """The processes of the peers, each started when it is first needed."""

    def __init__(self, models, folder):
        self.models = {model.name: model for model in models}
        self.folder = str(Path(folder).resolve()) if folder else ""
        self.processes = {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.processes.values():
            process.close()

    def cell(self, name, table, split):
        """The figures of a fit, or what went wrong."""
        model = self.models[name]
        if name not in self.processes:
            arguments = [
                "peers.tables.serve", model.module, json.dumps(model.options), self.folder
            ]  # fmt: skip
            self.processes[name] = PeerProcess(arguments, {})
        process = self.processes[name]
        time.sleep(PAUSE_SECONDS)
        process.send("cell", name=table, split=split)
        try:
            return process.receive()
        except PeerError as error:
            if process.process.poll() is not None:
                self.processes.pop(name).close()
            text = str(error).strip()
            progress(f"{name}, {table}, split {split}: failed: {text}")
            return {"failed": text.splitlines()[-1]}


def measure(cells, peers, names, n_splits, rows_of_slow):
    """Fill in the cells that are missing: the models take turns within a split."""
    for table in names:
        n_rows = len(table_data.load(table, peers.folder).y)
        present = [
            name for name, model in peers.models.items() if not model.slow or n_rows < rows_of_slow
        ]
        for split in range(n_splits):
            for name in present:
                if cells.missing(table, name, split):
                    figures = peers.cell(name, table, split)
                    cells.add(table, name, split, figures)
                    if "test_error" in figures:
                        progress(
                            f"{table}, split {split}, {name}: {figures['test_error']:.4f} in "
                            f"{figures['seconds']:.3g} s"
                        )


def chosen(parser, given, available, what):
    """The names of an option, separated by commas, all that there are by default."""
    if given is None:
        return list(available)
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in available:
            parser.error(f"no {what} {name!r}; there are: {', '.join(available)}")
    return names


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", metavar="FOLDER", help="tables.json and NAME.csv.gz files")
    parser.add_argument("--splits", type=int, default=5, help="splits of every table (5)")
    parser.add_argument("--only", metavar="NAMES", help="some of the tables: diabetes,wine")
    parser.add_argument("--models", metavar="NAMES", help="some of the models: fastmlp,CatBoost")
    parser.add_argument("--members", type=int, help="the number of members of fastmlp's ensembles")
    parser.add_argument(
        "--rows-of-slow",
        type=int,
        default=3_000,
        metavar="N",
        help="RealMLP-TD and TabM take part in tables with fewer rows than this (3000)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures, and resume")
    parser.add_argument("--again", default="", metavar="NAMES", help="models to measure anew")
    parser.add_argument("--no-speed", action="store_true", help="only the tables")
    given = parser.parse_args()
    if given.splits < 1:
        parser.error("--splits must be at least 1")
    if given.json and not given.json.absolute().parent.is_dir():
        parser.error(f"no folder to write {given.json} to")
    names = list(table_data.OF_SCIKIT_LEARN)
    if given.tables:
        if not (Path(given.tables) / "tables.json").is_file():
            parser.error(f"no file tables.json in {given.tables}")
        names += table_data.names_of_folder(given.tables)
    given.only = chosen(parser, given.only, names, "table")
    of_all = {model.name: model for model in models(given.members)}
    given.again = chosen(parser, given.again, of_all, "model") if given.again else []
    given.models = [of_all[name] for name in chosen(parser, given.models, of_all, "model")]
    return given


def main():
    """Measure and print; return the exit status."""
    given = arguments()
    taking_part = installed(given.models, "bench-tables")
    cells = Cells(given.json, given.again)
    machine = report.machine(DISTRIBUTIONS)
    cells.note({"machine": machine})
    with ExitStack() as stack:
        peers = stack.enter_context(Peers(taking_part, given.tables))
        measure(cells, peers, given.only, given.splits, given.rows_of_slow)
    line = report.machine_line(machine)
    results = table_report.Results(cells.figures.values(), given.only, given.models, given.splits)
    print(f"{line}\nload: {', '.join(f'{load:.1f}' for load in os.getloadavg())}\n", flush=True)
    print(results.text(), flush=True)
    if not given.no_speed and OURS in {model.name for model in taking_part}:
        for text in tabular_ours.lines(given.members, keep=cells.note):
            print(text, flush=True)
    return 1 if results.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
