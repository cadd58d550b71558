"""A real Slurm for the tests of this folder, or a plain line that says why there is none."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, why_not


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    """One cluster for all tests of this process. It ends with the process, even if that is killed."""
    if reason := why_not():
        pytest.skip(reason)
    # Not in pytest's own folder, whose path is too long for a socket.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder,
        Cluster(Path(folder)) as cluster,
    ):
        yield cluster


@pytest.fixture
def slurm(_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, in which nothing runs; the jobs of the test are cancelled at its end."""
    yield _cluster
    _cluster.cancel_all()
