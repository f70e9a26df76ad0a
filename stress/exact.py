"""Memory that ends where an array ends, for builds with a sanitizer.

`sanitizers.py` puts this module into its copy of fastmlp, in the place of `_aligned` in
`_engine/layout.py`. That one asks NumPy for some bytes more than an array has, and what is read or
written there would not be reported.
"""

import ctypes
import sys

import numpy as np

CACHE_LINE = 64

# Of the whole process, so that a sanitizer that has been loaded before comes first.
allocate = ctypes.CDLL(None).posix_memalign
allocate.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
free = ctypes.CDLL(None).free
free.argtypes, free.restype = [ctypes.c_void_p], None


class Memory:
    """So many bytes, which are freed with the last array that uses them."""

    def __init__(self, n_bytes):
        address = ctypes.c_void_p()
        if n_bytes > sys.maxsize or allocate(ctypes.byref(address), CACHE_LINE, n_bytes) != 0:
            raise MemoryError(f"no memory for {n_bytes} bytes")
        self.address = address.value
        self.__array_interface__ = {
            "data": (self.address, False), "shape": (n_bytes,), "typestr": "|u1", "version": 3,
        }  # fmt: skip

    def __del__(self, free=free):
        if hasattr(self, "address"):
            free(self.address)


def aligned(new, n_bytes, shape, dtype):
    """Return an array in exactly so many bytes: `_aligned` of `_engine/layout.py`."""
    memory = np.asarray(Memory(n_bytes))
    if new is np.zeros:
        memory[...] = 0
    return np.ndarray(shape, dtype, memory)
