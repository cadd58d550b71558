"""A folder of images as a data set: it is converted once, and its content decides what it is."""

import json
import logging
import shutil

import numpy as np
import pytest
from image_files import class_folders, parquet_folder, pictures, png, write_parquet

from dml import config, experiment, results
from dml.data import folder
from dml.data.config import DataConfig
from dml.data.load import describe_dataset, load_dataset
from dml.errors import InputError
from dml.plan import make_plan


@pytest.fixture(autouse=True)
def _forget():
    folder._convert.cache_clear()


def two_classes(path):
    for split in ("train", "test"):
        class_folders(path, pictures(4, 6), np.arange(4) % 2, split, ["a", "b"])


def of(path, data_dir):
    return DataConfig(dataset=str(path), data_dir=data_dir)


def two_forms(tmp_path):
    """The same content as parquet files and as folders of classes."""
    x, y, names = pictures(18, 6), np.arange(18) % 3, ["a", "b", "c"]
    order = np.argsort(y[:12], kind="stable")
    write_parquet(tmp_path / "p" / "train.parquet", x[:12][order], y[:12][order])
    order = 12 + np.argsort(y[12:], kind="stable")
    write_parquet(tmp_path / "p" / "test.parquet", x[order], y[order])
    class_folders(tmp_path / "f", x[:12], y[:12], "train", names)
    class_folders(tmp_path / "f", x[12:], y[12:], "test", names)
    return str(tmp_path / "p"), str(tmp_path / "f")


def test_a_folder_is_described_and_loaded_as_it_is(tmp_path):
    parquet_folder(tmp_path / "s", 60, 20, side=6, channels=3)
    made = of(tmp_path / "s", tmp_path / "data")
    spec, data = describe_dataset(made), load_dataset(made, 0)
    assert (spec.shape, spec.labels, spec.sizes, spec.tokens) == ((3, 6, 6), 10, (60, 20), 0)
    assert np.array_equal(data.train_x, pictures(80, 6, 3)[:60])
    np.testing.assert_allclose(data.train(np.array([3])), data.train_x[[3]] / 255, atol=1e-7)
    # Augmentation does not change the scale.
    augmented = load_dataset(made.model_copy(update={"augment": True}), 0)
    assert np.array_equal(augmented.test(np.array([3])), data.test(np.array([3])))


def test_a_configuration_writes_and_says_nothing(tmp_path, caplog):
    two_classes(tmp_path / "s")
    caplog.set_level(logging.INFO, "dml")
    made = config.make(
        {"dataset": str(tmp_path / "s"), "data_dir": tmp_path / "data", "topology_file": "chain:n=3"}
    )
    assert config.from_flat(json.loads(json.dumps(made.flat()))) == made
    assert not (tmp_path / "data").exists()
    assert not caplog.records
    planned = make_plan(made)
    assert planned.dataset.sizes == (4, 4)
    assert len(list((tmp_path / "data").rglob("train_x.npy"))) == 1
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"{tmp_path / 's'}: converting its images"
    ]


def test_a_folders_content_decides_its_id_and_not_its_place_or_form(tmp_path):
    parquet, folders = two_forms(tmp_path)
    flags = {"topology_file": "chain:n=3", "data_dir": tmp_path / "data", "out_dir": tmp_path / "out"}
    ids = {make_plan(config.make({**flags, "dataset": d})).identity.id for d in (parquet, folders)}
    shutil.copytree(parquet, tmp_path / "moved")
    ids.add(make_plan(config.make({**flags, "dataset": str(tmp_path / "moved")})).identity.id)
    assert len(ids) == 1
    (tmp_path / "f" / "train" / "a" / "99.png").write_bytes(png(pictures(1, 6, seed=5)[0]))
    changed = make_plan(config.make({**flags, "dataset": folders}))
    assert changed.identity.id not in ids
    assert changed.identity.name.startswith("f-chain-n3")


def test_a_folder_runs_to_the_end_and_is_converted_once(tmp_path, caplog):
    parquet, folders = two_forms(tmp_path)
    caplog.set_level(logging.INFO, "dml.data")
    flags = {"topology_file": "chain:n=3", "data_dir": tmp_path / "data", "backdoor": True}
    flags |= {"rounds": 1, "epochs": 1, "threads": 1}
    a = experiment.run(config.make({**flags, "dataset": parquet, "out_dir": tmp_path / "a"}))
    assert caplog.text.count("converting") == 1
    folder._convert.cache_clear()
    b = experiment.run(config.make({**flags, "dataset": folders, "out_dir": tmp_path / "b"}))
    make_plan(config.make({**flags, "dataset": parquet, "out_dir": tmp_path / "c"}))
    assert caplog.text.count("converting") == 2
    assert results.differences(a, b) == []
    assert results.load(a).arrays["data/samples"].sum() == 12


def test_a_folder_is_named_when_it_cannot_be_used(tmp_path):
    (tmp_path / "s").mkdir()
    made = config.make({"dataset": str(tmp_path / "s"), "data_dir": tmp_path / "data"})
    with pytest.raises(InputError, match=rf"^dataset {tmp_path}/s: .*holds neither"):
        make_plan(made)
    assert not list((tmp_path / "data").rglob("*.npy"))


def test_a_link_to_nothing_beside_the_images_does_no_harm(tmp_path):
    two_classes(tmp_path / "s")
    for place in (tmp_path / "s", tmp_path / "s" / "train"):
        (place / "notes.txt").symlink_to(tmp_path / "nowhere")
    assert describe_dataset(of(tmp_path / "s", tmp_path / "data")).sizes == (4, 4)


def test_a_data_dir_that_cannot_be_written_is_named(tmp_path):
    two_classes(tmp_path / "s")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"^data_dir {tmp_path}/file/data: cannot be written"):
        describe_dataset(of(tmp_path / "s", tmp_path / "file" / "data"))


def test_a_file_is_not_called_missing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; give the folder"):
        describe_dataset(of(tmp_path / "file", tmp_path / "data"))
    with pytest.raises(InputError, match="does not exist"):
        describe_dataset(of(tmp_path / "none", tmp_path / "data"))


def test_damaged_converted_files_are_named(tmp_path):
    two_classes(tmp_path / "s")
    made = of(tmp_path / "s", tmp_path / "data")
    describe_dataset(made)
    (file,) = (tmp_path / "data").rglob("test_x.npy")
    file.write_bytes(b"")
    with pytest.raises(InputError, match=rf"{file.parent} are damaged .* remove them and call again"):
        load_dataset(made, 0)


def test_nothing_but_our_own_line_is_shown_while_a_folder_is_converted(process, tmp_path):
    parquet_folder(tmp_path / "s", side=8)
    flags = ["--dataset", "./s", "--data_dir", "d", "--topology_file", "chain:n=2", "--model", "mlp"]
    done = process("decentralized_main.py", *flags, "--rounds", 1, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0].startswith("./s: converting its images, once, into ")
    assert done.stderr.splitlines()[1].startswith("chain:n=2: 2 nodes, 1 edge; ./s, unweighted")
