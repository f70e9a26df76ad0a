"""`MemberCheckpoints`: the checkpoints of an ensemble, network by network."""

import numpy as np

from fastmlp._engine.model_file import Parts
from fastmlp._estimators.checkpoints import Checkpoints, checksum
from fastmlp._tabular.saving import write_columns


class MemberCheckpoints(Checkpoints):
    """The checkpoints of a fit of an ensemble.

    A network is in the file as it was when it was last put aside: trained to the end, or to the
    end of a round of successive halving. What was being trained is trained anew. The survivors of
    each round are in the file too, because the losses have changed since then.
    """

    def begin(self, task, candidates, encoder, scale):
        """Compare the data with those of the file to go on from, and take over its networks.

        The encoded rows do not tell the scale of numbers and the names of categories, so what the
        encoder has learned of them is compared too, and so is ``scale``, what the targets stand
        for.
        """
        if not self.is_asked:
            return
        learned = Parts()
        write_columns(learned, encoder)
        of_rows = task.checksums()
        of_rows["X"] += checksum([as_bytes(learned.fields), *learned.arrays.values()])
        of_rows["y"] += checksum([as_bytes(scale)])
        self.check_data(**of_rows)
        self._candidates = list(candidates)
        self._known, self._survivors, self._n_rounds, self._n_trained = {}, [], 0, 0
        if self.run is not None and not self.is_finished:
            self._take_over(task)
        if not self.is_finished:
            self.write(_no_model, self._write_run)

    def _take_over(self, task):
        n = len(self._candidates)
        rounds = self.run.items("rounds")
        self._survivors = [of_round.wholes("survivors", 0, n - 1) for of_round in rounds]
        for of_member in self.run.items("members"):
            i, k = of_member.whole("candidate", 0, n - 1), of_member.whole("split", 0)
            if k >= len(task.splits):
                raise of_member.error("split", f"must be below {len(task.splits)}, got {k}")
            candidate = self._candidates[i]
            member = candidate.members[k] = task.member(candidate, k)
            with of_member.checks("n_epochs"):
                member.read(of_member)
            self._remember(candidate, k)

    def survivors(self, choose):
        """Return the candidates that go on after a round: those of the file, or ``choose()``."""
        if not self.is_asked:
            return choose()
        if self._n_rounds == len(self._survivors):
            places = {id(candidate): i for i, candidate in enumerate(self._candidates)}
            self._survivors.append([places[id(candidate)] for candidate in choose()])
        self._n_rounds += 1
        return [self._candidates[i] for i in self._survivors[self._n_rounds - 1]]

    def end_member(self, candidate, k):
        """Take note of a network that has been put aside, and write a checkpoint if it is due."""
        if self._path is None:
            return
        self._remember(candidate, k)
        self._n_trained += 1
        if self.is_due(self._n_trained):
            self.try_to_write(_no_model, self._write_run)

    def _remember(self, candidate, k):
        """Copy the state of a network, which may be trained on by another thread."""
        parts = Parts()
        (i,) = [i for i, one in enumerate(self._candidates) if one is candidate]
        parts.add(candidate=i, split=k)
        candidate.members[k].write(parts)
        parts.arrays = {name: array.copy() for name, array in parts.arrays.items()}
        self._known[i, k] = parts

    def _write_run(self, run):
        of_rounds = run.items("rounds", len(self._survivors))
        for of_round, survivors in zip(of_rounds, self._survivors, strict=True):
            of_round.add(survivors=survivors)
        of_members = run.items("members", len(self._known))
        for of_member, known in zip(of_members, self._known.values(), strict=True):
            of_member.fields.update(known.fields)
            for name, array in known.arrays.items():
                of_member.array(name, array)

    def finish(self):
        """Write the fitted model, from which a fit has nothing left to do."""
        model = self._estimator
        self.try_to_write(
            lambda parts: model._write(parts, left_out=self.left_out),
            lambda run: None,
            is_finished=True,
        )


def as_bytes(values):
    """Return the text of numbers and strings as an array, for a checksum."""
    return np.frombuffer(repr(values).encode("utf-8", "surrogatepass"), np.uint8)


def _no_model(parts):
    """Add nothing: there is no ensemble before the end."""
