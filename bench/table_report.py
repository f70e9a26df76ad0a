"""The tables that bench/tabular.py prints, and those of the pages."""

import numpy as np
from peers.tables import OURS, REFERENCE, WITHIN_SECONDS
from report import table

BASELINE, SLOW_NETWORK = "scikit-learn MLP", "RealMLP-TD-S"
ROWS_OF_LARGE = 10_000

# The models of the README and of docs/benchmarks.md, in this order.
OF_PAGES = (
    OURS, REFERENCE, "HistGradientBoosting", "LightGBM", "XGBoost", BASELINE, SLOW_NETWORK,
    "RealMLP-TD", "TabM-D",
)  # fmt: skip


class Results:
    """The cells of a run, as arrays by split for each table and model.

    Parameters
    ----------
    cells : iterable of dict
        Figures of fits; 'failed' says what went wrong.
    tables : list of str
    models : list of peers.tables.Model
    n_splits : int
    """

    def __init__(self, cells, tables, models, n_splits):
        names = {model.name for model in models}
        cells = [
            cell
            for cell in cells
            if cell["table"] in tables and cell["model"] in names and cell["split"] < n_splits
        ]
        self.failures = [cell for cell in cells if "failed" in cell]
        by_fit = {
            (cell["table"], cell["model"], cell["split"]): cell
            for cell in cells
            if "failed" not in cell
        }
        self.cells = {}
        for table_name in tables:
            for model in models:
                of_splits = [by_fit.get((table_name, model.name, k)) for k in range(n_splits)]
                if all(of_splits):  # a mean over fewer splits would compare other rows
                    self.cells[table_name, model.name] = of_splits
        self.tables = [name for name in tables if any(name == t for t, _ in self.cells)]
        self.models = [m for m in models if any(m.name == name for _, name in self.cells)]

    def figures(self, table_name, model, figure="test_error"):
        """A figure of all splits."""
        return np.array([cell[figure] for cell in self.cells[table_name, model]])

    def mean(self, table_name, model, figure="test_error"):
        """A figure's mean over the splits; NaN without cells, or where it has no meaning."""
        cells = self.cells.get((table_name, model))
        if not cells or figure not in cells[0]:
            return np.nan
        return float(np.mean([cell[figure] for cell in cells]))

    def n_train(self, table_name):
        return next(
            cells[0]["n_train"] for key, cells in self.cells.items() if key[0] == table_name
        )

    def has(self, figure, table_name):
        """Whether a figure has a meaning for a table."""
        return any(key[0] == table_name and figure in c[0] for key, c in self.cells.items())

    def competing(self):
        return [model.name for model in self.models if model.competes]

    # Texts ---------------------------------------------------------------------------------------

    def text(self):
        """All tables, each below a line that says what it shows."""
        if not self.tables:
            return "No table has all of its splits."
        parts = [self.errors(), self.rankings(), self.probabilities(), self.times()]
        if any(model.name == OURS for model in self.models):
            parts.append(self.not_best())
            if intervals := self.intervals():
                title = "fastmlp: predict_interval with coverage 0.9, on the test rows"
                parts.append(f"{title}\n\n{intervals}")
            if rows := self.rows_within_seconds():
                worse = np.mean([float(short) - float(full) for *_, full, short in rows])
                parts.append(
                    "fastmlp: max_seconds=5 beside a fit without a limit\n\n"
                    f"{self.within_seconds()}\n\n"
                    f"With the limit, the rank is {worse:.2f} worse on average."
                )
        if self.failures:
            lines = [
                f"{cell['model']}, {cell['table']}, split {cell['split']}: {cell['failed']}"
                for cell in self.failures
            ]
            parts.append("Failed:\n" + "\n".join(lines))
        return "\n\n".join(part for part in parts if part)

    def of_models(self, figure, digits, tables):
        """A table of means, with a row for each of `tables`; the best of a row in bold."""
        names = [model.name for model in self.models]
        rows = []
        for name in tables:
            means = [self.mean(name, model, figure) for model in names]
            best = np.nanmin(means)
            rows.append(
                [
                    name,
                    f"{self.n_train(name):,}",
                    *(cell_text(mean, best, digits) for mean in means),
                ]
            )
        return table(["table", "rows", *names], rows)

    def errors(self):
        return (
            "Error: share of wrong classes, or RMSE / standard deviation of y; mean of the "
            "splits\n\n" + self.of_models("test_error", 4, self.tables)
        )

    def rankings(self):
        """Of the models that have all tables, and of all models on the tables that all have."""
        names = self.competing()
        everywhere, shared = self.everywhere(names), self.shared(names)
        parts = []
        if len(everywhere) > 1:
            parts.append(self.ranking(everywhere, self.tables))
        if len(names) > len(everywhere) and shared:
            parts.append(self.ranking(names, shared))
        return "\n\n".join(parts)

    def everywhere(self, names):
        """The models that have all tables."""
        return [name for name in names if all((t, name) in self.cells for t in self.tables)]

    def shared(self, names):
        """The tables that all models have."""
        return [t for t in self.tables if all((t, name) in self.cells for name in names)]

    def ranking(self, names, tables):
        ranks = ranks_of(self.matrix(names, tables))
        wins = (ranks == ranks.min(axis=1, keepdims=True)).sum(axis=0)  # several may share one
        means = self.means_over_tables(names, tables)
        columns = [names, *means.values(), [str(n) for n in wins]]
        by_rank = np.argsort(ranks.mean(axis=0), kind="stable")
        return f"Ranking on {len(tables)} table(s): {', '.join(tables)}\n\n" + table(
            ["model", *means, "tables won"], [[column[j] for column in columns] for j in by_rank]
        )

    def means_over_tables(self, names, tables):
        """What is said of each model over all tables, as texts."""
        errors = self.matrix(names, tables)
        ratios = errors / errors.min(axis=1, keepdims=True)
        return {
            "mean rank": [f"{rank:.2f}" for rank in ranks_of(errors).mean(axis=0)],
            "mean of error / best error": [f"{ratio:.3f}" for ratio in ratios.mean(axis=0)],
        }

    def matrix(self, names, tables):
        """The mean errors, of shape (n_tables, n_models).

        Without a wrong row the ratio would have no meaning: half a row is the least that counts.
        """
        errors = np.array([[self.mean(name, model) for model in names] for name in tables])
        for i, name in enumerate(tables):
            if self.has("log_loss", name):
                cells = self.cells[name, names[0]]
                errors[i] = np.maximum(errors[i], 0.5 / sum(cell["n_test"] for cell in cells))
        return errors

    def probabilities(self):
        if not any(self.has("log_loss", name) for name in self.tables):
            return ""
        return (
            "Log loss\n\n"
            + self.of_classes("log_loss")
            + "\n\nExpected calibration error, 15 bins\n\n"
            + self.of_classes("calibration_error")
        )

    def of_classes(self, figure):
        """A table of means over the tables with classes."""
        return self.of_models(figure, 4, [name for name in self.tables if self.has(figure, name)])

    def times(self):
        """Seconds of a fit, and their ratios to CatBoost's and RealMLP's."""
        parts = ["Seconds of a fit\n\n" + self.of_models("seconds", 2, self.tables)]
        for reference in (REFERENCE, SLOW_NETWORK):
            ratios = self.ratios_of_times(reference)
            if ratios:
                parts.append(
                    f"Seconds divided by those of {reference}: geometric mean, least and most\n\n"
                    + ratios
                )
        return "\n\n".join(parts)

    def ratios_of_times(self, reference):
        """A table of the seconds divided by those of a model; nothing without that model."""
        rows = []
        for model in self.models:
            ratios = {
                name: self.mean(name, model.name, "seconds") / self.mean(name, reference, "seconds")
                for name in self.tables
                if (name, model.name) in self.cells and (name, reference) in self.cells
            }
            if ratios and model.name != reference:
                values = np.array(list(ratios.values()))
                # The test rows count too: a table is large as a whole.
                large = [ratios[name] for name in ratios if self.n_rows(name) >= ROWS_OF_LARGE]
                rows.append(
                    [
                        model.name,
                        f"{geometric_mean(values):.3g}",
                        f"{geometric_mean(large):.3g}" if large else "-",
                        f"{values.min():.3g}",
                        f"{values.max():.3g}",
                    ]
                )
        heads = ["model", "all tables", f"from {ROWS_OF_LARGE:,} rows on", "least", "most"]
        return table(heads, rows) if rows else ""

    def n_rows(self, table_name):
        cell = next(cells[0] for key, cells in self.cells.items() if key[0] == table_name)
        return cell["n_train"] + cell["n_test"]

    def not_best(self):
        """The tables on which ours is not the best, or worse than scikit-learn's MLP."""
        lines, worse = [], []
        for name in self.tables:
            rivals = [m for m in self.competing() if (name, m) in self.cells and m != OURS]
            if (name, OURS) not in self.cells or not rivals:
                continue
            best = min(rivals, key=lambda model, name=name: self.mean(name, model))
            if self.mean(name, best) < self.mean(name, OURS):
                lines.append(self.difference(name, best))
            if BASELINE in rivals and self.mean(name, BASELINE) < self.mean(name, OURS):
                worse.append(self.difference(name, BASELINE))
        parts = [
            "Tables on which fastmlp is not the best (difference of the errors, and its standard "
            f"error over the splits):\n{listed(lines)}"
        ]
        if BASELINE in self.competing():
            parts.append(f"Tables on which {BASELINE} is better than fastmlp:\n{listed(worse)}")
        return "\n\n".join(parts)

    def difference(self, name, model):
        ours, theirs = self.figures(name, OURS), self.figures(name, model)
        differences = ours - theirs
        noise = (
            f" +- {differences.std(ddof=1) / np.sqrt(len(differences)):.4f}"
            if len(differences) > 1
            else ""
        )
        return (
            f"{name}: {ours.mean():.4f}, {model} {theirs.mean():.4f}, difference "
            f"{differences.mean():.4f}{noise}"
        )

    def intervals(self):
        """The table of predict_interval; nothing without a table of numbers."""
        rows = [
            [
                name,
                f"{self.mean(name, OURS, 'coverage'):.3f}",
                f"{self.mean(name, OURS, 'width'):.2f}",
            ]
            for name in self.tables
            if np.isfinite(self.mean(name, OURS, "coverage"))
        ]
        heads = ["table", "coverage", "width / standard deviation of y"]
        return table(heads, rows) if rows else ""

    def within_seconds(self):
        """The table of rows_within_seconds."""
        heads = [
            "table", "seconds", "most seconds, 5 s", "error", "error, 5 s", "rank", "rank, 5 s"
        ]  # fmt: skip
        return table(heads, self.rows_within_seconds())

    def rows_within_seconds(self):
        """The seconds used with max_seconds=5, and the rank in the place of the full fit's."""
        names = [name for name in self.competing() if name != OURS]
        tables = [
            t for t in self.tables if (t, OURS) in self.cells and (t, WITHIN_SECONDS) in self.cells
        ]
        rows = []
        for name in tables:
            others = [model for model in names if (name, model) in self.cells]
            full, short = (
                ranks_of(self.matrix([model, *others], [name]))[0, 0]
                for model in (OURS, WITHIN_SECONDS)
            )
            seconds = self.figures(name, WITHIN_SECONDS, "seconds")
            rows.append(
                [
                    name,
                    f"{self.mean(name, OURS, 'seconds'):.2f}",
                    f"{seconds.max():.2f}",
                    f"{self.mean(name, OURS):.4f}",
                    f"{self.mean(name, WITHIN_SECONDS):.4f}",
                    f"{full:g}",
                    f"{short:g}",
                ]
            )
        return rows

    # Tables of the pages -------------------------------------------------------------------------

    def of_pages(self):
        """What makes each table of the pages, by the name of the table."""
        return {
            "means": self.means,
            "means of all": self.means_of_all,
            "errors and seconds": self.errors_and_seconds,
            "errors": lambda: self.of_models("test_error", 4, self.tables),
            "seconds": lambda: self.of_models("seconds", 2, self.tables),
            "log loss": lambda: self.of_classes("log_loss"),
            "calibration": lambda: self.of_classes("calibration_error"),
            f"seconds over {REFERENCE}": lambda: self.ratios_of_times(REFERENCE),
            f"seconds over {SLOW_NETWORK}": lambda: self.ratios_of_times(SLOW_NETWORK),
            "intervals": self.intervals,
            "within seconds": self.within_seconds,
        }

    def means(self):
        """The means over all tables, with a column for each model that has them all."""
        return self.table_of_means(self.everywhere(OF_PAGES), self.tables)

    def means_of_all(self):
        """The means of all models over the tables that they all have."""
        names = [name for name in OF_PAGES if name in self.competing()]
        return self.table_of_means(names, self.shared(names))

    def table_of_means(self, names, tables):
        means = self.means_over_tables(names, tables)
        return table(["", *names], [[what, *texts] for what, texts in means.items()])

    def errors_and_seconds(self):
        """A row for each table, by their size, and the means over all of them."""
        names = self.everywhere(OF_PAGES)
        rows = []
        for name in sorted(self.tables, key=self.n_train):
            errors = [self.mean(name, model) for model in names]
            texts = [cell_text(error, np.nanmin(errors), 4) for error in errors]
            seconds = [self.mean(name, model, "seconds") for model in names]
            cells = [f"{text} ({s:.1f} s)" for text, s in zip(texts, seconds, strict=True)]
            rows.append([name, f"{self.n_train(name):,}", *cells])
        means = self.means_over_tables(names, self.tables)
        rows += [[what, "", *texts] for what, texts in means.items()]
        return table(["table", "rows", *names], rows)


def ranks_of(errors):
    """The ranks in each row, from 1 for the least error; equal errors share the mean rank."""
    errors = np.round(errors, 12)[:, np.newaxis]
    others = errors.transpose(0, 2, 1)
    return (others < errors).sum(axis=1) + ((others == errors).sum(axis=1) + 1) / 2


def cell_text(value, best, digits):
    if np.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return f"**{text}**" if value <= best else text


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values))))


def listed(lines):
    return "\n".join(f"- {line}" for line in lines) if lines else "- none"
