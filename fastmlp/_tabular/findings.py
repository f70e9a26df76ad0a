"""What `fastmlp.diagnose` says about a fit of the estimators for tables."""

from typing import NamedTuple

# Better than a constant prediction by less than this, relative to its loss, is nothing.
SMALLEST_GAIN = 0.01

# A category with a value for so few rows each is rather a name of the row.
FEWEST_ROWS_OF_A_VALUE = 2


def n_values_of(encoder):
    """Return the number of values of each category of a `TableEncoder`, by name."""
    return dict(zip(encoder.category_names, encoder.cardinalities.tolist(), strict=True))


class Facts(NamedTuple):
    """What is known about a fit.

    Attributes
    ----------
    n_rows : int
    loss, constant_loss : float
        Loss of the ensemble, and of the best constant prediction, for the selection rows.
    is_cut_short : bool
        Whether the fit ended before all networks were trained, by its time or by Ctrl-C.
    n_values : dict
        Number of values of each category.
    """

    n_rows: int
    loss: float
    constant_loss: float
    is_cut_short: bool
    n_values: dict

    def findings(self):
        """Return (name, what, remedy) of each problem."""
        return list(filter(None, (self._nothing_learned(), self._cut_short(), self._identifiers())))

    def _nothing_learned(self):
        if self.loss < (1 - SMALLEST_GAIN) * self.constant_loss:
            return None
        return (
            "nothing learned",
            f"the loss for rows that the networks have not seen is {self.loss:.4g}, that of a "
            f"constant prediction {self.constant_loss:.4g}.",
            "to find out whether the rows of X and y belong together, other columns, or more rows",
        )

    def _cut_short(self):
        if not self.is_cut_short:
            return None
        return (
            "cut short",
            "the fit ended before all networks were trained.",
            "more time, fewer members, or a part of the rows",
        )

    def _identifiers(self):
        many = self.n_rows / FEWEST_ROWS_OF_A_VALUE
        names = [name for name, n in self.n_values.items() if n > many]
        if not names:
            return None
        return (
            "identifiers",
            f"the categories {', '.join(names[:10])} have more than {many:.0f} values in "
            f"{self.n_rows} rows, and hardly any value occurs twice.",
            "to leave such columns out, or to derive from them what rows have in common",
        )
