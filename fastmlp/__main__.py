"""The console command `fastmlp`, also available as `python -m fastmlp`."""

import sys

from fastmlp._cli.main import main as main

if __name__ == "__main__":
    sys.exit(main())
