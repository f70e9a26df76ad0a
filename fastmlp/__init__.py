"""Fast multilayer perceptrons on a CPU, behind the scikit-learn interface."""

from fastmlp._network import Network as Network
