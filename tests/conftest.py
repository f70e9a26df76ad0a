"""What all tests share."""

import _thread
import signal
import threading
import time

import pytest

from fastmlp import _core
from fastmlp._engine.threads import core_in_use


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """Let Ctrl-C be heard by the tests of it: a shell's background process ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=_core.kernel_names())
def kernels(request):
    """Take these kernels for a test, and then those of before."""
    before = _core.kernels_in_use()
    _core.use_kernels(request.param)
    yield request.param
    _core.use_kernels(before)


@pytest.fixture
def interrupted():
    """Ctrl-C a short time after the core begins to work, however long the checks before it take."""
    is_over = threading.Event()

    def interrupt():
        while not core_in_use.n_users:
            if is_over.wait(0.01):
                return
        time.sleep(0.3)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    yield
    is_over.set()
    thread.join()
