"""The activations in the operators of ONNX.

onnxruntime has no Elu, Selu, Softplus, Softsign, HardSigmoid and Erf of float64. They are spelled
out where that is accurate in float32, too.
"""

import numpy as np
from scipy.special import erfcx

# Of the polynomial in `_normal_cdf`; further terms are below the rounding of float64.
DEGREE = 27


class Activations:
    """The activations of one dtype, as methods that take the name of z and return that of f(z).

    Parameters
    ----------
    graph : Graph
    dtype : numpy.dtype
    """

    def __init__(self, graph, dtype):
        self.add, self.dtype = graph.add, np.dtype(dtype)

    def number(self, x):
        """Return a constant of the dtype."""
        return np.array(x, self.dtype)

    def identity(self, z):
        return z

    def logistic(self, z):
        return self.add("Sigmoid", z)

    def tanh(self, z):
        return self.add("Tanh", z)

    def relu(self, z):
        return self.add("Relu", z)

    def exp(self, z):
        return self.add("Exp", z)

    def softmax(self, z):
        return self.add("Softmax", z, axis=-1)

    def leaky_relu(self, z):
        return self.add("Max", z, self.add("Mul", z, self.number(0.01)))

    def elu(self, z):
        negative = self.add("Exp", self.add("Min", z, self.number(0)))
        return self.add("Add", self.relu(z), self.add("Sub", negative, self.number(1)))

    def selu(self, z):
        negative = self.add("Exp", self.add("Min", z, self.number(0)))
        negative = self.add("Sub", negative, self.number(1))
        negative = self.add("Mul", negative, self.number(1.6732632423543772))
        whole = self.add("Add", self.relu(z), negative)
        return self.add("Mul", whole, self.number(1.0507009873554805))

    def gelu(self, z):
        return self.add("Mul", z, self._normal_cdf(z))

    def silu(self, z):
        return self.add("Mul", z, self.logistic(z))

    def mish(self, z):
        """z tanh(softplus(z)) in terms of e^z, as in the core."""
        e = self.add("Exp", self.add("Min", z, self.number(20 if self.is_float else 40)))
        n = self.add("Mul", e, self.add("Add", e, self.number(2)))
        return self.add("Mul", z, self.add("Div", n, self.add("Add", n, self.number(2))))

    def softplus(self, z):
        if self.is_float:
            return self.add("Softplus", z)
        u = self.add("Exp", self.add("Neg", self.add("Abs", z)))
        return self.add("Add", self.relu(z), self.add("Log", self.add("Add", u, self.number(1))))

    def softsign(self, z):
        return self.add("Div", z, self.add("Add", self.add("Abs", z), self.number(1)))

    def hard_swish(self, z):
        gate = self.add("Clip", self.add("Add", z, self.number(3)), self.number(0), self.number(6))
        return self.add("Div", self.add("Mul", z, gate), self.number(6))

    def ascending(self, z, n_outputs):
        """Quantiles that do not cross: the first, and then positive differences."""
        is_first = np.arange(n_outputs) == 0
        steps = self.add("Where", is_first, z, self.softplus(z))
        return self.add("CumSum", steps, np.array(1))

    @property
    def is_float(self):
        return self.dtype == np.float32

    def _normal_cdf(self, z):
        """The normal distribution function: by Erf, or in float64 by a polynomial as in the core.

        erfc(x) = t exp(P(2 t - 1) - x^2) with t = 2 / (2 + x), as in Press, Teukolsky, Vetterling
        and Flannery, Numerical Recipes, section 6.2.
        """
        x = self.add("Mul", z, self.number(np.sqrt(0.5)))
        if self.is_float:
            both = self.add("Add", self.add("Erf", x), self.number(1))
            return self.add("Mul", both, self.number(0.5))
        x = self.add("Abs", x)
        t = self.add("Div", self.number(2), self.add("Add", x, self.number(2)))
        y = self.add("Sub", self.add("Mul", t, self.number(2)), self.number(1))
        terms = polynomial_of_erfc()
        p = self.number(terms[-1])
        for term in terms[-2::-1]:
            p = self.add("Add", self.add("Mul", p, y), self.number(term))
        power = self.add("Exp", self.add("Sub", p, self.add("Mul", x, x)))
        half = self.add("Mul", self.add("Mul", t, power), self.number(0.5))
        is_negative = self.add("Less", z, self.number(0))
        return self.add("Where", is_negative, half, self.add("Sub", self.number(1), half))


def polynomial_of_erfc():
    """Return the coefficients of P, from its values at Chebyshev points."""

    def P(y):
        t = (y + 1) / 2
        return np.log(erfcx(2 / t - 2) / t)

    chebyshev = np.polynomial.chebyshev
    return chebyshev.cheb2poly(chebyshev.chebinterpolate(P, DEGREE))
