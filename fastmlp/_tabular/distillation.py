"""One network that learns the outputs of an ensemble, and then takes its place."""

import numpy as np
from scipy.special import softmax

from fastmlp._engine.rows import Data
from fastmlp._tabular.ensemble import Ensemble, Part
from fastmlp._tabular.member import Member
from fastmlp._tabular.selection import SMALLEST_PROBABILITY


class Student:
    """A network that has learned the outputs of an ensemble, in place of it.

    It has learned the logarithms of the probabilities, not the probabilities: Ba and Caruana, Do
    deep nets really need to be deep?, NeurIPS 2014.

    Parameters
    ----------
    ensemble : Ensemble
        With the one network.
    scale : float
        The network's outputs have been learned divided by this.
    is_regression : bool
    """

    def __init__(self, ensemble, scale, *, is_regression):
        self.ensemble = ensemble
        self.scale = scale
        self.is_regression = is_regression

    @property
    def parts(self):
        return self.ensemble.parts

    @property
    def encoder(self):
        return self.ensemble.encoder

    def outputs(self, X):
        """Return the output for each row of a table, in float64."""
        return self.outputs_of(self.ensemble.encoder.transform(X))

    def outputs_of(self, encoded):
        """Return the output for each row of an encoded table."""
        outputs = self.scale * self.ensemble.outputs_of(encoded)
        return outputs if self.is_regression else softmax(outputs, axis=1)


def distilled(task, ensemble, seed, deadline, n_threads):
    """Return a `Student` of the ensemble, trained on the rows of the first split.

    The network has the settings of the member with the largest weight. Its selection rows, which
    decide when the training ends, are those of the first split.

    Parameters
    ----------
    task : Task
    ensemble : Ensemble
    seed : int
    deadline : Deadline
    n_threads : int
    """
    targets = ensemble.outputs_of(task.encoded)
    if not task.is_regression:
        targets = np.log(np.maximum(targets, SMALLEST_PROBABILITY))
        targets -= targets.mean(axis=1, keepdims=True)
    scale = task.spread(targets) or 1.0
    settings = max(ensemble.parts, key=lambda part: part.weight).settings
    settings = settings._replace(dropout=0.0, label_smoothing=0.0)
    data = task.data_for(settings)
    data = Data(data.features, (targets / scale).astype(np.float32), data.sample_weight)
    member = Member(settings, seed, task.maps, targets.shape[1], is_regression=True)
    rows = task.rows_for(data, 0, member.random_state)
    member.train(rows, (1, np.inf), deadline, n_threads)
    alone = Ensemble(ensemble.encoder, ensemble.maps, [Part(settings, 1.0, member.finish())])
    return Student(alone, scale, is_regression=task.is_regression)
