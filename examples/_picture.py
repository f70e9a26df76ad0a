"""What the examples share: their options, what one should see, and where the picture goes."""

import argparse
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.exceptions import ConvergenceWarning


def options(description, **more):
    """The options of the command line: --output, --show, and more of them by name and help."""
    # An example trains for as long as it says, converged or not.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = f"{Path(sys.argv[0]).stem}.png"
    parser.add_argument(
        "--output", default=default, help=f"file of the picture ({default}); '' for none"
    )
    parser.add_argument("--show", action="store_true", help="open a window with it, too")
    for name, text in more.items():
        parser.add_argument(f"--{name}", help=text)
    given = parser.parse_args()
    if not given.show:
        plt.switch_backend("Agg")  # which needs no display
    print(description)
    return given


def finish(figure, given):
    """Save the picture, and show it if that is asked for."""
    if given.output:
        figure.savefig(given.output, dpi=120)
        print(f"\nThe picture is in {given.output}")
    if given.show:
        plt.show()
