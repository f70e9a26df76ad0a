"""Columns for libraries that cannot take a table as it is."""

MISSING = "missing"


def with_missing_as_category(X, categorical):
    """Columns of categories with one more category for missing values."""
    return X.assign(
        **{name: X[name].cat.add_categories(MISSING).fillna(MISSING) for name in categorical}
    )


def with_plain_names(X):
    """Columns named c0, c1, ...: some libraries refuse names with brackets or commas."""
    return X.set_axis([f"c{j}" for j in range(X.shape[1])], axis=1)
