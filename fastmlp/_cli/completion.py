"""`fastmlp completion`: the script with which a shell completes the command line."""

import shtab

from fastmlp._cli.parser import command_parser


def run(options):
    """Print the script for a shell."""
    print(shtab.complete(command_parser(), options.shell))
