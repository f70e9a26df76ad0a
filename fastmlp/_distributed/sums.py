"""`SumOfGradients`: the gradients of the slots, added up over all ranks in a fixed order."""

import numpy as np

from fastmlp._distributed.tree import add_up, children, subtrees
from fastmlp._engine.layout import aligned_zeros, ceil_div

# The numbers behind the gradient are for flags; as many as a cache line has, or more.
N_FLAGS = 16


class SumOfGradients:
    """Adds up the gradients of all slots, and flags of all ranks.

    Every rank adds up a piece of the parameters: it is sent that piece by all others, and sends
    them the sum. These are 2 (n - 1) / n times as many bytes as a gradient has, as in the usual
    Allreduce, but the additions have the order of the tree of slots.

    Parameters
    ----------
    ranks : Ranks
    n_params : int
    dtype : dtype

    Attributes
    ----------
    total : ndarray of shape (n_params,)
        The sum.
    flags : ndarray of shape (N_FLAGS,)
        The sums of the flags.
    """

    def __init__(self, ranks, n_params, dtype):
        self._ranks = ranks
        self._n_params = n_params
        n = ranks.n
        self._piece = ceil_div(n_params + N_FLAGS, 16 * n) * 16
        of_ranks = [ranks.slots_of(rank) for rank in range(n)]
        self._nodes = [subtrees(s.start, s.stop, ranks.n_slots) for s in of_ranks]
        mine = self._nodes[ranks.rank]
        self._of_mine = [aligned_zeros(n * self._piece, dtype) for _ in mine]
        depth = max((last - first).bit_length() for first, last in mine)
        self._of_children = [aligned_zeros(n * self._piece, dtype) for _ in range(depth)]
        whole = self._of_mine[0] if n == 1 else aligned_zeros(n * self._piece, dtype)
        self._whole = whole
        self.total = whole[:n_params]
        self.flags = whole[n_params : n_params + N_FLAGS]
        if n > 1:
            counts = np.array([len(nodes) for nodes in self._nodes])
            self._received = aligned_zeros((counts.sum(), self._piece), dtype)
            self._counts_received = counts * self._piece
            self._counts_sent = np.full(n, len(mine) * self._piece)

    def __call__(self, gradient_of_slot, flags):
        """Write the sum of the gradients of all slots to ``total``.

        Parameters
        ----------
        gradient_of_slot : callable
            Writes the gradient of one of the own slots into an array of shape (n_params,).
        flags : list of float
        """
        for node, out in zip(self._nodes[self._ranks.rank], self._of_mine, strict=True):
            self._write(node, out, gradient_of_slot, 0)
        self._of_mine[0][self._n_params : self._n_params + len(flags)] = flags
        if self._ranks.n > 1:
            self._add_up_over_ranks()

    def _write(self, node, out, gradient_of_slot, depth):
        """Write the sum of the gradients of a node's slots."""
        first, last = node
        if last - first == 1:
            gradient_of_slot(first, out[: self._n_params])
            return
        left, right = children(node)
        self._write(left, out, gradient_of_slot, depth + 1)
        other = self._of_children[depth]
        self._write(right, other, gradient_of_slot, depth + 1)
        mine = out[: self._n_params]
        np.add(mine, other[: self._n_params], out=mine)

    def _add_up_over_ranks(self):
        ranks, n = self._ranks, self._ranks.n
        sent = self._of_mine[0]
        if len(self._of_mine) > 1:
            pieces = [it.reshape(n, self._piece) for it in self._of_mine]
            sent = np.ascontiguousarray(np.stack(pieces, axis=1))
        ranks.wait(
            ranks.comm.Ialltoallv(
                [sent, self._counts_sent], [self._received, self._counts_received]
            ),
            "in a step, before the sum of the gradients",
            n_bytes=self._whole.nbytes,
        )
        nodes = [node for of_rank in self._nodes for node in of_rank]
        known = dict(zip(nodes, self._received, strict=True))
        piece = add_up((0, ranks.n_slots), known)
        request = ranks.comm.Iallgather(piece, self._whole)
        ranks.wait(request, "in a step, after the sum of the gradients", n_bytes=self._whole.nbytes)
