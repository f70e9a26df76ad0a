"""The source of a function in C99 that computes the output of a network, where Python is not."""

import re

import numpy as np

from fastmlp._core import COLUMN_KINDS
from fastmlp._engine.whole_file import whole_file

# f(z) in C. Functions of math.h have the suffix of the type, which `R` adds.
ACTIVATIONS = {
    "identity": "z",
    "logistic": "1 / (1 + R(exp)(-z))",
    "tanh": "R(tanh)(z)",
    "relu": "z > 0 ? z : 0",
    "leaky_relu": "z > 0 ? z : (REAL)0.01 * z",
    "elu": "z > 0 ? z : R(expm1)(z)",
    "selu": "(REAL)1.0507009873554805 * (z > 0 ? z : (REAL)1.6732632423543772 * R(expm1)(z))",
    "gelu": "(REAL)0.5 * z * R(erfc)(-z * (REAL)0.70710678118654752)",
    "silu": "z / (1 + R(exp)(-z))",
    "mish": "z * R(tanh)((z > 0 ? z : 0) + R(log1p)(R(exp)(-R(fabs)(z))))",
    "softplus": "(z > 0 ? z : 0) + R(log1p)(R(exp)(-R(fabs)(z)))",
    "softsign": "z / (1 + R(fabs)(z))",
    "hard_swish": "z * (z < -3 ? 0 : z > 3 ? 6 : z + 3) / 6",
}

OUTPUTS = {
    "identity": "",
    "logistic": "    for (i = 0; i < {n}; i++)\n        out[i] = 1 / (1 + R(exp)(-out[i]));\n",
    "exp": "    for (i = 0; i < {n}; i++)\n        out[i] = R(exp)(out[i]);\n",
    "softmax": """    REAL largest = out[0], sum = 0;
    for (i = 0; i < {n}; i++)
        largest = out[i] > largest ? out[i] : largest;
    for (i = 0; i < {n}; i++)
        sum += out[i] = R(exp)(out[i] - largest);
    for (i = 0; i < {n}; i++)
        out[i] /= sum;
""",
    "quantiles": """    for (size_t i = 1; i < {n}; i++) {{
        const REAL z = out[i];
        out[i] = out[i - 1] + (z > 0 ? z : 0) + R(log1p)(R(exp)(-R(fabs)(z)));
    }}
""",
}

HEAD = """/* {title}, written by fastmlp. It is C99, and it allocates nothing.

   void {name}_predict(const {real} x[{n_in}], {real} out[{n_out}]);

   x: {n_in} features. out: {what}. */

#include <math.h>
#include <stddef.h>

#define REAL {real}
#define R(function) function{suffix}
"""

DENSE = """
/* z (n_out) = a (n_in) W (n_in, n_out) + b (n_out) */
static void {name}_dense(const REAL *a, size_t n_in, const REAL *W, const REAL *b, size_t n_out,
                         REAL *z)
{{
    for (size_t k = 0; k < n_out; k++)
        z[k] = b[k];
    for (size_t j = 0; j < n_in; j++)
        for (size_t k = 0; k < n_out; k++)
            z[k] += a[j] * W[j * n_out + k];
}}
"""

NORMALIZE = """
/* z = gain s + shift, where s is z scaled to mean 0 and variance 1 */
static void {name}_normalize(const REAL *gain, const REAL *shift, size_t n, REAL *z)
{{
    REAL mean = 0, variance = 0;
    for (size_t k = 0; k < n; k++)
        mean += z[k] / n;
    for (size_t k = 0; k < n; k++)
        variance += (z[k] - mean) * (z[k] - mean) / n;
    for (size_t k = 0; k < n; k++)
        z[k] = gain[k] * (z[k] - mean) / R(sqrt)(variance + (REAL)1e-5) + shift[k];
}}
"""


def check_name(name):
    """Raise unless the name can be the beginning of names in C."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{,59}", name):
        raise ValueError(f"name must be an identifier of C, of at most 60 letters, got {name!r}")


class Source:
    """The source for a network.

    Parameters
    ----------
    network : Network
    name : str
        The beginning of all names in the source.
    what : str
        What the outputs are, for the comment at the top.
    """

    def __init__(self, network, name, what="the outputs of the network"):
        check_name(name)
        if callable(network.loss):
            what += ", before any function of your own"
        self.network, self.name = network, name
        self.is_float = network.dtype == np.float32
        self.parts = [
            HEAD.format(
                title=f"A multilayer perceptron {network.layer_sizes}",
                name=name, what=what, n_in=network.layer_sizes[0], n_out=network.layer_sizes[-1],
                real="float" if self.is_float else "double", suffix="##f" if self.is_float else "",
            )
        ]  # fmt: skip
        self.body = []
        self._write()

    def __str__(self):
        return "".join(self.parts)

    def _write(self):
        network, name = self.network, self.name
        self._functions()
        n_inputs = network.W[0].shape[0]
        widest = max(network.layer_sizes[1:])
        a = "x"
        if network.input_layer is not None:
            self._inputs()
            a = "inputs"
        for l in range(network.n_layers):
            a = self._layer(l, a)
        several = network.passes.loss.n_quantiles > 1
        output = "quantiles" if several else network.passes.loss.row.output_activation
        steps = "".join([*self.body, OUTPUTS[output].format(n=network.layer_sizes[-1])])
        buffers = {"first": widest, "second": widest, "inputs": n_inputs}
        self.parts += [
            f"\nvoid {name}_predict(const REAL *x, REAL *out)\n{{\n",
            *(
                f"    REAL {it}[{n}];\n"
                for it, n in buffers.items()
                if re.search(rf"\b{it}\b", steps)
            ),
            "    size_t i;\n" if re.search(r"\bi = 0", steps) else "",
            steps,
            "}\n",
        ]

    def _functions(self):
        self.parts.append(DENSE.format(name=self.name))
        if any(norm is not None for norm in self.network.norms):
            self.parts.append(NORMALIZE.format(name=self.name))
        for activation in sorted(set(self.network.activations_of_hidden)):
            self.parts.append(
                f"\nstatic REAL {self.name}_{activation}(REAL z)\n{{\n"
                f"    return {ACTIVATIONS[activation]};\n}}\n"
            )

    def array(self, array, label):
        """Write a constant array, and return its name."""
        numbers = np.ascontiguousarray(array, dtype=self.network.dtype).ravel()
        texts = [self._literal(number) for number in numbers.tolist()]
        lines = [", ".join(texts[i : i + 8]) for i in range(0, len(texts), 8)]
        whole = ",\n    ".join(lines)
        name = f"{self.name}_{label}"
        self.parts.append(f"\nstatic const REAL {name}[{len(texts)}] = {{\n    {whole}\n}};\n")
        return name

    def _literal(self, number):
        if not self.is_float:
            return repr(float(number))
        text = f"{number:.9g}"
        return f"{text}{'' if '.' in text or 'e' in text else '.0'}f"

    def _layer(self, l, a):
        """Write the steps of a layer, and return where its result is."""
        network, name = self.network, self.name
        W, b = network.params[l]
        is_last = l == network.n_layers - 1
        z = "out" if is_last else ("first", "second")[l % 2]
        weights, bias = self.array(W, f"W{l}"), self.array(b, f"b{l}")
        self.body.append(
            f"    {name}_dense({a}, {W.shape[0]}, {weights}, {bias}, {W.shape[1]}, {z});\n"
        )
        if network.norms[l] is not None:
            gain, shift = (
                self.array(one, f"{label}{l}")
                for one, label in zip(network.norms[l], ("gain", "shift"), strict=True)
            )
            self.body.append(f"    {name}_normalize({gain}, {shift}, {W.shape[1]}, {z});\n")
        if is_last:
            return z
        f = f"{name}_{network.activations_of_hidden[l]}({z}[i])"
        if network.mixes[l] is not None:
            mix = self.array(network.mixes[l], f"mix{l}")
            f = f"{z}[i] + {mix}[i] * ({f} - {z}[i])"
        if network.parameters.rows[l].is_residual:
            f = f"{f} + {a}[i]"
        self.body.append(f"    for (i = 0; i < {W.shape[1]}; i++)\n        {z}[i] = {f};\n")
        return z

    def _inputs(self):
        """Write the steps of the input layer: the array `inputs`."""
        columns, named = self.network.parameters.columns, self.network.input_parameters
        n_inputs = columns.n_inputs
        self.body.append(f"    for (i = 0; i < {n_inputs}; i++)\n        inputs[i] = 0;\n")
        kind_of = {number: kind for kind, number in COLUMN_KINDS.items()}
        n_numbers = 0
        for j, column in enumerate(columns.table):
            kind, place, n = kind_of[int(column["kind"])], int(column["place"]), int(column["n"])
            if kind == "number":
                self.body.append(f"    inputs[{place}] = x[{j}];\n")
            elif kind == "bins":
                self._bins(j, place, columns.bins[:, int(column["row"]) :][:, : n - 1])
            elif kind == "cosines":
                self._cosines(j, place, column, n_numbers)
                n_numbers += 1
            else:
                self._code(j, column, kind, named)
        if "scales" in named:
            scales = self.array(named["scales"], "scales")
            self.body.append(
                f"    for (i = 0; i < {n_inputs}; i++)\n        inputs[i] *= {scales}[i];\n"
            )

    def _bins(self, j, place, bins):
        lower, inverse = self.array(bins[0], f"lower{j}"), self.array(bins[1], f"inverse{j}")
        self.body.append(
            f"    inputs[{place}] = x[{j}];\n"
            f"    for (i = 0; i < {bins.shape[1]}; i++) {{\n"
            f"        const REAL share = (x[{j}] - {lower}[i]) * {inverse}[i];\n"
            f"        inputs[{place + 1} + i] = share < 0 ? 0 : share > 1 ? 1 : share;\n    }}\n"
        )

    def _cosines(self, j, place, column, i):
        named, n_linear = self.network.input_parameters, int(column["n_linear"])
        n = int(column["n_frequencies"])
        turns = np.array(named["phases"][i], float) / (2 * np.pi)
        f, p = self.array(named["frequencies"][i], f"f{j}"), self.array(turns, f"p{j}")
        self.body.append(
            f"    for (i = 0; i < {n}; i++) {{\n"
            f"        const REAL turns = {f}[i] * x[{j}] + {p}[i];\n"
            "        const REAL h = R(cos)((REAL)6.283185307179586 * (turns - R(rint)(turns)));\n"
        )
        if not n_linear:
            self.body.append(f"        inputs[{place} + i] = h;\n    }}\n")
            return
        V = self.array(named["linear_weights"][i], f"V{j}")
        c = self.array(named["linear_biases"][i], f"c{j}")
        self.body.append(
            f"        for (size_t k = 0; k < {n_linear}; k++)\n"
            f"            inputs[{place + 1} + k] += {V}[k * {n} + i] * h;\n    }}\n"
            f"    inputs[{place}] = x[{j}];\n"
            f"    for (i = 0; i < {n_linear}; i++)\n        inputs[{place + 1} + i] += {c}[i];\n"
        )

    def _code(self, j, column, kind, named):
        n_codes, n = int(column["n_codes"]), int(column["n"])
        self.body.append(f"    if (x[{j}] >= 0 && x[{j}] < {n_codes})\n")
        if kind == "one_hot":
            self.body.append(f"        inputs[{int(column['row'])} + (size_t)x[{j}]] = 1;\n")
            return
        E = self.array(named[f"embedding{j}"], f"E{j}")
        self.body.append(
            f"        for (i = 0; i < {n}; i++)\n"
            f"            inputs[{int(column['place'])} + i] = {E}[(size_t)x[{j}] * {n} + i];\n"
        )


def write_source(source, path):
    """Return the source as text, and write it to a file if there is a path."""
    text = str(source)
    if path is not None:
        with whole_file(path) as file:
            file.write(text.encode("ascii"))
    return text
