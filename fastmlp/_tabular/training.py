"""Training of many candidates side by side, the worse of which are dropped early."""

import itertools
import math
import signal
import threading
import warnings
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import closing, contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from fastmlp._distributed.dask import keeper
from fastmlp._distributed.ray import Cluster
from fastmlp._engine.rows import Data, Features
from fastmlp._engine.threads import available_threads
from fastmlp._engine.warnings import warn
from fastmlp._estimators.checkpoints import checksum
from fastmlp._tabular.member import Member, MemberRows

# Jobs are given up after so many failures of workers.
MOST_FAILURES = 5


class Split(NamedTuple):
    """Rows to train on, and rows that the members and the selection are judged by."""

    training: np.ndarray
    selection: np.ndarray


class Arrays:
    """Arrays for the workers.

    Parameters
    ----------
    arrays : list of ndarray
    """

    def __init__(self, arrays):
        self.arrays = arrays

    def __sizeof__(self):
        """How Dask learns what they need of a worker's memory."""
        return sum(array.nbytes for array in self.arrays)

    def __setstate__(self, state):
        # They may have arrived in memory that is not aligned.
        self.arrays = [np.require(array, requirements=["C", "A"]) for array in state["arrays"]]


class Candidate:
    """A draw of settings, with a member for each split of the rows that it has been trained on.

    Parameters
    ----------
    settings : Settings
    seed : int
    """

    def __init__(self, settings, seed):
        self.settings = settings
        self.seed = seed
        self.members = {}  # number of the split: Member

    @property
    def loss(self):
        """The mean of the members' losses; infinity before the first epoch."""
        losses = [member.loss for member in self.members.values() if member.n_epochs]
        return float(np.mean(losses)) if losses else np.inf

    @property
    def n_epochs(self):
        return sum(member.n_epochs for member in self.members.values())

    @property
    def seconds(self):
        return sum(member.seconds for member in self.members.values())


class Task:
    """What all members are trained on.

    Parameters
    ----------
    maps : InputMaps
    encoded : Encoded
    targets : ndarray of shape (n_rows,)
    sample_weight : ndarray of float32, shape (n_rows,)
    splits : list of Split
    n_outputs : int
    is_regression : bool
    """

    def __init__(self, maps, encoded, targets, sample_weight, splits, n_outputs, *, is_regression):
        self.maps = maps
        self.encoded = encoded
        self.targets = np.ascontiguousarray(targets, dtype=np.float32)
        self.sample_weight = sample_weight
        self.splits = splits
        self.n_outputs = n_outputs
        self.is_regression = is_regression
        self._inputs, self._arrays = {}, {}

    def _inputs_for(self, settings):
        key = self.maps.key(settings)
        if key not in self._inputs:
            self._inputs[key] = self.maps.inputs(self.encoded, settings)
        return self._inputs[key]

    def data_for(self, settings):
        """Return the rows as a network with these settings reads them."""
        features = Features.of(self._inputs_for(settings))
        return Data(features, self.targets[:, np.newaxis], self.sample_weight)

    def arrays_for(self, settings, k):
        """Return the arrays of the rows and of the split ``k``, always the same objects."""
        data, split = ("data", self.maps.key(settings)), ("split", k)
        if data not in self._arrays:
            self._arrays[data] = Arrays(self.data_for(settings).arrays)
        if split not in self._arrays:
            self._arrays[split] = Arrays(self.splits[k])
        return self._arrays[data], self._arrays[split]

    def member(self, candidate, k):
        """Return a new member of a candidate, for the split ``k``."""
        return Member(
            candidate.settings,
            candidate.seed + k,
            self.maps,
            self.n_outputs,
            is_regression=self.is_regression,
        )

    @property
    def all_targets(self):
        """The targets of all rows, which may be more than those of this process."""
        return self.targets

    @property
    def all_weight(self):
        """The weights of all rows."""
        return self.sample_weight

    def team(self, *arguments):
        """Return what trains members side by side."""
        return Team(self, *arguments)

    def rows_for(self, data, k, random_state):
        """Return the rows of a split for a network, whose data these are."""
        return MemberRows(data, self.splits[k], random_state)

    def spread(self, targets):
        """Return the standard deviation of targets of all rows."""
        return float(targets.std())

    def checksums(self):
        """Return checksums of the rows, for checkpoints."""
        return {
            "X": checksum([self.encoded.numbers, self.encoded.codes.astype(np.int32)]),
            "y": checksum([self.targets]),
            "sample_weight": checksum([self.sample_weight]),
            "cv": checksum([rows for split in self.splits for rows in split]),
        }

    def selection(self, k):
        """Return the targets and the weights of the selection rows of a split."""
        rows = self.splits[k].selection
        return self.targets[rows], self.sample_weight[rows]

    def selection_outputs(self, candidate, k):
        """Return the outputs of the member for the split ``k``, for rows that it did not see."""
        passes = candidate.members[k].network.passes
        return passes.evaluate(self.data_for(candidate.settings), self.splits[k].selection)[0]


def train_candidates(task, candidates, plan, n_jobs, deadline, display, checkpoints):
    """Train the candidates: all on the first split, and the best of them on the others.

    Parameters
    ----------
    task : Task
    candidates : list of Candidate
    plan : Plan
    n_jobs : int or None
    deadline : Deadline
    display : Silence
        Shows the progress.
    checkpoints : MemberCheckpoints
    """
    alive, n = candidates, len(candidates)
    with closing(task.team(deadline, display, n_jobs, checkpoints)) as team:
        for until, share in plan.rounds:
            team.train([(candidate, 0) for candidate in alive], until)
            alive = checkpoints.survivors(partial(best, alive, share * n))
        team.train([(candidate, 0) for candidate in alive], np.inf)
        first, others = np.split(np.arange(1, len(task.splits)), [1])
        for splits, share in zip((first, others), plan.shares, strict=True):
            alive = checkpoints.survivors(partial(best, alive, share * n))
            team.train([(candidate, int(k)) for candidate in alive for k in splits], np.inf)


def best(candidates, n):
    """Return the n candidates of least loss, at least one."""
    return sorted(candidates, key=lambda candidate: candidate.loss)[: max(1, round(n))]


class Team:
    """Trains members side by side.

    Parameters
    ----------
    task : Task
    deadline : Deadline
    display : Silence
    n_jobs : int or None
        Number of members at a time; see `shares_of_threads`.
    checkpoints : MemberCheckpoints
    """

    def __init__(self, task, deadline, display, n_jobs, checkpoints):
        self.task = task
        self.deadline = deadline
        self.display = display
        self.n_jobs = n_jobs
        self.checkpoints = checkpoints
        self._parallel = None
        self._given = []  # arrays that a cluster has, and where its backend of joblib notes them

    def close(self):
        """Give up the workers, which are the same for all rounds."""
        for known, arrays in self._given:
            known.pop(id(arrays), None)
        self._given = []
        if self._parallel is not None:
            self._parallel.__exit__(None, None, None)
            self._parallel = None

    def train(self, pairs, until):
        """Train the members for pairs of a candidate and a split, up to the epoch ``until``."""
        jobs = []
        for candidate, k in pairs:
            if self.deadline.is_over and (jobs or k > 0):
                break  # what has not begun needs no inputs; but there must be a model in the end
            if k not in candidate.members:
                candidate.members[k] = self.task.member(candidate, k)
            if not candidate.members[k].is_done:
                jobs.append((candidate, k))
        self.display.begin_round(len(jobs))
        left = dict(enumerate(jobs))
        for n_failures in itertools.count(1):
            try:
                self._train(left, until)
                return
            except Exception as error:
                if n_failures == MOST_FAILURES or not is_of_worker(error):
                    raise
                self.close()
                warn(f"A worker was lost, and its networks are trained again: {error!r}")

    def _train(self, left, until):
        """Train the members that are left, and take them out of ``left``."""
        for i, member in self.results(left, until):
            candidate, k = left.pop(i)
            candidate.members[k] = member  # another object, if another process has trained it
            self.display.end_member(member.loss)
            if not self.deadline.is_over:  # or else it may have stopped within an epoch
                self.checkpoints.end_member(candidate, k)

    def results(self, left, until):
        """Give the place and the member of each job when it is done."""
        _, n_threads = shares_of_threads(self.n_jobs, len(left))
        work = [self._job(i, *job, until, n_threads) for i, job in left.items()]
        if self._parallel is None:
            n_jobs, _ = shares_of_threads(self.n_jobs, math.inf)  # rounds have other numbers
            self._parallel = parallel_of(n_jobs).__enter__()
        return self._parallel(work)

    def _job(self, i, candidate, k, until, n_threads):
        arrays = self.task.arrays_for(candidate.settings, k)
        for it in arrays:
            self._give_to_cluster(it)
        return delayed(_trained)(
            i, candidate.members[k], *arrays, epochs_of(i, k, until), self.deadline, n_threads
        )

    def _give_to_cluster(self, arrays):
        """Give arrays to the cluster, if there is one, once for all rounds.

        Its workers get them from each other, and do not lose them with a worker.
        """
        backend, _ = get_active_backend()
        if is_cluster(backend) and id(arrays) not in backend.data_futures:
            store = backend.ray.put if isinstance(backend, Cluster) else keeper(backend.client)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph")  # by Dask
                backend.data_futures[id(arrays)] = store(arrays)
            self._given.append((backend.data_futures, arrays))


def epochs_of(i, k, until):
    """Return the least and the largest number of epochs of the i-th job, for the split ``k``."""
    # However short the time is, there must be a model in the end.
    return 1 if i == k == 0 else 0, until


def parallel_of(n_jobs):
    """Return joblib's `Parallel` that gives results as they come, if the backend can do that."""
    try:
        return Parallel(n_jobs, prefer="threads", return_as="generator_unordered")
    except ValueError:
        return Parallel(n_jobs, prefer="threads")


def _trained(i, member, data, split, epochs, deadline, n_threads):
    """Train a member, perhaps in another process with fewer CPUs."""
    *features, y, sample_weight = data.arrays
    data = Data(Features(*features), y, sample_weight)
    rows = MemberRows(data, Split(*split.arrays), member.random_state)
    if n_threads is not None:
        n_threads = min(n_threads, available_threads())
    return i, member.train(rows, epochs, deadline, n_threads)


def is_of_worker(error):
    """Whether an error says that a worker has ended, and not that the work has failed."""
    classes = type(error).__mro__
    if "RayTaskError" in {cls.__name__ for cls in classes}:  # an exception of the work
        return False
    packages = {cls.__module__.split(".")[0] for cls in classes}
    return bool(packages & {"distributed", "ray"}) or isinstance(
        error, BrokenExecutor | CancelledError
    )


def shares_of_threads(n_jobs, n_members):
    """Return the number of members trained at a time, and the number of threads of each.

    By default, as many members as there are threads, unless joblib has been configured otherwise.
    Fewer members have more threads. On a cluster, its backend of joblib knows what None means, and
    each member has the threads of its worker (None).
    """
    n_threads = available_threads()
    backend, configured = get_active_backend()
    if is_cluster(backend):
        return configured if n_jobs is None else n_jobs, None
    if n_jobs is None:
        n_jobs = n_threads if configured is None else configured
    n_jobs = n_jobs if n_jobs > 0 else max(1, n_threads + 1 + n_jobs)
    n_jobs = min(n_jobs, max(1, n_members))
    return n_jobs, max(1, n_threads // n_jobs)


def is_cluster(backend):
    """Whether a backend of joblib is that of Dask, or ours for Ray."""
    return hasattr(backend, "data_futures")


@contextmanager
def interrupt_ends(deadline):
    """Let the first Ctrl-C end the training, and keep what is there. A second one raises."""

    def end(number, frame):
        deadline.end()
        signal.signal(signal.SIGINT, before)

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not is_main or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
