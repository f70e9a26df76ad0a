"""Work shared out among processes, which may be on many machines: one network, or many."""

from fastmlp._distributed.context import mpi as mpi
from fastmlp._distributed.dask import dask as dask
from fastmlp._distributed.ray import ray as ray

__all__ = ["dask", "mpi", "ray"]
