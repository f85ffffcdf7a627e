"""dask workers for the tasks of one job, and a bounded queue for many tasks."""

from slideunet.clusters.bounded_queue import record_blocks, work_through
from slideunet.clusters.client import open_client
from slideunet.clusters.spec import ClusterSpec
from slideunet.clusters.workers import Workers

__all__ = ["ClusterSpec", "Workers", "open_client", "record_blocks", "work_through"]
