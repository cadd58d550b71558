"""A digest covers every dataset and attribute of a result file and of a checkpoint."""

import json
import shutil

import h5py
import numpy as np
import pytest

from dml.errors import DamagedFileError
from dml.results import checkpoint, load
from dml.results.reader import attributes
from dml.results.runs import read_runs
from dml.results.sealed import Content


@pytest.fixture
def copy(tiny, tmp_path):
    path = tmp_path / tiny.name
    shutil.copyfile(tiny, path)
    shutil.copyfile(checkpoint.path_of(tiny), checkpoint.path_of(path))
    return path


def test_a_change_of_any_dataset_or_attribute_is_noticed(copy, tmp_path):
    with h5py.File(copy) as file:
        names = [name for name in file.attrs if name != "schema_version"]
    for name in [*sorted(load(copy).arrays), *names, "topology@family", "data@dataset"]:
        path = tmp_path / "changed.h5"
        shutil.copyfile(copy, path)
        with h5py.File(path, "r+") as file:
            group, _, key = name.rpartition("@")
            item = file[group] if group else file
            if name in file:
                array = file[name][()]
                array.view(np.uint8).flat[-1] ^= 1
                file[name][...] = array
            elif isinstance(value := item.attrs[key], str):
                item.attrs[key] = value + " "
            elif isinstance(value, bytes):
                item.attrs[key] = np.bytes_(value[:-1] + b"g")
            else:
                item.attrs[key] = np.nextafter(np.float64(value), 9) if value.dtype.kind == "f" else value + 1
        with pytest.raises(DamagedFileError, match="cannot be read"):
            load(path)


def test_tables_notice_a_change_of_an_attribute(copy):
    """Such as the one bit that made a learning rate of 0.05 one of 0.01."""
    with h5py.File(copy, "r+") as file:
        config = json.loads(file.attrs["config"])
        file.attrs["config"] = json.dumps(config | {"lr": 0.01})
    with pytest.raises(DamagedFileError, match="does not match its digest"):
        attributes(copy)


def test_a_bit_of_a_checkpoint_is_noticed(copy):
    path = checkpoint.path_of(copy)
    whole, content = checkpoint.read(path, copy.stem[-12:]), path.read_bytes()
    place = content.index(whole.X[1].tobytes()) + 7
    path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    with pytest.raises(DamagedFileError, match="does not match its digest"):
        checkpoint.read(path, copy.stem[-12:])


def test_files_without_a_digest_are_read_and_counted(copy, caplog):
    for path in (copy, checkpoint.path_of(copy)):
        with h5py.File(path, "r+") as file:
            del file.attrs["digest"]
    assert not load(copy).has_digest
    assert read_runs([copy]).without_digest == 1
    with caplog.at_level("INFO"):
        assert checkpoint.read(checkpoint.path_of(copy), copy.stem[-12:]).rounds == 2
    assert "has no digest" in caplog.text


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"x": 1}, {"x": 1.0}),
        ({"x": 1}, {"x": "1"}),
        ({"x": True}, {"x": 1}),
        ({"x": "1", "y": ""}, {"x": "", "y": "1"}),
        ({"xy": "1"}, {"x": "y1"}),
    ],
)
def test_different_attributes_have_different_digests(a, b):
    assert Content({"": a}).digest() != Content({"": b}).digest()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros(2, np.float32), np.zeros(1)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, np.int32), np.zeros(2, np.float32)),
        (np.array(0.0), np.array(-0.0)),
    ],
)
def test_arrays_of_another_type_shape_or_sign_have_different_digests(a, b):
    assert Content(arrays={"a": a}).digest() != Content(arrays={"a": b}).digest()


def test_the_digest_is_that_of_what_is_read(tmp_path):
    """Also for views, numbers of numpy and more than one large array."""
    content, path = Content({"": {"a": np.float32(0.1), "b": np.int64(3), "c": True}}), tmp_path / "a.h5"
    big = np.arange(100_000.0)
    for name, value in {"big": big, "g/reversed": big[::-1], "g/columns": big.reshape(100, -1).T}.items():
        content.put(name, value)
    content.put("g/packed", big, compression="gzip")
    content.put("g/number", 7)
    content.put_attribute("g", "about", "Käse")
    content.write(path)
    from dml.results import files, sealed

    with files.read(path) as file:
        assert sealed.read(file).verify()
