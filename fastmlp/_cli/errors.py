"""`CommandError`: what ends a command with one line, and its exit status."""

# Exit statuses, besides 0.
FAILURE = 1  # such as a full disk
BAD_INPUT = 2  # usage, as in argparse, and files that cannot be used
INTERRUPTED = 130  # Ctrl-C, as in shells
BROKEN_PIPE = 141  # the reader of the output has gone, as in shells


class CommandError(Exception):
    """An error to be shown in one line.

    Parameters
    ----------
    message : str
    status : int, default=BAD_INPUT
        The exit status.
    """

    def __init__(self, message, status=BAD_INPUT):
        super().__init__(message)
        self.status = status


def listed(names, most=10):
    """Return names for a message, at most so many."""
    more = ", ..." if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def in_one_line(error):
    """Return the message of an exception without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def reason(error):
    """Return what the system says about an OSError, without the number and the path."""
    return error.strerror or in_one_line(error)
