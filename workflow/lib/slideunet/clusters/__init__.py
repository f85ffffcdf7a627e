"""dask workers for the tasks of one job, and a bounded queue for many tasks."""

from slideunet.clusters.spec import ClusterSpec
from slideunet.clusters.tasks import record_blocks, work_through
from slideunet.clusters.workers import Workers

__all__ = ["ClusterSpec", "Workers", "record_blocks", "work_through"]
