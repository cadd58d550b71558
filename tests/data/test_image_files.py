"""Folders of images: which files belong to a split, classes by their folders, and what is wrong is named."""

import shutil

import numpy as np
import pytest
from image_files import class_folders, parquet_folder, pictures
from PIL import Image

from dml.data.decode import Origin
from dml.data.image_files import read_image_folder
from dml.errors import InputError


def read(path):
    return read_image_folder(path, Origin("dataset", "mine"))


@pytest.mark.parametrize(("train", "test"), [("train/0", "test/0"), ("mine-train", "mine-test")])
def test_a_split_is_told_by_file_or_folder(tmp_path, train, test):
    parquet_folder(tmp_path / "from")
    for split in (train, test):
        (tmp_path / "to" / split).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "from" / "train-00000-of-00002.parquet", tmp_path / "to" / f"{train}.parquet")
    shutil.copy(tmp_path / "from" / "test-00000-of-00001.parquet", tmp_path / "to" / f"{test}.parquet")
    assert (len(read(tmp_path / "to").train_y), len(read(tmp_path / "to").test_y)) == (30, 20)


def test_a_folder_of_classes_gives_labels_in_the_order_of_their_names(tmp_path):
    for split in ("train", "test"):
        for name in ("zebra", "ant", "cat"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (7, 5), (255, 255, 255)).save(tmp_path / split / name / "0.png")
            (tmp_path / split / name / "notes.txt").write_text("not an image")
    found = read(tmp_path)
    assert found.classes == ("ant", "cat", "zebra")
    assert found.train_y.tolist() == found.test_y.tolist() == [0, 1, 2]
    assert found.train_x.shape == (3, 3, 5, 7)


def _without_test(tmp_path):
    parquet_folder(tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").unlink()


def _two_classes(tmp_path):
    for split in ("train", "test"):
        class_folders(tmp_path, pictures(4, 6), np.arange(4) % 2, split, ["a", "b"])


def _damaged_image(tmp_path):
    _two_classes(tmp_path)
    file = tmp_path / "train" / "a" / "00002.png"
    file.write_bytes(file.read_bytes()[:60])


def _no_image(tmp_path):
    _two_classes(tmp_path)
    (tmp_path / "train" / "a" / "00002.png").write_text("a text")


def _dangling(tmp_path):
    _two_classes(tmp_path)
    (tmp_path / "train" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")


def _folder_for_image(tmp_path):
    _two_classes(tmp_path)
    (tmp_path / "train" / "a" / "dir.png").mkdir()


def _no_test_folder(tmp_path):
    class_folders(tmp_path, pictures(4, 6), np.arange(4) % 2, "train", ["a", "b"])


def _no_images(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)


def _one_class(tmp_path):
    for split in ("train", "test"):
        class_folders(tmp_path, pictures(4, 6), np.zeros(4, int), split, ["a"])


def _unequal(tmp_path):
    for split, side in (("train", 6), ("test", 7)):
        class_folders(tmp_path, pictures(4, side), np.arange(4) % 2, split, ["a", "b"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_without_test, "has no test split: .* lacks test.*.parquet"),
        (_no_test_folder, "has no test split: .* lacks test/<class>/ with images"),
        (lambda t: None, "holds neither train"),
        (_one_class, "all labels are the same"),
        (_no_images, "no image in train/<class>/"),
        (_damaged_image, "00002.png is damaged"),
        (_no_image, r"train/a/00002.png is damaged .UnidentifiedImageError: cannot identify image file.$"),
        (_dangling, "train/a/gone.png cannot be read .No such file or directory"),
        (_folder_for_image, "train/a/dir.png is a folder, not an image"),
        (_unequal, "one size: .*test.* is 1 x 7 x 7, others are 1 x 6 x 6"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_and_no_library_speaks(tmp_path, make, says, capfd, caplog):
    make(tmp_path)
    with pytest.raises(InputError, match=rf"^dataset mine: .*{says}") as refusal:
        read(tmp_path)
    assert "\n" not in str(refusal.value)
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))
