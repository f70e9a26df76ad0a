"""The model of bench/scaling.py: the time of a step on many nodes, from figures of one."""

from dataclasses import dataclass
from itertools import pairwise
from math import log2

import numpy as np
from workloads import WORKLOADS, Workload

NAMES = ("mid", "large", "table")
PUBLISHED = "published"
SIZES = {
    "mid": WORKLOADS["mid"],
    "large": WORKLOADS["large"],
    "table": Workload("table", (30, 256, 256, 1), 1024, n_epochs=1, task="regression"),
    # Seven hidden layers of 2,048 units between frames of speech and tied states of phones.
    PUBLISHED: Workload(PUBLISHED, (429, *[2048] * 7, 9304), 1024, n_epochs=1, solver="sgd"),
}

NODES = (2, 4, 8, 16, 32, 64)
EFFICIENCY = 0.9
DEFAULT_SLOTS = 8
BYTES = 4  # of a float32 number

# Above, MPICH's Allgather passes the pieces on in a ring; below, it doubles what each rank has.
BYTES_OF_RING = 512 * 1024

# Global batches that are tried, and the largest of them.
BATCHES = np.unique(np.round(2 ** np.arange(4, 26.01, 0.125)).astype(int))


def n_params(workload):
    """The number of weights and biases."""
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(workload.layer_sizes))


@dataclass(frozen=True)
class Wire:
    """A network between nodes. All nodes send and receive at its full rate at the same time.

    `rate` is in bytes of the gradient per second, `latency` in seconds from one program to the
    other, `handling` what each message costs the processor at its two ends.
    """

    name: str
    rate: float
    latency: float
    handling: float

    def __str__(self):
        return (
            f"{self.name}: {self.rate / 1e9:.3g} GB/s, latency {1e6 * self.latency:g} us, "
            f"{1e6 * self.handling:g} us for each further message"
        )


ETHERNET = Wire("10 Gbit/s", 1.18e9, 30e-6, 5e-6)  # TCP, frames of 1,500 bytes
RDMA = Wire("100 Gbit/s", 12.1e9, 2e-6, 0.5e-6)
INFINIBAND = Wire("56 Gbit/s", 6.8e9, 2e-6, 0.5e-6)  # FDR, four lanes
WIRES = (ETHERNET, RDMA)


class Curve:
    """Seconds of a step by its rows, between those that were measured.

    Interpolation is between logarithms. Each row above takes ``of_row`` seconds; below, the time is
    that of the fewest rows.
    """

    def __init__(self, rows, seconds, of_row):
        # A step of more rows that took less time was disturbed less: fewer take no longer.
        self.seconds = np.minimum.accumulate(seconds[::-1])[::-1]
        self.rows, self.of_row = np.array(rows), of_row

    def __call__(self, rows):
        inside = np.exp(np.interp(np.log(rows), np.log(self.rows), np.log(self.seconds)))
        return inside + self.of_row * np.maximum(0, rows - self.rows[-1])


class Scaling:
    """Steps of one workload on any number of nodes.

    Parameters
    ----------
    name : str
        A key of SIZES.
    cells : list of dict
        The figures of `scaling_steps.run_node`.
    sums : list of dict
        Those of `scaling_steps.run_sums`.
    speed : float
        How many times as fast as this machine a node is; for all that it computes.
    """

    def __init__(self, name, cells, sums, speed=1.0):
        cells = [cell for cell in cells if cell["name"] == name]
        rows = [cell["rows"] for cell in cells]
        self.name, self.speed = name, speed
        self.n_params = n_params(SIZES[name])
        slots = sorted(int(n) for n in cells[0]["slots"])
        times = {n: [cell["slots"][str(n)]["seconds"] for cell in cells] for n in slots}
        times[None] = [cell["plain"] for cell in cells]
        of_row = min(seconds[-1] for seconds in times.values()) / rows[-1]
        self.curves = {n: Curve(rows, seconds, of_row) for n, seconds in times.items()}
        self.move = min(cell["slots"][str(slots[0])]["move"] for cell in cells)
        self.call = min(it["least"] for it in sums)
        largest = max(sums, key=lambda it: it["n_params"])
        self.addition = largest["additions"] / largest["n_params"]

    def alone(self, rows):
        """A step of a usual fit on one node."""
        return self.curves[None](rows) / self.speed

    def own(self, n, batch):
        """What a node computes in a step, with its slots, without the sum over nodes."""
        slots = max(1, DEFAULT_SLOTS // n)
        return self.curves[slots](batch / n) / self.speed

    def sending(self, n, wire):
        """The sum of the gradients: calls, additions, latencies and bytes."""
        n_bytes, share = BYTES * self.n_params, (n - 1) / n
        hops = log2(n) if n_bytes < BYTES_OF_RING else n - 1
        waits = wire.latency * (1 + hops) + wire.handling * (n - 2)
        local = self.call + share * self.addition * self.n_params / self.speed
        return local + waits + 2 * share * n_bytes / wire.rate

    def step(self, n, batch, wire):
        return self.own(n, batch) + self.sending(n, wire)

    def strong(self, n, batch, wire):
        """The speed of n nodes / n times that of one node, both with the same mini-batches."""
        return self.alone(batch) / (n * self.step(n, batch, wire))

    def weak(self, n, batch, wire):
        """The same, but the mini-batch of the one node has only the rows of one of the n."""
        return self.alone(batch / n) / self.step(n, batch, wire)

    def smallest_batch(self, n, wire, efficiency=None, at_least=EFFICIENCY):
        """The smallest mini-batch from which on an efficiency is kept, None without one."""
        batches = BATCHES[max(n, DEFAULT_SLOTS) <= BATCHES]
        is_kept = (efficiency or self.strong)(n, batches, wire) >= at_least
        missed = np.flatnonzero(~is_kept)
        if not is_kept[-1]:
            return None
        return int(batches[missed[-1] + 1 if len(missed) else 0])

    def gain_of_overlap(self, n, batch, wire):
        """How many times as fast a step would be, if all sends went on during the gradients."""
        gradients = np.maximum(0, self.own(n, batch) - self.move / self.speed)
        hidden = np.minimum(self.sending(n, wire), gradients)
        step = self.step(n, batch, wire)
        return step / (step - hidden)
