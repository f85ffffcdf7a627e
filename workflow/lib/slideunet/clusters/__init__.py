"""dask workers for the tasks of one job, and a way to work through many tasks with few of them in flight."""

from slideunet.clusters.bag import work_through
from slideunet.clusters.client import open_client
from slideunet.clusters.lazy import Workers
from slideunet.clusters.spec import ClusterSpec, SlurmWorkers

__all__ = ["ClusterSpec", "SlurmWorkers", "Workers", "open_client", "work_through"]
