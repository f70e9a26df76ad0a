"""The tables and the picture of bench/scaling.py."""

import os

from report import table
from scaling_model import (
    EFFICIENCY,
    INFINIBAND,
    NAMES,
    NODES,
    PUBLISHED,
    SIZES,
    WIRES,
    Scaling,
    n_params,
)

COLUMNS = [(name, wire) for wire in WIRES for name in NAMES]
ROWS_OF_TABLE = 100_000_000
BATCHES_OF_TABLE = (8_192, 131_072)
BATCH_OF_SPEEDS = 4_096

# Das and others, "Distributed Deep Learning Using Synchronous Stochastic Gradient Descent", 2016,
# arXiv 1602.06709. Its abstract has the nodes and the gain.
NODES_OF_PUBLISHED, GAIN_OF_PUBLISHED, BATCH_OF_PUBLISHED = 16, 6.5, 1024

# A node of that time, assumed: two sockets of 14 cores at 2.6 GHz with 32 operations a cycle, and
# the share of this peak that the products of a fit reach.
PEAK_OF_PUBLISHED, SHARE_OF_PEAK = 2330.0, 0.5


def text(figures, speed, *, verbose):
    """All tables, each below what it shows."""
    scalings = {name: Scaling(name, figures["node"], figures["sums"], speed) for name in NAMES}
    parts = [*of_this_machine(figures), assumptions(speed), *predictions(scalings)]
    if verbose:
        parts += more_predictions(scalings)
    parts += [of_hundred_million_rows(scalings["table"]), comparison(figures)]
    return "\n\n".join(parts)


def milliseconds(seconds):
    return f"{1e3 * seconds:.3g}"


def microseconds(seconds):
    return f"{1e6 * seconds:,.0f}"


def by_nodes(cell):
    """A table with a row for each number of nodes; `cell` is a function of name, wire and nodes."""
    heads = ["nodes", *(f"{name}, {wire.name}" for name, wire in COLUMNS)]
    return table(heads, [[str(n), *(cell(*column, n) for column in COLUMNS)] for n in NODES])


# What was measured -------------------------------------------------------------------------------


def of_this_machine(figures):
    networks = ", ".join(f"{name} {SIZES[name].network}" for name in NAMES)
    return [
        f"Measured here: {networks}",
        "Steps of a fit on one rank and on two, one thread each, 8 slots, with the same weights "
        "and losses bit for bit. 'fit' is one without MPI, on one thread. The efficiency of two "
        "ranks is half of their speed over that of one rank with the same mini-batch, and over "
        "that of 'fit'; weak: over that of one rank with half of the mini-batch.\n\n"
        + ranks_table(figures),
        "A node's own part of a step on all threads, without a sum over nodes: 'fit' is one "
        "without MPI; the others are one rank with 1, 2 and 4 slots.\n\n"
        + slots_table(figures["node"]),
        "The sum of gradients alone, between two ranks on this machine; GB/s are those that a "
        "rank sends.\n\n" + sums_table(figures["sums"]),
    ]


def ranks_table(figures):
    alone = {(cell["name"], cell["batch"]): cell["seconds"] for cell in figures["one rank"]}
    rows = []
    for one, two in zip(figures["one rank"], figures["two ranks"], strict=True):
        both, half = 2 * two["seconds"], alone.get((one["name"], one["batch"] / 2))
        rows.append(
            [
                one["name"],
                f"{one['batch']:,}",
                *map(milliseconds, (one["plain"], one["seconds"], two["seconds"])),
                f"{one['batch'] / two['seconds']:,.0f}",
                f"{one['seconds'] / both:.0%}",
                f"{one['plain'] / both:.0%}",
                "-" if half is None else f"{2 * half / both:.0%}",
                f"{one['loss']:.6g}",
            ]
        )
    heads = [
        "network", "batch", "fit, ms", "1 rank, ms", "2 ranks, ms", "rows/s of 2",
        "efficiency", "over fit", "weak", "loss of both",
    ]  # fmt: skip
    return table(heads, rows)


def slots_table(cells):
    rows = []
    for cell in cells:
        one, two, four = (cell["slots"][n] for n in "124")
        rows.append(
            [
                cell["name"],
                f"{cell['rows']:,}",
                milliseconds(cell["plain"]),
                *(milliseconds(it["seconds"]) for it in (one, two, four)),
                microseconds((four["seconds"] - one["seconds"]) / 3),
                microseconds(one["move"]),
            ]
        )
    heads = [
        "network", "rows", "fit, ms", "1 slot, ms", "2 slots, ms", "4 slots, ms",
        "a further slot, us", "move, us",
    ]  # fmt: skip
    return table(heads, rows)


def sums_table(cells):
    return table(
        ["parameters", "MB", "least, ms", "median, ms", "GB/s", "additions, us"],
        [
            [
                f"{it['n_params']:,}",
                f"{4e-6 * it['n_params']:.3g}",
                milliseconds(it["least"]),
                milliseconds(it["median"]),
                f"{4e-9 * it['n_params'] / it['least']:.2g}",
                microseconds(it["additions"]),
            ]
            for it in cells
        ],
    )


# What is predicted -------------------------------------------------------------------------------


def assumptions(speed):
    kind = "like this machine" if speed == 1 else f"{speed:g} times as fast as this machine"
    wires = "\n".join(f"  - {wire}" for wire in (*WIRES, INFINIBAND))
    return f"""Predicted, not measured, with these assumptions:

- All nodes are alike, {kind} ({os.cpu_count()} CPUs), and never wait for a slower one.
- A step takes a node's own part (gradients of its slots, their sum, the move), then the sum over
  the nodes. Nothing overlaps. There are 8 slots, or one for each of more nodes.
- The own part and the fit of one node are interpolated between the rows that were measured. Every
  row above them takes as long as a row of the fastest of these steps; below them, a step takes as
  long as with the fewest rows.
- In the sum, a node sends 2 (n - 1) / n times the bytes of the gradient (4 for a parameter) at the
  full rate of its link, in both directions at once, through a switch that slows none of them. It
  adds (n - 1) / n of the parameters, and calls MPI as fast as two ranks here do for 16 parameters.
- Latencies: one for the pieces that all send to all, and a short time for each message after the
  first. Then n - 1 one after the other, as the sums go round in a ring, or log2(n) for gradients
  below 512 KiB, as in MPICH.
- Messages go on at the rate of the link while a rank waits.
- Networks, of which no figure was measured:
{wires}"""


def predictions(scalings):
    def batch(name, wire, n):
        found = scalings[name].smallest_batch(n, wire)
        return "-" if found is None else f"{found:,}"

    def gain(name, wire, n):
        it = scalings[name]
        alone, step = it.alone(BATCH_OF_SPEEDS), it.step(n, BATCH_OF_SPEEDS, wire)
        with_overlap = alone / step * it.gain_of_overlap(n, BATCH_OF_SPEEDS, wire)
        return f"{alone / step:.1f} ({with_overlap:.1f})"

    return [
        f"The smallest mini-batch (of all nodes together) from which on the efficiency is "
        f"{EFFICIENCY:.0%} or more. Efficiency is the speed of n nodes / n times the speed of a "
        "fit without MPI on one node, with the same mini-batch: the same training, n x "
        f"{EFFICIENCY:g} times as fast (strong scaling).\n\n" + by_nodes(batch),
        f"How many times as fast as one node, with mini-batches of {BATCH_OF_SPEEDS:,} rows. In "
        "brackets, the most that could be gained if gradients were sent while others are still "
        "computed: as if all sends went on during the whole of the gradients.\n\n" + by_nodes(gain),
    ]


def more_predictions(scalings):
    def weak_batch(name, wire, n):
        found = scalings[name].smallest_batch(n, wire, scalings[name].weak)
        return "-" if found is None else f"{found:,}"

    def stages(name, wire, n):
        it = scalings[name]
        move = it.move / it.speed
        own, sending = it.own(n, BATCH_OF_SPEEDS), it.sending(n, wire)
        return f"{milliseconds(own - move)} + {milliseconds(move)} + {milliseconds(sending)}"

    return [
        "The same mini-batch for the weak efficiency: the speed of n nodes / n times the speed of "
        "one node with the rows of one node only.\n\n" + by_nodes(weak_batch),
        f"The parts of a step with {BATCH_OF_SPEEDS:,} rows, in ms: gradients + move + sum over "
        "the nodes\n\n" + by_nodes(stages),
    ]


def of_hundred_million_rows(scaling):
    """Seconds of an epoch of a large table."""

    def epoch(batch, seconds_of_step):
        return f"{ROWS_OF_TABLE / batch * seconds_of_step:,.0f}"

    heads = ["nodes", *(f"{b:,} rows, {wire.name}" for wire in WIRES for b in BATCHES_OF_TABLE)]
    one = [epoch(b, scaling.alone(b)) for _ in WIRES for b in BATCHES_OF_TABLE]
    rows = [
        [str(n), *(epoch(b, scaling.step(n, b, w)) for w in WIRES for b in BATCHES_OF_TABLE)]
        for n in NODES
    ]
    workload = SIZES["table"]
    n_bytes = ROWS_OF_TABLE * 4 * workload.layer_sizes[0]
    return (
        f"A table of {ROWS_OF_TABLE:,} rows and {workload.layer_sizes[0]} columns "
        f"({n_bytes / 1e9:.0f} GB in float32, divided among the nodes), {workload.network}: "
        "seconds of an epoch by the mini-batch. One node is a fit without MPI, if it has the "
        "memory.\n\n" + table(heads, [["1", *one], *rows])
    )


def comparison(figures):
    """The model for a network and nodes like those of a published figure."""
    workload, n, batch = SIZES[PUBLISHED], NODES_OF_PUBLISHED, BATCH_OF_PUBLISHED
    here = Scaling(PUBLISHED, figures[PUBLISHED], figures["sums"])
    rate = workload.operations_of_row * batch / here.alone(batch) / 1e9
    theirs_rate = PEAK_OF_PUBLISHED * SHARE_OF_PEAK
    theirs = Scaling(PUBLISHED, figures[PUBLISHED], figures["sums"], theirs_rate / rate)
    rows = []
    for name, it, speed in (
        ("like this machine", here, rate),
        ("of that time", theirs, theirs_rate),
    ):
        step, sending = it.step(n, batch, INFINIBAND), it.sending(n, INFINIBAND)
        gain = it.alone(batch) / step
        needed = it.smallest_batch(n, INFINIBAND, at_least=GAIN_OF_PUBLISHED / n)
        rows.append(
            [
                name,
                f"{speed:,.0f}",
                *map(milliseconds, (it.alone(batch), it.own(n, batch), sending)),
                f"{gain:.1f}",
                f"{gain * it.gain_of_overlap(n, batch, INFINIBAND):.1f}",
                f"{needed:,}",
            ]
        )
    heads = [
        "nodes", "GFLOP/s of a fit", "one node, ms", f"own part of {n}, ms", "sum, ms",
        "times as fast", "with perfect overlap", f"mini-batch for {GAIN_OF_PUBLISHED:g}",
    ]  # fmt: skip
    seconds_of_bytes = 2 * (n - 1) / n * 4 * theirs.n_params / INFINIBAND.rate
    limit = theirs.alone(batch) / seconds_of_bytes
    return (
        f"Das and others 2016 (arXiv 1602.06709): a 7-layer network, {GAIN_OF_PUBLISHED:g} times "
        f"as fast on {n} nodes. By the model, {workload.network} ({n_params(workload):,} "
        f"parameters) with mini-batches of {batch:,} rows on {n} nodes, {INFINIBAND.name}:\n\n"
        + table(heads, rows)
        + f"""

- The gain and the number of nodes are from the abstract. The sizes of the layers, the mini-batch
  and the links are usual ones for speech at that time, and may differ from theirs.
- The nodes of that time are assumed: a peak of {PEAK_OF_PUBLISHED:,.0f} GFLOP/s, of which a fit
  reaches {SHARE_OF_PEAK:.0%}. All that a node computes is divided by the ratio of the speeds.
- The slower the nodes, the more they gain from being many. So the line of that time is the one to
  compare; the other is no achievement.
- The bytes of the gradients alone take {1e3 * seconds_of_bytes:.0f} ms. So nodes of that time
  cannot be more than {limit:.1f} times as fast by dividing the rows, whatever overlaps. More needs
  larger mini-batches (last column) or fewer bytes, for instance units of wide layers that are
  shared out among the nodes.
- This machine's best product of matrices: {figures["best_gemm"]:,.0f} GFLOP/s."""
    )


# The picture -------------------------------------------------------------------------------------


def draw(figures, speed, path):
    """Draw the mini-batch that 90% efficiency needs over the number of nodes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.4), sharey=True, layout="constrained")
    for axis, wire in zip(axes, WIRES, strict=True):
        for name in NAMES:
            scaling = Scaling(name, figures["node"], figures["sums"], speed)
            found = {n: scaling.smallest_batch(n, wire) for n in NODES}
            found = {n: batch for n, batch in found.items() if batch is not None}
            if found:
                label = f"{name}: {SIZES[name].network}"
                axis.plot(list(found), list(found.values()), "o-", label=label)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.set_xticks(NODES)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_major_locator(ticker.LogLocator(base=4, numticks=20))
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.set_xlabel("nodes")
        axis.set_title(f"{wire.name} between nodes", loc="left")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"rows of a mini-batch for {EFFICIENCY:.0%} efficiency")
    lines = axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=len(NAMES), frameon=False)
    figure.savefig(path, dpi=130)
