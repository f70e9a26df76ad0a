"""`fastmlp config`: how this fastmlp was built."""

from fastmlp import show_config


def run(options):
    """Print how this fastmlp was built."""
    show_config()
