"""The two looks of every picture, for light and for dark pages, and the parts of diagrams."""

import hashlib
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

FOLDER = Path(__file__).parent
LOOKS = {
    "": {"ink": "#1f2933", "soft": "#5f6b78", "line": "#c9d1d9", "page": "#ffffff", "wash": 0.18},
    "-dark": {
        "ink": "#e3e6ea",
        "soft": "#a5adb6",
        "line": "#444c56",
        "page": "#14181e",
        "wash": 0.35,
    },
}
COLORS = {
    "blue": "#2f7fd0",
    "orange": "#dd7a1f",
    "green": "#2f9e6b",
    "purple": "#9467bd",
    "red": "#d0504f",
    "gray": "#8a949e",
    "brown": "#8c6d4f",
}


def draw_both(name, draw, source, **of_figure):
    """Call draw(figure, axes, look) for each look, and save NAME.svg and NAME-dark.svg.

    The files carry a digest of `source`, the text that the picture is made of. The tests compare
    it, so that no picture is older than its numbers or words.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()
    for suffix, look in LOOKS.items():
        settings = {
            "svg.hashsalt": name,
            "font.family": "DejaVu Sans",
            "font.size": 11,
            "text.color": look["ink"],
            "axes.labelcolor": look["ink"],
            "axes.edgecolor": look["line"],
            "axes.titlesize": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": look["soft"],
            "ytick.color": look["soft"],
            "xtick.labelcolor": look["ink"],
            "ytick.labelcolor": look["ink"],
            "grid.color": look["line"],
            "grid.linewidth": 0.6,
            "figure.facecolor": look["page"],
            "axes.facecolor": look["page"],
            "savefig.facecolor": look["page"],
            "legend.frameon": False,
        }
        with plt.rc_context(settings):
            figure, axes = plt.subplots(layout="constrained", **of_figure)
            draw(figure, axes, look)
            metadata = {"Date": None, "Description": f"drawn from {digest}"}
            figure.savefig(FOLDER / f"{name}{suffix}.svg", metadata=metadata)
            plt.close(figure)


class Diagram:
    """Boxes, words and arrows on axes without ticks, in units of the data."""

    def __init__(self, ax, look, width, height):
        self.ax, self.look = ax, look
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.axis("off")

    def box(self, x, y, width, height, words="", color="gray", *, edge=True, size=10, hatch=None):
        """A rectangle with words in its middle; (x, y) is its upper left corner."""
        fill = (COLORS[color], self.look["wash"])
        line = COLORS[color] if edge else "none"
        self.ax.add_patch(
            Rectangle((x, y), width, height, facecolor=fill, edgecolor=line, lw=1.2, hatch=hatch)
        )
        self.words(x + width / 2, y + height / 2, words, size=size)

    def words(self, x, y, words, *, size=10, at="center", soft=False, weight="normal", **more):
        """Words around, to the right (at='left') or to the left (at='right') of a point."""
        color = self.look["soft" if soft else "ink"]
        self.ax.text(
            x, y, words, ha=at, va="center", fontsize=size, color=color, weight=weight, **more
        )

    def line(self, x, y, **look):
        """A line through points, like those of a barrier."""
        look = {"color": self.look["soft"], "lw": 1.2, "solid_capstyle": "butt"} | look
        self.ax.plot(x, y, **look)

    def arrow(self, start, end, **look):
        """An arrow from one point to another."""
        look = {"color": self.look["soft"], "lw": 1.2, "mutation_scale": 11} | look
        self.ax.add_patch(
            FancyArrowPatch(start, end, arrowstyle="-|>", shrinkA=0, shrinkB=0, **look)
        )
