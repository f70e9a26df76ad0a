"""`Trains`: the training of an estimator's network, and what is published of it."""

import operator
import time

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._distributed.ranks import agreeing
from fastmlp._engine.warnings import warn
from fastmlp._estimators.parameters import (
    CHANGEABLE_IN_TRAINING,
    check_combinations,
    is_equal,
    settings_of_descent,
)
from fastmlp._training.descent import Descent
from fastmlp._training.epochs import Stopping, TrainingHooks, train_epochs
from fastmlp._training.lbfgs import minimize_lbfgs
from fastmlp._training.probe import Probe

# Schedules that are designed to end at max_iter. Reaching max_iter is then no reason to warn.
SCHEDULES_WITH_END = ("cosine", "flat_cosine", "one_cycle", "coslog4")


def _seed_for(settings, seed, random_state):
    """Return the seed of dropout and noise; draw one if it is needed and ``seed`` is 0."""
    if seed == 0 and (settings["input_noise"] > 0 or any(settings["dropout"])):
        return int(random_state.randint(1, 2**62, dtype=np.int64))
    return seed


class Trains:
    """Mixin that trains the network of an estimator, by epochs or by L-BFGS."""

    def _has_hooks(self):
        """Whether anything is to be called, shown or timed during the training."""
        registered = vars(self).get("_skl_callbacks")
        has_callbacks = self.callbacks is not None or bool(registered)
        return has_callbacks or bool(self.verbose) or self.max_seconds is not None

    def _hooks(self, callbacks, display, random_state, seconds_before):
        """Return the functions that are called at the beginning and end of every epoch."""
        parameters = [*(vars(self).get("_checked_parameters") or self._parameters())]

        def end_epoch(epoch):
            self._publish(self._history)
            display(epoch)
            is_over = callbacks.end_epoch(epoch)
            if not is_over:
                self._apply_changed_parameters(parameters, random_state)
            return is_over

        deadline = np.inf
        if self.max_seconds is not None:
            deadline = time.perf_counter() + self.max_seconds - seconds_before
        return TrainingHooks(callbacks.begin_epoch, end_epoch, display.say, deadline=deadline)

    def _fit_lbfgs(self, rows, hooks):
        minimum = minimize_lbfgs(
            self._network,
            rows,
            self._history,
            hooks,
            alpha=self.alpha,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
        )
        self._descent = None
        self.loss_ = minimum.loss
        self.n_iter_ = minimum.n_iter
        self.t_ = self._history.n_rows_seen
        self.history_ = self._history.columns
        self.best_iter_ = self._history.best_epoch
        self.stop_reason_ = minimum.reason
        if minimum.failure:
            warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s): {minimum.failure}. "
                f"Increase max_iter (now {self.max_iter}) or scale the features.",
                ConvergenceWarning,
            )

    def _train(self, rows, validate, hooks, random_state, checkpoints):
        """Train the network of the estimator, with or without checkpoints, on rows of any kind."""
        batch_size = self._check_batch_size(rows.n_rows)
        if validate is not None:
            hooks = hooks._replace(validate=validate)
        if checkpoints is not None:
            checkpoints.take_over_weights(self._network)
        if self.diagnostics:
            probe = Probe(self, self._network, *rows.sample, batch_size)
            hooks = hooks._replace(measure=probe)
        if self.solver == "lbfgs":
            self._fit_lbfgs(rows, hooks)
        else:
            self._fit_epochs(rows, batch_size, hooks, random_state, checkpoints)

    def _fit_epochs(self, rows, batch_size, hooks, random_state, checkpoints):
        is_partial = checkpoints is None
        self._descent = self._descent_for(self._network, random_state, keep_state=is_partial)
        self._remember_parameters()
        self._history.begin()
        if not is_partial and checkpoints.is_asked:
            with agreeing("before the first checkpoint"):
                checkpoints.begin(rows, random_state)
            if checkpoints.is_finished:
                return
            hooks = hooks._replace(checkpoint=checkpoints.end_epoch)
        self.stop_reason_ = train_epochs(
            self._descent,
            rows,
            self._history,
            Stopping(self.tol, self.n_iter_no_change, self.early_stopping),
            hooks,
            batch_size=batch_size,
            max_iter=1 if is_partial else self.max_iter,
        )
        self._publish(self._history)
        if not is_partial and self.stop_reason_ in ("converged", "max_iter", "failed"):
            checkpoints.end_epoch(is_finished=True)
        is_meant_to_end = is_partial or self.learning_rate in SCHEDULES_WITH_END
        if self.stop_reason_ == "max_iter" and not is_meant_to_end:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def _descent_for(self, network, random_state, *, keep_state):
        descent = getattr(self, "_descent", None) if keep_state else None
        if descent is not None and "_checked_parameters" in vars(self):
            return descent.copy_for(network)
        settings = settings_of_descent(self, network.n_layers - 1)
        if descent is not None:
            continues = descent.is_compatible_with(self.solver, settings)
            descent = descent.copy_for(network) if continues else None
        seed = _seed_for(settings, 0 if descent is None else descent.seed, random_state)
        if descent is not None:
            descent.change(settings, seed)
            return descent
        return Descent(network, self.solver, settings, seed)

    def _apply_changed_parameters(self, parameters, random_state):
        """Apply the parameters that a callback has changed, or raise if they must not change.

        ``parameters`` is a list of the values before the change and is updated.
        """
        now = self._parameters()
        if all(map(operator.is_, now, parameters)):
            return
        values = zip(self._parameter_constraints, now, parameters, strict=True)
        changed = {
            name: value
            for name, value, before in values
            if value is not before and not is_equal(value, before)
        }
        parameters[:] = now
        if not changed:
            return
        self._forget(["_checked_parameters"])
        allowed = ("n_threads",) if self.solver == "lbfgs" else CHANGEABLE_IN_TRAINING
        refused = [f"{name}={value!r}" for name, value in changed.items() if name not in allowed]
        if refused:
            raise ValueError(
                f"a callback has set {', '.join(refused)}: in the middle of a fit only "
                f"{', '.join(allowed)} can change for solver={self.solver!r}"
            )
        self._validate_params()
        check_combinations(self)
        self._network.n_threads = self.n_threads
        if self.solver == "lbfgs":
            return
        settings = settings_of_descent(self, self._network.n_layers - 1)
        if not self._descent.is_compatible_with(self.solver, settings):
            raise ValueError(
                "a callback has switched averaging or amsgrad on or off, which the state of a "
                "solver at work does not allow"
            )
        self._descent.change(settings, _seed_for(settings, self._descent.seed, random_state))

    def _publish(self, history):
        """Set scikit-learn's attributes and ``history_`` from the history."""
        self.history_ = history.columns
        self.n_iter_ = history.n_epochs
        self.best_iter_ = history.best_epoch
        if self.solver == "lbfgs":
            return
        self.loss_curve_ = history.loss_curve
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        self.t_ = history.n_rows_seen
        by_score = self.early_stopping
        self.best_loss_ = None if by_score else history.best_loss
        self.validation_scores_ = history.validation_scores if by_score else None
        self.best_validation_score_ = history.best_validation_score if by_score else None
