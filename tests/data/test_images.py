"""Image data sets: what is read from real small files is what a run gets, and what is wrong is named."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_files import class_folders, parquet_folder, pictures, png, write_parquet
from PIL import Image

from dml import config, experiment, plan, results
from dml.data import fetch, images
from dml.data.config import DATASETS, PRESETS
from dml.data.load import load
from dml.errors import InputError

MAIN = Path(experiment.__file__).parents[1] / "experiments" / "decentralized_main.py"


def kept(name, source, data_dir):
    """What ``fetch_data.py NAME --source`` does."""
    images.write(data_dir / name, fetch.from_source(name, source), str(source))


def test_a_hub_layout_is_read_pixel_by_pixel(tmp_path):
    source = parquet_folder(tmp_path / "hub")
    kept("mnist", source, tmp_path / "data")
    data = load("mnist", tmp_path / "data", 0)
    x, y = pictures(80), np.arange(80) % 10
    assert np.array_equal(data.train_x, x[:60])
    assert np.array_equal(data.test_x, x[60:])
    assert np.array_equal(data.train_y, y[:60])
    assert np.array_equal(data.test_y, y[60:])
    some = np.array([3, 0])
    assert data.train(some).dtype == np.float32
    np.testing.assert_allclose(data.train(some), x[some] / 255, atol=1e-7)
    assert isinstance(data.train_x, np.memmap)
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["mnist"]


@pytest.mark.parametrize("augmented", [False, True])
def test_cifar_is_scaled_as_published(tmp_path, augmented):
    x = pictures(20, 32, 3)
    write_parquet(tmp_path / "c" / "train.parquet", x[:12], np.arange(12) % 10, "img")
    write_parquet(tmp_path / "c" / "test.parquet", x[12:], np.arange(8), "img")
    kept("cifar10", tmp_path / "c", tmp_path / "data")
    data = load("cifar10", tmp_path / "data", 0, augmented=augmented)
    assert data.labels == 10
    mean = np.array([0.4914, 0.4822, 0.4465] if augmented else [0.5] * 3)[:, None, None]
    std = np.array([0.2023, 0.1994, 0.2010] if augmented else [0.5] * 3)[:, None, None]
    np.testing.assert_allclose(data.test(np.arange(8)), (x[12:] / 255 - mean) / std, atol=1e-5)


def test_the_fine_labels_of_cifar100_are_taken(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": png(p), "path": None} for p in pictures(100, 32, 3)]
    for split in ("train", "test"):
        columns = {"img": rows, "fine_label": list(range(100)), "coarse_label": [0] * 100}
        pq.write_table(pa.table(columns), tmp_path / f"{split}-00000-of-00001.parquet")
    assert fetch.from_source("cifar100", tmp_path).train_y.tolist() == list(range(100))


def test_the_hubs_own_cache_is_found_inside_a_cache_of_many(tmp_path):
    parquet_folder(tmp_path / "hub/datasets--other--set/snapshots/1/x", side=5)
    parquet_folder(tmp_path / "hub/datasets--ylecun--mnist/snapshots/abc/mnist")
    assert fetch.from_source("mnist", tmp_path).train_x.shape == (60, 1, 28, 28)
    assert fetch.from_source("mnist", tmp_path / "hub").train_x.shape == (60, 1, 28, 28)


def test_an_arrow_cache_is_read_with_its_class_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    x = pictures(8)
    for split, part in (("train", slice(0, 6)), ("test", slice(6, 8))):
        features = Features({"image": ImageFeature(), "label": ClassLabel(names=list("abcdefghij"))})
        rows = {"image": [{"bytes": png(p), "path": None} for p in x[part]], "label": list(range(8))[part]}
        Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "src" / split)
    found = fetch.from_source("mnist", tmp_path / "src")
    assert np.array_equal(found.train_x, x[:6])
    assert found.test_y.tolist() == [6, 7]
    assert found.classes == tuple("abcdefghij")


@pytest.mark.parametrize(
    ("mode", "shape"), [("L", (1, 5, 7)), ("RGB", (3, 5, 7)), ("P", (3, 5, 7)), ("RGBA", (3, 5, 7))]
)
def test_a_folder_of_classes_gives_labels_in_the_order_of_their_names(tmp_path, mode, shape):
    for split in ("train", "test"):
        for name in ("zebra", "ant", "cat"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode).save(tmp_path / split / name / "0.png")
            (tmp_path / split / name / "notes.txt").write_text("not an image")
    found = fetch.from_folder(tmp_path, "mine")
    assert found.classes == ("ant", "cat", "zebra")
    assert found.train_y.tolist() == found.test_y.tolist() == [0, 1, 2]
    assert found.train_x.shape == (3, *shape)
    assert (found.train_x == 255).all()


def _two_folders(tmp_path):
    """The same content as parquet and as folders of classes."""
    x, y, names = pictures(18, 6), np.arange(18) % 3, ["a", "b", "c"]
    order = np.argsort(y[:12], kind="stable")
    write_parquet(tmp_path / "p" / "train.parquet", x[:12][order], y[:12][order])
    order = 12 + np.argsort(y[12:], kind="stable")
    write_parquet(tmp_path / "p" / "test.parquet", x[order], y[order])
    class_folders(tmp_path / "f", x[:12], y[:12], "train", names)
    class_folders(tmp_path / "f", x[12:], y[12:], "test", names)
    return str(tmp_path / "p"), str(tmp_path / "f")


def test_a_folders_content_decides_its_id_and_not_its_place_or_kind(tmp_path):
    parquet, folders = _two_folders(tmp_path)
    flags = {"topology_file": "chain:n=3", "data_dir": tmp_path / "data", "out_dir": tmp_path / "out"}
    ids = {plan.make(config.make({**flags, "dataset": d})).identity.id for d in (parquet, folders)}
    shutil.copytree(parquet, tmp_path / "moved")
    ids.add(plan.make(config.make({**flags, "dataset": str(tmp_path / "moved")})).identity.id)
    assert len(ids) == 1
    (tmp_path / "f" / "train" / "a" / "99.png").write_bytes(png(pictures(1, 6, seed=5)[0]))
    changed = plan.make(config.make({**flags, "dataset": folders}))
    assert changed.identity.id not in ids
    assert changed.identity.name.startswith("f-chain-n3")


def test_a_folder_runs_to_the_end_and_is_converted_once(tmp_path, capsys):
    parquet, folders = _two_folders(tmp_path)
    flags = {"topology_file": "chain:n=3", "data_dir": tmp_path / "data", "backdoor": True}
    flags |= {"rounds": 1, "epochs": 1, "threads": 1}
    a = experiment.run(config.make({**flags, "dataset": parquet, "out_dir": tmp_path / "a"}))
    assert capsys.readouterr().err.count("converting") == 1
    images._converted.cache_clear()
    b = experiment.run(config.make({**flags, "dataset": folders, "out_dir": tmp_path / "b"}))
    again = config.make({**flags, "dataset": parquet, "out_dir": tmp_path / "c"})
    assert capsys.readouterr().err.count("converting") == 1
    assert results.differences(a, b) == []
    assert results.load(a).arrays["data/samples"].sum() == 12
    assert again.training.model == "mlp"


def test_many_processes_may_convert_the_same_folder_at_once(tmp_path):
    source = parquet_folder(tmp_path / "src")
    found = fetch.from_source("mnist", source)
    with ThreadPoolExecutor(8) as pool:
        # Threads of one process share its id, so each writes to a place of its own first.
        for k in range(8):
            images.write(tmp_path / f"from{k}" / "mnist", found, "x")
        list(
            pool.map(
                lambda k: images._replace(
                    tmp_path / f"from{k}" / "mnist", tmp_path / "mnist", found.fingerprint()
                ),
                range(8),
            )
        )
    assert np.array_equal(images.load("mnist", tmp_path).train_x, found.train_x)


def test_a_full_size_set_loads_in_under_a_second(tmp_path):
    x = np.zeros((60_000, 1, 28, 28), np.uint8)
    y = np.arange(60_000) % 10
    images.write(
        tmp_path / "mnist", images.Images(x, y, x[:10_000], y[:10_000], tuple("0123456789")), "zeros"
    )
    seconds = []
    for _ in range(3):  # the machine may be busy with something else
        started = time.perf_counter()
        data = load("mnist", tmp_path, 0)
        assert data.train(np.arange(60_000)).shape == (60_000, 1, 28, 28)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1
    assert images.spec_of("mnist", tmp_path) == DATASETS["mnist"]


def test_a_part_of_a_named_set_is_another_experiment(tmp_path):
    kept("mnist", parquet_folder(tmp_path / "src"), tmp_path)
    flags = {"dataset": "mnist", "topology_file": "chain:n=3", "out_dir": tmp_path / "out"}
    whole = plan.make(config.make({**flags, "data_dir": tmp_path / "none"}))
    part = plan.make(config.make({**flags, "data_dir": tmp_path}))
    assert whole.identity.id != part.identity.id
    assert part.identity.name == "mnist-chain-n3-unweighted-s0"
    assert images.spec_of("mnist", tmp_path).sizes == (60, 20)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("truncate", "damaged"),
        ("meta", "damaged"),
        ("half meta", "damaged"),
        ("label", "damaged"),
        ("missing", "damaged"),
    ],
)
def test_damaged_files_are_named_with_what_to_do(tmp_path, damage, says):
    kept("mnist", parquet_folder(tmp_path / "src"), tmp_path)
    at = tmp_path / "mnist"
    if damage == "truncate":
        (at / "train_x.npy").write_bytes((at / "train_x.npy").read_bytes()[:-50])
    elif damage == "meta":
        (at / "meta.json").write_text("{")
    elif damage == "half meta":
        (at / "meta.json").write_text(json.dumps({"format": 1}))
    elif damage == "label":
        np.save(at / "test_y.npy", np.full(20, 10))
    else:
        (at / "test_x.npy").unlink()
    with pytest.raises(InputError, match=f"dataset mnist: .*{at}.*{says}.*fetch_data.py mnist --data_dir"):
        images.load("mnist", tmp_path)
    # Fetching again puts it right.
    kept("mnist", tmp_path / "src", tmp_path)
    assert len(images.load("mnist", tmp_path).train_y) == 60


def _folder(tmp_path, train=None, test=None, **more):
    x = pictures(6, 6)
    write_parquet(tmp_path / "s" / "train.parquet", x, [0, 1, 2, 0, 1, 2] if train is None else train, **more)
    write_parquet(tmp_path / "s" / "test.parquet", x[:3], [0, 1, 2] if test is None else test, **more)
    return tmp_path / "s"


def _without_test(tmp_path):
    (_folder(tmp_path) / "test.parquet").unlink()


def _damaged_parquet(tmp_path):
    (_folder(tmp_path) / "train.parquet").write_bytes(b"PAR1 no more")


def _empty(tmp_path):
    (tmp_path / "s").mkdir()


def _two_classes(path):
    for split in ("train", "test"):
        class_folders(path, pictures(4, 6), np.arange(4) % 2, split, ["a", "b"])


def _damaged_image(tmp_path):
    _two_classes(tmp_path / "s")
    file = tmp_path / "s" / "train" / "a" / "00002.png"
    file.write_bytes(file.read_bytes()[:60])


def _no_image(tmp_path):
    _damaged_image(tmp_path)
    (tmp_path / "s" / "train" / "a" / "00002.png").write_text("a text")


def _dangling(tmp_path):
    _two_classes(tmp_path / "s")
    (tmp_path / "s" / "train" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")


def _folder_for_image(tmp_path):
    _two_classes(tmp_path / "s")
    (tmp_path / "s" / "train" / "a" / "dir.png").mkdir()


def _no_test_folder(tmp_path):
    class_folders(tmp_path / "s", pictures(4, 6), np.arange(4) % 2, "train", ["a", "b"])


def _unequal(tmp_path):
    for split, side in (("train", 6), ("test", 7)):
        class_folders(tmp_path / "s", pictures(4, side), np.arange(4) % 2, split, ["a", "b"])


def _deep(tmp_path):
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / "s" / split / name).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "s" / split / name / "0.png")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda t: _folder(t, train=list("abcabc")), "integers from 0, not string .'a'"),
        (lambda t: _folder(t, train=[0.0, 1, 2, 0, 1, 2]), "integers from 0, not float64"),
        (lambda t: _folder(t, train=[0, 1, 2, 0, 1, None]), "1 label of train is missing"),
        (lambda t: _folder(t, test=[0, None, None]), "2 labels of test are missing"),
        (lambda t: _folder(t, train=[0.0, 1, 2, 0, 1, None]), "not float64 .0.0.; 1 label of train is"),
        (lambda t: _folder(t, train=[*"abab", None, None]), "not string .'a'.; 2 labels of train are"),
        (lambda t: _folder(t, train=[0, 1, 2, 0, 1, 2**62]), f"labels go up to {2**62}, but none is 3"),
        (lambda t: _folder(t, train=[0, 1, 2, 0, 1, 10**7]), "labels go up to 10000000, but none is 3"),
        (lambda t: _folder(t, train=[-1, 1, 2, 0, 1, 2]), "a label is -1"),
        (lambda t: _folder(t, train=[0, 1, 1999, 0, 1, 1999]), "none is 3"),
        (lambda t: _folder(t, train=[0] * 6, test=[0] * 3), "all labels are the same"),
        (lambda t: _folder(t, label="kind"), "no column holds labels"),
        (_without_test, "has no test split"),
        (_no_test_folder, "has no test split"),
        (_damaged_parquet, "train.parquet in .* cannot be read"),
        (_empty, "holds neither"),
        (_damaged_image, "00002.png is damaged"),
        (_no_image, r"train/a/00002.png is damaged .UnidentifiedImageError: cannot identify image file.$"),
        (_dangling, "train/a/gone.png cannot be read .No such file or directory"),
        (_folder_for_image, "train/a/dir.png is a folder, not an image"),
        (_unequal, "one size: .*test.* is 1 x 7 x 7, others are 1 x 6 x 6"),
        (_deep, "more than 8 bits"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_said(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(InputError, match=rf"dataset {tmp_path}/s: .*{says}"):
        config.make({"dataset": str(tmp_path / "s"), "data_dir": tmp_path / "data"})
    assert not list((tmp_path / "data").rglob("*.npy"))


def test_a_link_to_nothing_beside_the_images_does_no_harm(tmp_path):
    _two_classes(tmp_path / "s")
    for place in (tmp_path / "s", tmp_path / "s" / "train"):
        (place / "notes.txt").symlink_to(tmp_path / "nowhere")
    flags = {"dataset": str(tmp_path / "s"), "data_dir": tmp_path / "data"}
    assert config.make(flags).data.spec().sizes == (4, 4)


def test_a_folder_of_data_that_cannot_be_written_is_named(tmp_path):
    _two_classes(tmp_path / "s")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"data_dir {tmp_path}/file/data: cannot be written"):
        config.make({"dataset": str(tmp_path / "s"), "data_dir": tmp_path / "file" / "data"})


def test_a_file_is_not_called_missing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; give the folder"):
        config.make({"dataset": str(tmp_path / "file"), "data_dir": tmp_path / "data"})
    with pytest.raises(InputError, match="is a file; give the folder"):
        fetch.from_source("mnist", tmp_path / "file")
    with pytest.raises(InputError, match="no such folder"):
        fetch.from_source("mnist", tmp_path / "none")


def test_another_data_set_is_not_taken_for_mnist(tmp_path):
    with pytest.raises(
        InputError, match="holds images of 3 x 8 x 8 in 10 classes; mnist has 1 x 28 x 28 in 10"
    ):
        fetch.from_source("mnist", parquet_folder(tmp_path, side=8, channels=3))


def test_the_published_names_are_presets():
    assert [PRESETS[name]["dataset"] for name in PRESETS] == ["cifar10"] * 7 + ["cifar100"]
    for name, preset in PRESETS.items():
        assert config.make({"dataset": name}).training.model == preset.get("model", "vgg16")
    mnist = config.make({"dataset": "mnist"}).flat()
    assert (mnist["model"], mnist["optimizer"], mnist["lr"]) == ("mnist_mlp", "sgd", 0.01)
    assert (mnist["batch_size"], mnist["epochs"]) == (64, 5)
    # A model of one's own in place of the preset's.
    cifar = config.make({"dataset": "cifar10_augment_vgg", "model": "mlp"})
    assert (cifar.data.dataset, cifar.data.augment) == ("cifar10", True)
    assert (cifar.training.optimizer, cifar.training.lr, cifar.training.beta_2) == ("adam", 1e-4, 0.999)
    assert cifar == config.make({"dataset": "cifar10", "augment": True, "model": "mlp"})
    assert config.make({"dataset": "cifar10_vgg", "model": "mlp", "augment": True}).data.augment
    # Dropping a flag that nothing reads does not drop the preset.
    dropped = config.make({"dataset": "cifar10_augment", "model": "mlp", "softmax": True}, drop_unread=True)
    assert dropped.data.augment
    with pytest.raises(InputError, match="augment: nothing in this experiment reads it"):
        config.make({"dataset": "mnist", "augment": True})


PROBE = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("torch" in sys.modules, "datasets" in sys.modules)
"""


def test_a_set_that_is_not_there_is_refused_before_torch_is_imported(tmp_path):
    words = [MAIN, "--dataset", "fmnist", "--data_dir", "d"]
    done = subprocess.run([sys.executable, "-c", PROBE, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--dataset fmnist: not in d; where there is a network, run: " in done.stderr
    assert "python src/experiments/fetch_data.py fmnist --data_dir d" in done.stderr
    assert done.stdout.strip() == "False False"


def test_fetched_from_local_files_it_runs(script, tmp_path):
    source = parquet_folder(tmp_path / "my files")
    done = script("fetch_data.py", "mnist", "--data_dir", "d", "--source", source)
    assert (done.returncode, done.stdout) == (0, "d/mnist\n")
    assert "60 training and 20 test images" in done.stderr
    flags = ["--dataset", "mnist", "--data_dir", "d", "--topology_file", "chain:n=2", "--model", "mlp"]
    done = script("decentralized_main.py", *flags, "--rounds", 1, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    again = script("fetch_data.py", "mnist", "digits", "--data_dir", "d")
    assert again.returncode == 0
    assert "mnist is there already" in again.stderr
    wrong = script("fetch_data.py", "mnist", "--data_dir", "d", "--source", "nowhere")
    assert (wrong.returncode, wrong.stderr.startswith("error: --source")) == (2, True)
    assert script("fetch_data.py", "imagenet").returncode == 2


def test_a_sweep_names_all_that_it_lacks_before_it_starts(script):
    flags = ["--datasets", "mnist", "digits", "fmnist", "--topologies", "chain:n=2", "--data_dir", "none"]
    done = script("bd_scheduler.py", *flags)
    assert done.returncode == 2
    assert "mnist fmnist: not in none" in done.stderr
    assert "fetch_data.py mnist fmnist --data_dir none" in done.stderr
    dry = script("bd_scheduler.py", *flags, "--dry_run")
    assert dry.returncode == 0, dry.stderr
    assert "data missing: mnist, fmnist; fetch them with: python src/experiments/fetch_data.py" in dry.stdout
