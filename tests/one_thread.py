"""One torch thread, as in a sweep's workers: on models this small a second one only waits.

A folder of tests that train takes the fixture into its conftest.
"""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
