"""A context manager that counts its users, and that an interrupt cannot leave half done.

Python handles signals between the bytecodes of Python code. Compiled code has none, so Ctrl-C can
only take effect before or after the methods below, or inside the functions that they call. An
interrupted function is called again.

There may be no memory either, not even for a number. What leaves a guard therefore makes no object.
"""

import os
import threading

from cpython.pythread cimport PyThread_get_thread_ident

cdef int MOST_TRIES = 10


cdef to_the_end(function):
    """Call a function until no exception interrupts it; return the last exception, or None."""
    interrupt = None
    for i in range(MOST_TRIES):
        try:
            function()
            return interrupt
        except BaseException as exception:
            interrupt = exception
            if i == MOST_TRIES - 1:
                raise


cdef class Guard:
    """A context whose first user to enter calls ``begin`` and whose last to leave calls ``end``.

    It is needed because two fits may run in two Python threads, while a limit such as the number of
    BLAS threads belongs to the whole process.

    Parameters
    ----------
    begin, end : callable or None
        Called without arguments, and called again if they were interrupted.
    beneath : Guard or None
        Entered before ``begin`` and left after ``end``, if ``needs_beneath()`` is true.
    """

    cdef object _lock, _acquire, _begin, _end, _needs_beneath
    cdef Guard _beneath
    cdef long _who_is_beneath   # the thread that has entered it, or 0
    cdef dict _depths           # entries of each thread that is inside

    def __init__(self, begin=None, end=None, beneath=None, needs_beneath=None):
        self._lock = threading.Lock()
        self._acquire = self._lock.acquire
        self._begin, self._end = begin, end
        self._beneath, self._needs_beneath = beneath, needs_beneath
        self._who_is_beneath = 0
        self._depths = {}
        if hasattr(os, "register_at_fork"):
            # Holding the lock during a fork ensures that no other thread holds the child's copy.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._begin_as_child,
            )

    def _begin_as_child(self):
        """Reset the counts: the threads that were inside do not exist in the child."""
        self._who_is_beneath = 0    # beneath resets itself in the child
        if self._depths:
            self._depths.clear()
            if self._end is not None:
                self._end()
        self._lock.release()

    @property
    def n_users(self):
        """How many Python threads are inside."""
        return len(self._depths)

    def __enter__(self):
        cdef object me = PyThread_get_thread_ident()
        cdef bint is_first
        interrupt = None
        self._lock.acquire()
        try:
            is_first = not self._depths
            self._depths[me] = self._depths.get(me, 0) + 1      # first, since it takes memory
            if is_first:
                try:
                    interrupt = self.open()
                except BaseException:
                    del self._depths[me]
                    raise
        finally:
            self._lock.release()
        if interrupt is not None:
            self.leave(PyThread_get_thread_ident())
            raise interrupt

    # Not *exception, which would be a tuple, made before anything else.
    def __exit__(self, kind, exception, traceback):
        interrupt = self.leave(PyThread_get_thread_ident())
        if interrupt is not None:
            raise interrupt

    cdef open(self):
        if self._beneath is not None and self._needs_beneath():
            self._beneath.__enter__()
            self._who_is_beneath = PyThread_get_thread_ident()
        return to_the_end(self._begin) if self._begin is not None else None

    cdef key_of(self, long who):
        """The key of a thread that is inside. It is found, since making it takes memory."""
        for key in self._depths:
            if <long> key == who:
                return key
        raise RuntimeError("this thread is not inside")

    cdef leave(self, long who):
        interrupt = to_the_end(self._acquire)
        try:
            key = self.key_of(who)
            self._depths[key] -= 1
            if self._depths[key] == 0:
                del self._depths[key]
            if not self._depths:
                interrupt = self.close() or interrupt
        finally:
            self._lock.release()
        return interrupt

    cdef close(self):
        cdef long who
        interrupt = to_the_end(self._end) if self._end is not None else None
        if self._who_is_beneath:    # most often this thread, but not always
            who, self._who_is_beneath = self._who_is_beneath, 0
            interrupt = self._beneath.leave(who) or interrupt
        return interrupt
