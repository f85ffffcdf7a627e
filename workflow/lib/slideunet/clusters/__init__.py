"""dask workers for the tasks of one job, and a way to work through many tasks with few of them in flight."""

from slideunet.clusters.bounded_queue import record_blocks, work_through
from slideunet.clusters.client import open_client
from slideunet.clusters.spec import ClusterSpec, SlurmWorkers
from slideunet.clusters.workers import Workers

__all__ = ["ClusterSpec", "SlurmWorkers", "Workers", "open_client", "record_blocks", "work_through"]
