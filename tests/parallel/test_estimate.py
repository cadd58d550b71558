"""The estimate of what a sweep costs: how its parts grow with the experiment."""

import pytest

from dml import config, experiment
from dml.models.cost import cost_of
from dml.parallel import estimate
from dml.plan import make_plan

DECODER = {"dataset": "tiny_mem", "num_example": 100, "topology_file": "cycle:n=4", "rounds": 2}


def _plan(tmp_path, **flags):
    return make_plan(config.make({"out_dir": tmp_path, **flags}))


def test_time_grows_with_the_rounds(tmp_path):
    two, four = (estimate._work(_plan(tmp_path, rounds=rounds)) for rounds in (20, 40))
    assert four / two == pytest.approx(2, rel=0.01)


def test_time_grows_with_the_decoders_layers_and_not_with_its_weights_alone(tmp_path):
    one, four = (estimate._work(_plan(tmp_path, **DECODER, n_layer=layers)) for layers in (1, 4))
    assert 3.3 < four / one < 4


def test_a_convolution_takes_longer_than_a_perceptron_of_its_size(tmp_path):
    images = {"dataset": "cifar10", "topology_file": "cycle:n=4", "rounds": 2}
    cnn, mlp = (estimate._work(_plan(tmp_path, **images, model=model)) for model in ("cnn", "mlp"))
    sizes = [cost_of(model, (3, 32, 32), 10, ()).size for model in ("cnn", "mlp")]
    # 5.9 M parameters and 275 M operations, against 0.2 M of both.
    assert sizes[0] / sizes[1] < 31 < 100 < cnn / mlp


def test_memory_counts_optimisers_data_and_a_step(tmp_path):
    cost = cost_of("mlp", (1, 8, 8), 10, ())
    flags = {"topology_file": "cycle:n=4"}
    data = 1797 * (64 * 4 + 16)
    a_step = 4 * (4810 + 16 * cost.written)  # 16 is the batch of digits
    assert estimate._memory(_plan(tmp_path, **flags, optimizer="adam")) == 3 * 4 * 4 * 4810 + data + a_step
    assert estimate._memory(_plan(tmp_path, **flags, train=False)) == 4 * 4 * 4810 + data


def test_tokens_take_a_byte_each(tmp_path):
    more, few = (_plan(tmp_path, **{**DECODER, "num_example": count}) for count in (1000, 100))
    assert estimate._memory(more) - estimate._memory(few) == 5 * 900 * (150 + 16)


@pytest.mark.parametrize("flags", [{}, {"keep_checkpoint": False}, {"train_test_val": (0.6, 0.2, 0.2)}])
def test_disk_is_that_of_the_files_within_a_factor_of_two(small, flags):
    made = small(topology_file="cycle:n=16", rounds=10, **flags)
    expected = estimate._disk(make_plan(made))
    path = experiment.run(made)
    there = sum(f.stat().st_size for f in path.parent.iterdir())
    assert 0.5 < expected / there < 2
