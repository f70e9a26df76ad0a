"""The input layer of a network in the operators of ONNX.

Its inputs come in another order than in the core: the numbers, the bins, the cosines, and then the
embeddings. `Inputs.order` says which rows of the first weights belong to them. One-hot codes are
never spelled out: the row of each code is looked up and added.
"""

import numpy as np


class Inputs:
    """The inputs of the first layer.

    Parameters
    ----------
    graph : Graph
    network : Network
        With an input layer.
    x : str
        The columns, in the dtype of the network.

    Attributes
    ----------
    dense : str or None
        The inputs that are numbers, scaled; None if there are none.
    order : ndarray of int
        The rows of the first weights that belong to them.
    """

    def __init__(self, graph, network, x):
        self.graph, self.dtype = graph, network.dtype
        self.columns, self.named = network.parameters.columns, network.input_parameters
        self.x = x
        self.parts, self.rows = [], []
        self._codes = self._valid_codes()
        self._numbers()
        self._bins()
        self._cosines()
        self._embeddings()
        self.order = np.array(self.rows, int)
        self.dense = graph.side_by_side(self.parts) if self.parts else None
        if self.dense and "scales" in self.named:
            scales = np.ravel(self.named["scales"])[self.order]
            self.dense = graph.add("Mul", self.dense, scales)

    def _take(self, part, rows):
        self.parts.append(part)
        self.rows += rows

    def _numbers(self):
        """The numbers as they are: alone, before their bins, or before the map of their cosines."""
        found = [*self.columns.of_kind("number"), *self.columns.of_kind("bins")]
        found += [pair for pair in self.columns.of_kind("cosines") if pair[1]["n_linear"]]
        if found:
            indices = [j for j, _ in found]
            self._take(
                self.graph.columns(self.x, indices), [int(column["place"]) for _, column in found]
            )

    def _bins(self):
        found = self.columns.of_kind("bins")
        if not found:
            return
        bins = [int(column["row"]) + np.arange(column["n"] - 1) for _, column in found]
        lower, inverse = self.columns.bins[:, np.concatenate(bins)].astype(self.dtype)
        indices = np.repeat([j for j, _ in found], [len(some) for some in bins])
        add = self.graph.add
        share = add("Sub", self.graph.columns(self.x, indices), lower)
        share = add("Mul", share, inverse)
        share = add("Clip", share, np.array(0, self.dtype), np.array(1, self.dtype))
        self._take(
            share,
            [int(column["place"]) + k for _, column in found for k in range(1, column["n"])],
        )

    def _cosines(self):
        """The cosines, or their linear maps (PBLD)."""
        found = self.columns.of_kind("cosines")
        if not found:
            return
        h = self._cosines_of([j for j, _ in found])
        n, first = self.named["frequencies"].shape[1], 0
        if "linear_weights" in self.named:
            n, first = self.named["linear_weights"].shape[1], 1
            h = self._mapped(h)
        flat = self.graph.add("Reshape", h, np.array([-1, len(found) * n]))
        rows = [int(column["place"]) + first + k for _, column in found for k in range(n)]
        self._take(flat, rows)

    def _mapped(self, h):
        """The linear map of the cosines of each number, (n_rows, n_numbers, n_linear)."""
        add = self.graph.add
        V = np.array(self.named["linear_weights"]).transpose(0, 2, 1)
        e = add("MatMul", add("Transpose", h, perm=[1, 0, 2]), V)
        return add(
            "Add", add("Transpose", e, perm=[1, 0, 2]), np.array(self.named["linear_biases"])
        )

    def _cosines_of(self, indices):
        """The cosines, of shape (n_rows, n_numbers, n_frequencies).

        The angle in turns is computed in float64 and then rounded, which comes to the same as the
        fused multiply-add of the core.
        """
        add, cast, dtype = self.graph.add, self.graph.cast, self.dtype
        per_turn = np.array(0.15915494309189533577, dtype)
        frequencies = np.array(self.named["frequencies"], np.float64)
        phases = (np.array(self.named["phases"]) * per_turn).astype(np.float64)
        x = add("Unsqueeze", self.graph.columns(self.x, indices), np.array([2]))
        turns = add("Add", add("Mul", cast(x, np.float64), frequencies), phases)
        turns = add("Clip", cast(turns, dtype), np.array(-(2**21), dtype), np.array(2**21, dtype))
        turns = add("Sub", turns, add("Round", turns))
        return add("Cos", add("Mul", turns, np.array(2 * np.pi, dtype)))

    def _valid_codes(self):
        """Return the codes as indices, each of no category as the number of categories."""
        coded = list(self.columns.coded)
        if not coded:
            return None
        add = self.graph.add
        n_codes = self.columns.table["n_codes"][coded].astype(self.dtype)
        codes = self.graph.columns(self.x, coded)
        is_valid = add(
            "And",
            add("GreaterOrEqual", codes, np.array(0, self.dtype)),
            add("Less", codes, n_codes),
        )
        return self.graph.cast(add("Where", is_valid, codes, n_codes), np.int64)

    def _looked_up(self, j, table):
        """Return the row of a table for each code of column j, zeros for no category."""
        table = np.vstack([table, np.zeros((1, table.shape[1]), table.dtype)])
        place = np.array(list(self.columns.coded).index(j))
        codes = self.graph.add("Gather", self._codes, place, axis=1)
        return self.graph.add("Gather", table, codes, axis=0)

    def _embeddings(self):
        for j, column in self.columns.of_kind("embedding"):
            rows = range(int(column["place"]), int(column["place"]) + int(column["n"]))
            self._take(self._looked_up(j, np.array(self.named[f"embedding{j}"])), list(rows))

    def one_hot(self, W):
        """Return what each one-hot column adds to z, for the first weights W."""
        found = []
        for j, column in self.columns.of_kind("one_hot"):
            rows = slice(int(column["row"]), int(column["row"]) + int(column["n_codes"]))
            weights = np.array(W[rows])
            if "scales" in self.named:
                weights = weights * np.ravel(self.named["scales"])[rows, np.newaxis]
            found.append(self._looked_up(j, weights))
        return found
