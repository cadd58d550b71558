"""Attributes that are read quickly are those that h5py's own mapping gives."""

import h5py
import numpy as np
import pytest

from dml.results.root_attributes import read_attributes

VALUES = {
    "text": "Käse, 40 rounds",
    "empty_text": "",
    "long_text": "x" * 50_000,
    "real": 0.1,
    "not_a_number": float("nan"),
    "whole": -(2**40),
    "float32": np.float32(0.1),
    "int32": np.int32(-7),
    "truth": np.bool_(True),
    "fixed_text": np.bytes_(b"abc"),
    "reals": np.arange(3.0),
    "one_in_a_matrix": np.ones((1, 2)),
    "texts": np.array(["a", "b"], object),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_read_as_it_was_written(tmp_path, name):
    """After another value of its kind, whose place in memory it takes."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update({"a_text": "before", "a_real": 1.5, "a_whole": 3, name: VALUES[name]})
        found, expected = read_attributes(file)[name], file.attrs[name]
        np.testing.assert_equal(found, expected)
        # No number is one of numpy's, which JSON refuses.
        assert type(found) is type(expected.item() if isinstance(expected, np.generic) else expected)


def test_an_attribute_without_a_value_is_refused_and_not_made_up(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update({"a_real": 1.5, "b": h5py.Empty("f")})
        with pytest.raises(RuntimeError):
            read_attributes(file)


def test_all_attributes_of_a_result_are_read(tiny):
    with h5py.File(tiny) as file:
        assert read_attributes(file) == dict(file.attrs)
