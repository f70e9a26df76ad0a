"""The scripts of this folder, one after the other: `python stress/run.py --seconds 60`.

It prints one table of their figures, and ends with status 1 if any promise is broken.
"""

import subprocess
import sys
from pathlib import Path

from cases import arguments

# All but sanitizers.py and coverage.py, which build the core anew.
SCRIPTS = (
    "configurations", "processes", "interrupts", "at_once", "threads", "soak", "allocations",
    "gradients",
)  # fmt: skip
FOLDER = Path(__file__).parent


def run(script, seconds, seed):
    """Run a script. Return its exit status, its figure, and all else that it printed."""
    command = [sys.executable, str(FOLDER / f"{script}.py"), f"--seconds={seconds:g}"]
    done = subprocess.run(
        [*command, f"--seed={seed}"], stdout=subprocess.PIPE, text=True, check=False
    )
    figure, _, details = done.stdout.strip().partition("\n")
    return done.returncode, figure.removeprefix(f"{script}: ") or "no figure", details


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    given = parser.parse_args()
    is_broken, all_details = False, []
    print("| script | figure | status |\n|---|---|---|")
    for script in given.only:
        status, figure, details = run(script, given.seconds, given.seed)
        print(f"| {script} | {figure} | {status} |", flush=True)
        is_broken |= status != 0
        all_details += [details] if details else []
    print(*all_details, sep="\n\n", end="\n" if all_details else "")
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
