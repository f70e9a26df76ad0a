"""Version and build information."""

from importlib.metadata import version
from pathlib import Path

from fastmlp import _core
from fastmlp._engine.threads import available_threads, blas_libraries

__version__ = version("fastmlp")


def _is_in_scipy(path):
    return any(part.startswith("scipy") for part in Path(path).parts[-3:-1])


def _blas():
    """Return the name, version and architecture of SciPy's BLAS library."""
    libraries = [library.info() for library in blas_libraries()]
    # NumPy may load a BLAS library of its own from a file of the same name as SciPy's. Only the
    # folder tells them apart.
    libraries.sort(key=lambda library: not _is_in_scipy(library["filepath"]))
    if not libraries:
        return "SciPy's (one that threadpoolctl does not know)"
    first = libraries[0]
    details = [first["version"], first.get("architecture"), first.get("threading_layer")]
    return " ".join([first["internal_api"], *(str(detail) for detail in details if detail)])


def show_config() -> None:
    """Print the version, the number of threads, the kernels, their compiler and the BLAS library.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.show_config()  # doctest: +SKIP
    fastmlp  0.1.0
    threads  2
    kernels  avx512 (avx512, avx2, baseline, blas; FASTMLP_KERNEL chooses)
    compiler GCC 12.2.0
    BLAS     not in use: openblas 0.3.30 SkylakeX pthreads
    """
    print(f"fastmlp  {__version__}")
    print(f"threads  {available_threads()}")
    names = ", ".join(_core.kernel_names())
    print(f"kernels  {_core.kernels_in_use()} ({names}; FASTMLP_KERNEL chooses)")
    print(f"compiler {_core.compiler()}")
    print(f"BLAS     {'' if _core.uses_blas() else 'not in use: '}{_blas()}")
