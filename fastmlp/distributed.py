"""Training of one network on the rows of several processes, which may be on many machines."""

from fastmlp._distributed.context import mpi as mpi

__all__ = ["mpi"]
