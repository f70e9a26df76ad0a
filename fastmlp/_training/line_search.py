"""The line search of Moré and Thuente (ACM Transactions on Mathematical Software 20, 1994).

phi(step) is the loss at a distance along a direction of descent. The search ends at a step with

    phi(step) <= phi(0) + DECREASE step phi'(0)  and  |phi'(step)| <= FLATNESS |phi'(0)|.

Such a step lowers the loss enough, and leaves enough of the slope behind for L-BFGS to learn from.
The constants and the rules are those of SciPy's L-BFGS-B.
"""

import math
from typing import NamedTuple

DECREASE = 1e-3
FLATNESS = 0.9
# An interval that is narrower than this, as a share of its upper end, ends the search.
NARROW = 0.1
LARGEST_STEP = 1e10
MOST_EVALUATIONS = 20
# A step beyond the last one is at most so many times as far from the best one.
EXTRAPOLATION = (1.1, 4.0)
# The interval must become shorter by this factor in two steps; if not, it is halved. A step within
# it may also go this share of the way to its other end.
SHORTER = 0.66


class Point(NamedTuple):
    """A step, and phi and phi' there."""

    step: float
    loss: float
    slope: float

    def tilted(self, slope):
        """Return the point of phi(step) - slope step."""
        return Point(self.step, self.loss - self.step * slope, self.slope - slope)


def line_search(along, loss, slope, step):
    """Evaluate phi until a step is good enough; return whether one was found: the last one.

    Parameters
    ----------
    along : callable
        Returns phi and phi' for a step.
    loss, slope : float
        phi(0), and phi'(0), which must be negative.
    step : float
        The first step to try.
    """
    least = DECREASE * slope
    best = other = Point(0.0, loss, slope)
    low, high = 0.0, step + EXTRAPOLATION[1] * step
    widths = [2 * LARGEST_STEP, LARGEST_STEP]  # of the interval, before the last one and the last
    is_bracketed = has_descended = False
    for _ in range(MOST_EVALUATIONS):
        trial = Point(step, *along(step))
        allowed = loss + step * least
        is_lower = trial.loss <= allowed
        has_descended = has_descended or (is_lower and trial.slope >= 0)
        is_at_end = step == LARGEST_STEP and is_lower and trial.slope <= least
        if is_at_end or (is_bracketed and _is_exhausted(step, low, high)):
            return True
        if is_lower and abs(trial.slope) <= FLATNESS * -slope:
            return True
        # At first, a step is sought that lowers the loss enough, at a point with phi' >= least.
        tilt = least if not has_descended and allowed < trial.loss <= best.loss else 0.0
        points = (best.tilted(tilt), other.tilted(tilt), trial.tilted(tilt))
        best, other, step, is_bracketed = _next(*points, is_bracketed, low, high)
        best, other = best.tilted(-tilt), other.tilted(-tilt)
        if is_bracketed:
            if abs(other.step - best.step) >= SHORTER * widths[0]:
                step = best.step + 0.5 * (other.step - best.step)
            widths = [widths[1], abs(other.step - best.step)]
            low, high = sorted([best.step, other.step])
        else:
            low, high = (step + factor * (step - best.step) for factor in EXTRAPOLATION)
        step = min(max(step, 0.0), LARGEST_STEP)
        if is_bracketed and _is_exhausted(step, low, high):
            step = best.step
    return False


def _is_exhausted(step, low, high):
    """Whether a bracketed interval leaves no better step to be found."""
    return not low < step < high or high - low <= NARROW * high


def _next(best, other, trial, is_bracketed, low, high):
    """Return the best and the other end of the interval, the next step, and if it is bracketed.

    The step is that of a cubic or a quadratic through two points, or lies between both, in the four
    cases of section 4 of the paper.
    """
    turns = trial.slope * math.copysign(1.0, best.slope) < 0
    if trial.loss > best.loss:
        cubic, quadratic = _cubic(best, trial), _quadratic(best, trial)
        is_nearer = abs(cubic - best.step) < abs(quadratic - best.step)
        step = cubic if is_nearer else cubic + (quadratic - cubic) / 2
        return best, trial, step, True
    if turns:
        cubic, secant = _cubic(trial, best), _secant(trial, best)
        step = cubic if abs(cubic - trial.step) > abs(secant - trial.step) else secant
        return trial, best, step, True
    is_beyond = trial.step > best.step
    if abs(trial.slope) < abs(best.slope):
        cubic, secant = _cubic_beyond(trial, best), _secant(trial, best)
        if cubic is None:
            cubic = high if is_beyond else low
        is_nearer = abs(cubic - trial.step) < abs(secant - trial.step)
        step = cubic if is_nearer == is_bracketed else secant
        if is_bracketed:
            limit = trial.step + SHORTER * (other.step - trial.step)
            step = min(limit, step) if is_beyond else max(limit, step)
        else:
            step = min(max(step, low), high)
    elif is_bracketed:
        step = _cubic(trial, other)
    else:
        step = high if is_beyond else low
    return trial, other, step, is_bracketed


def _cubic_ratio(a, b):
    """Return where the cubic through two points has its minimum, as a share of the way, and gamma.

    gamma is 0 if the cubic has no minimum.
    """
    theta = 3 * (a.loss - b.loss) / (b.step - a.step) + a.slope + b.slope
    size = max(abs(theta), abs(a.slope), abs(b.slope))
    inside = (theta / size) ** 2 - (a.slope / size) * (b.slope / size)
    gamma = math.copysign(size * math.sqrt(max(0.0, inside)), b.step - a.step)
    return (gamma - a.slope + theta) / (gamma - a.slope + gamma + b.slope), gamma


def _cubic(a, b):
    ratio, _ = _cubic_ratio(a, b)
    return a.step + ratio * (b.step - a.step)


def _cubic_beyond(a, b):
    """Return the minimum of the cubic if it lies beyond ``a``, seen from ``b``; or else None."""
    ratio, gamma = _cubic_ratio(a, b)
    return a.step + ratio * (b.step - a.step) if ratio < 0 and gamma != 0 else None


def _quadratic(a, b):
    """Return the minimum of the parabola through two points with the slope at ``a``."""
    chord = (a.loss - b.loss) / (b.step - a.step)
    return a.step + a.slope / (chord + a.slope) / 2 * (b.step - a.step)


def _secant(a, b):
    """Return where the slope would be 0 if it were linear."""
    return a.step + a.slope / (a.slope - b.slope) * (b.step - a.step)
