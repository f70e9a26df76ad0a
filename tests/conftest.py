"""What all tests share."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """Let Ctrl-C be heard by the tests of it: a shell's background process ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
