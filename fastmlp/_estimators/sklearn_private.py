"""Imports of private names of scikit-learn, which may change between its versions."""

from sklearn.base import _fit_context as _fit_context
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer as AdamOptimizer
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer as SGDOptimizer
from sklearn.utils import _safe_indexing as _safe_indexing
from sklearn.utils._param_validation import HasMethods as HasMethods
from sklearn.utils._param_validation import Interval as Interval
from sklearn.utils._param_validation import Options as Options
from sklearn.utils._param_validation import StrOptions as StrOptions
from sklearn.utils._param_validation import (
    validate_parameter_constraints as validate_parameter_constraints,
)
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call as _check_partial_fit_first_call,
)
from sklearn.utils.validation import _check_sample_weight as _check_sample_weight
