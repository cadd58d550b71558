"""Tables of images: what real small files hold is what is read, and what is wrong is named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import parquet_folder, pictures, png, write_parquet

from dml.data.decode import Origin
from dml.data.image_files import read_image_folder
from dml.errors import InputError


def read(path):
    return read_image_folder(path, Origin("dataset", "mine"))


def test_parquet_files_are_read_pixel_by_pixel(tmp_path):
    found = read(parquet_folder(tmp_path))
    x, y = pictures(80), np.arange(80) % 10
    assert np.array_equal(found.train_x, x[:60])
    assert np.array_equal(found.test_x, x[60:])
    assert np.array_equal(found.train_y, y[:60])
    assert np.array_equal(found.test_y, y[60:])
    assert found.classes == tuple("0123456789")


def test_arrow_files_are_read_with_their_class_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    x = pictures(8)
    for split, part in (("train", slice(0, 6)), ("test", slice(6, 8))):
        features = Features({"image": ImageFeature(), "label": ClassLabel(names=list("abcdefghij"))})
        rows = {"image": [{"bytes": png(p), "path": None} for p in x[part]], "label": list(range(8))[part]}
        Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / split)
    found = read(tmp_path)
    assert np.array_equal(found.train_x, x[:6])
    assert found.test_y.tolist() == [6, 7]
    assert found.classes == tuple("abcdefghij")


def _tables(tmp_path, train=None, test=None, **more):
    x = pictures(6, 6)
    write_parquet(tmp_path / "train.parquet", x, [0, 1, 2, 0, 1, 2] if train is None else train, **more)
    write_parquet(tmp_path / "test.parquet", x[:3], [0, 1, 2] if test is None else test, **more)


def _damaged_parquet(tmp_path):
    _tables(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no more")


def _damaged_image_in_a_table(tmp_path):
    _tables(tmp_path)
    rows = [{"bytes": png(p)[: 60 if k == 4 else None], "path": None} for k, p in enumerate(pictures(6, 6))]
    table = pa.table({"image": rows, "label": [0, 1, 2, 0, 1, 2]})
    pq.write_table(table, tmp_path / "train.parquet")


def _without_bytes(tmp_path):
    _tables(tmp_path)
    rows = [{"bytes": None if k else png(pictures(1, 6)[0]), "path": "x"} for k in range(3)]
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 2]}), tmp_path / "test.parquet")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda t: _tables(t, train=list("abcabc")), "integers from 0, not string .'a'"),
        (lambda t: _tables(t, train=[0.0, 1, 2, 0, 1, 2]), "integers from 0, not float64"),
        (lambda t: _tables(t, train=[0, 1, 2, 0, 1, None]), "1 label of train is missing"),
        (lambda t: _tables(t, test=[0, None, None]), "2 labels of test are missing"),
        (lambda t: _tables(t, train=[0.0, 1, 2, 0, 1, None]), "not float64 .0.0.; 1 label of train is"),
        (lambda t: _tables(t, train=[*"abab", None, None]), "not string .'a'.; 2 labels of train are"),
        (lambda t: _tables(t, train=[0, 1, 2, 0, 1, 2**62]), f"labels go up to {2**62}, but none is 3"),
        (lambda t: _tables(t, train=[0, 1, 2, 0, 1, 10**7]), "labels go up to 10000000, but none is 3"),
        (lambda t: _tables(t, train=[-1, 1, 2, 0, 1, 2]), "a label is -1"),
        (lambda t: _tables(t, train=[0, 1, 1999, 0, 1, 1999]), "none is 3"),
        (lambda t: _tables(t, train=[0] * 6, test=[0] * 3), "all labels are the same"),
        (lambda t: _tables(t, label="kind"), "no column holds labels: .*columns are image, kind"),
        (_damaged_parquet, "train.parquet in .* cannot be read"),
        (_damaged_image_in_a_table, "image 4 of train is damaged"),
        (_without_bytes, "image 1 of test has no bytes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_and_no_library_speaks(tmp_path, make, says, capfd, caplog):
    make(tmp_path)
    with pytest.raises(InputError, match=rf"^dataset mine: .*{says}") as refusal:
        read(tmp_path)
    assert "\n" not in str(refusal.value)
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))


def test_reading_a_table_says_nothing(tmp_path, capfd, caplog):
    read(parquet_folder(tmp_path))
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))
