"""What every partition promises."""

import numpy as np
import pytest

from dml.data.partitions.registry import PARTITIONS


@pytest.mark.parametrize("name", PARTITIONS)
@pytest.mark.parametrize("alpha", [0.01, 100.0])
def test_every_sample_is_on_one_node_and_every_node_has_the_least(name, alpha):
    partition = PARTITIONS[name]
    fields = partition.options.model_fields
    options = partition.options(**{field: alpha for field in fields if field.endswith("alpha")})
    labels = np.random.default_rng(0).integers(5, size=100)
    for seed in range(5):
        parts = partition.deal(labels, 20, 5, options, seed, 4)
        assert sorted(np.concatenate(parts).tolist()) == list(range(100))
        assert all((np.diff(part) > 0).all() for part in parts)
        sizes = [len(part) for part in parts]
        assert len(sizes) == 20
        assert min(sizes) >= 4
        assert not partition.equal_sizes or np.ptp(sizes) <= 1
    assert partition.version >= 1
