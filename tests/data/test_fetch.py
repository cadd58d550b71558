"""Fetching: local copies in every form, another data set refused, and the script around it."""

import contextlib
import ssl
from email.message import Message
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
from image_files import parquet_folder, pictures, png

from dml.data import fetch
from dml.data.catalogue import datasets_to_fetch
from dml.data.fetch import NoNetworkError, fetch_dataset, from_hub, from_local
from dml.errors import InputError


def test_the_fine_labels_of_cifar100_are_taken(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": png(p), "path": None} for p in pictures(100, 32, 3)]
    for split in ("train", "test"):
        columns = {"img": rows, "fine_label": list(range(100)), "coarse_label": [0] * 100}
        pq.write_table(pa.table(columns), tmp_path / f"{split}-00000-of-00001.parquet")
    assert from_local("cifar100", tmp_path).train_y.tolist() == list(range(100))


def test_the_hubs_own_cache_is_found_inside_a_cache_of_many(tmp_path):
    parquet_folder(tmp_path / "hub/datasets--other--set/snapshots/1/x", side=5)
    parquet_folder(tmp_path / "hub/datasets--ylecun--mnist/snapshots/abc/mnist")
    assert from_local("mnist", tmp_path).train_x.shape == (60, 1, 28, 28)
    assert from_local("mnist", tmp_path / "hub").train_x.shape == (60, 1, 28, 28)


def test_every_class_has_a_name_though_a_part_of_the_data_lacks_some(tmp_path):
    found = from_local("mnist", parquet_folder(tmp_path, classes=4))
    assert found.classes == tuple("0123456789")


def test_another_data_set_is_not_taken_for_mnist(tmp_path):
    parquet_folder(tmp_path, side=8, channels=3)
    expected = rf"^source {tmp_path}: holds images of 3 x 8 x 8 in 10 classes; mnist has 1 x 28 x 28 in 10$"
    with pytest.raises(InputError, match=expected):
        from_local("mnist", tmp_path)


def test_a_local_copy_that_is_not_there_or_damaged_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"^source {tmp_path}/file: is a file; give the folder"):
        from_local("mnist", tmp_path / "file")
    with pytest.raises(InputError, match=rf"^source {tmp_path}/none: does not exist"):
        from_local("mnist", tmp_path / "none")
    source = parquet_folder(tmp_path / "s")
    (source / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=rf"^source {source}: test-00000-of-00001.parquet in .* cannot be"):
        from_local("mnist", source)


def test_it_is_kept_or_the_folder_is_named(tmp_path):
    source = parquet_folder(tmp_path / "s")
    assert datasets_to_fetch(["mnist"], tmp_path / "data") == ["mnist"]
    found = fetch_dataset("mnist", tmp_path / "data", source)
    assert datasets_to_fetch(["mnist"], tmp_path / "data") == []
    assert np.array_equal(np.load(tmp_path / "data" / "mnist" / "train_x.npy"), found.train_x)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"^data_dir {tmp_path}/file/x: cannot be written"):
        fetch_dataset("mnist", tmp_path / "file" / "x", source)


class _Library:
    """The hub as a program sees it: some data sets, or no network."""

    def __init__(self, tables=None):
        self.tables = tables

    def load_dataset(self, name):
        if self.tables is None:
            raise ConnectionError("Couldn't reach the Hub\nand more lines")
        return self.tables


def test_what_the_hub_holds_is_read_by_its_columns(tmp_path, monkeypatch):
    import datasets

    files = parquet_folder(tmp_path / "s")
    tables = {
        split: datasets.Dataset.from_parquet(
            [str(p) for p in sorted(files.glob(f"{split}*"))], cache_dir=str(tmp_path / "cache")
        )
        for split in ("train", "test")
    }
    monkeypatch.setattr(fetch, "datasets_library", lambda offline: _Library(tables))
    monkeypatch.setattr(fetch, "urlopen", _refused)
    assert np.array_equal(from_hub("mnist").train_x, pictures(80)[:60])
    with pytest.raises(InputError, match=r"^NAME cifar10: holds images of 1 x 28 x 28"):
        from_hub("cifar10")


def _refused(request, timeout):
    raise URLError(OSError(111, "Connection refused"))


def test_what_the_hub_itself_says_is_one_line(monkeypatch):
    monkeypatch.setattr(fetch, "datasets_library", lambda offline: _Library())
    monkeypatch.setattr(fetch, "urlopen", lambda request, timeout: contextlib.nullcontext())
    with pytest.raises(
        NoNetworkError, match=r"^mnist cannot be .* \(ylecun/mnist\): Couldn't reach the Hub$"
    ):
        from_hub("mnist")


@pytest.mark.parametrize(
    ("answer", "offline"),
    [
        (URLError(OSError(111, "Connection refused")), True),
        (TimeoutError("timed out"), True),
        (URLError(ssl.SSLError("certificate verify failed")), False),
        (HTTPError("https://hub", 401, "Unauthorized", Message(), None), False),
    ],
    ids=repr,
)
def test_a_hub_that_does_not_answer_is_not_tried_again(answer, offline, monkeypatch):
    def urlopen(request, timeout):
        raise answer

    asked = []
    monkeypatch.setattr(fetch, "urlopen", urlopen)
    monkeypatch.setattr(fetch, "datasets_library", lambda offline: asked.append(offline) or _Library())
    with pytest.raises(NoNetworkError):
        from_hub("mnist")
    assert asked == [offline]


def test_fetched_from_local_files_it_runs(script, tmp_path):
    source = parquet_folder(tmp_path / "my files")
    done = script("fetch_data.py", "mnist", "--data_dir", "d", "--source", source)
    assert (done.returncode, done.stdout) == (0, "d/mnist\n")
    assert done.stderr == "mnist: 60 training and 20 test images\n"
    flags = ["--dataset", "mnist", "--data_dir", "d", "--topology_file", "chain:n=2", "--model", "mlp"]
    done = script("decentralized_main.py", *flags, "--rounds", 1, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    again = script("fetch_data.py", "mnist", "digits", "--data_dir", "d")
    assert again.returncode == 0
    assert again.stderr == "mnist is there already\ndigits comes with distributed_ml\n"
    wrong = script("fetch_data.py", "mnist", "--data_dir", "d", "--source", "nowhere")
    assert wrong.returncode == 2
    right = "does not exist; give the folder that holds the data set"
    assert wrong.stderr == f"error: --source {tmp_path / 'nowhere'}: {right}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["imagenet"],
            "error: NAME imagenet: no such data set; choose from: mnist, fmnist, cifar10, cifar100",
        ),
        ([], "error: NAME: name at least one (mnist"),
        (["mnist", "fmnist", "--source", "x"], "error: --source x: holds one data set, so give one name"),
    ],
    ids=str,
)
def test_wrong_words_are_refused(script, words, says):
    done = script("fetch_data.py", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(says)
