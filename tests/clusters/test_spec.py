import dask
import pytest

from slideunet.clusters import ClusterSpec
from slideunet.clusters.settings import as_variables, dask_settings


@pytest.mark.parametrize(
    ("section", "spec"),
    [
        ({}, ClusterSpec()),
        ({"cluster": "local", "workers": 3}, ClusterSpec()),
        ({"cluster": {"address": "tcp://h:1"}}, ClusterSpec("address", "tcp://h:1")),
        (
            {"cluster": {"scheduler_file": "s.json"}, "timeout_minutes": 2},
            ClusterSpec("scheduler_file", "s.json", wait_s=120),
        ),
        (
            {"cluster": "slurm", "slurm": {"queue": "long", "cores": 8}},
            ClusterSpec("slurm", slurm={"queue": "long", "cores": 8}),
        ),
    ],
)
def test_the_configuration_says_where_the_workers_are(section, spec, defaults):
    assert ClusterSpec.from_section(defaults(dask=section)["dask"]) == spec


def test_workers_elsewhere_get_the_same_settings():
    settings = dask_settings(2, 5, 90)
    read = dask.config.collect_env(as_variables(settings))
    for key, value in settings.items():
        if not isinstance(value, dict):
            assert dask.config.get(key, config=read) == value
