"""Pairs of sentences: read from the forms in which people share them, and kept in one of our own."""

import numpy as np
import pytest
from language import GENRES, LABELS, TEST, TRAIN, hub_folder, table

from dml.data.catalogue import datasets_to_fetch
from dml.data.decode import Origin
from dml.data.fetch import fetch_dataset, from_local
from dml.data.pairs import KeptPairs, Pairs, pairs_of_tables
from dml.data.sources.mnli import HUB
from dml.data.stage import stage
from dml.errors import InputError

COLUMNS = ["premise", "hypothesis", "genre", "label"]


def same(pairs):
    for found, rows, seed in ((pairs.train, TRAIN, 0), (pairs.test, TEST, 1)):
        expected = table(rows, seed)
        for column in COLUMNS:
            assert found[column].tolist() == expected[column].tolist()


def test_the_hubs_files_are_read_alone_and_in_its_cache(tmp_path):
    same(from_local("mnli", hub_folder(tmp_path / "a")))
    hub_folder(tmp_path / "hub/datasets--nyu-mll--multi_nli/snapshots/abc")
    same(from_local("mnli", tmp_path / "hub"))


def test_a_saved_data_set_is_read_with_the_names_of_its_labels(tmp_path):
    import datasets

    for split, rows, seed in (("train", TRAIN, 0), ("validation_matched", TEST, 1)):
        found = datasets.Dataset.from_pandas(table(rows, seed))
        found = found.cast_column("label", datasets.ClassLabel(names=list(LABELS)))
        found.save_to_disk(tmp_path / split)
    same(from_local("mnli", tmp_path))


def test_it_is_kept_and_staged_and_told_by_its_content(tmp_path):
    assert datasets_to_fetch(["mnli"], tmp_path / "data") == ["mnli"]
    fetch_dataset("mnli", tmp_path / "data", hub_folder(tmp_path / "hub"))
    assert datasets_to_fetch(["mnli"], tmp_path / "data") == []
    kept = KeptPairs(tmp_path / "data" / "mnli", "mnli", "fetch it")
    same(kept.load())
    meta = kept.meta()
    assert (meta.sizes, meta.genres) == ((TRAIN, TEST), GENRES)
    copy = stage("mnli", tmp_path / "data", tmp_path / "disk")
    same(KeptPairs(copy, "mnli", "").load())
    other = table(TRAIN, 0)
    other.loc[3, "premise"] += "."
    assert Pairs(other, table(TEST, 1)).fingerprint() != meta.fingerprint
    assert Pairs(table(TRAIN, 0), table(TEST, 1)).fingerprint() == meta.fingerprint


def test_another_copy_replaces_what_was_staged(tmp_path):
    for name, rows in (("a", 30), ("b", 40)):
        folder = hub_folder(tmp_path / name)
        table(rows, 9).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
        fetch_dataset("mnli", tmp_path / "data", folder)
        assert (
            KeptPairs(stage("mnli", tmp_path / "data", tmp_path / "disk"), "mnli", "").load().sizes[0] == rows
        )


@pytest.mark.parametrize("file", ["meta.json", "train.parquet", "test.parquet"])
def test_damaged_files_are_named_with_what_to_do(file, tmp_path):
    fetch_dataset("mnli", tmp_path / "data", hub_folder(tmp_path / "hub"))
    (tmp_path / "data" / "mnli" / file).write_bytes(b"PAR1 {}")
    with pytest.raises(
        InputError, match=r"^dataset mnli: its files in .* are damaged \(.*\); remove .* fetch it$"
    ):
        KeptPairs(tmp_path / "data" / "mnli", "mnli", "fetch it").load()


def test_tables_of_other_data_are_damage_too(tmp_path):
    fetch_dataset("mnli", tmp_path / "data", hub_folder(tmp_path / "hub"))
    table(TRAIN, 5).to_parquet(tmp_path / "data" / "mnli" / "train.parquet")
    with pytest.raises(InputError, match=r"not those that meta.json describes"):
        KeptPairs(tmp_path / "data" / "mnli", "mnli", "").load()


def read(**changes):
    import datasets

    train = table(TRAIN, 0).assign(**changes)
    tables = {"train": datasets.Dataset.from_pandas(train), "test": datasets.Dataset.from_pandas(table(9, 1))}
    return pairs_of_tables(tables, Origin("source", "here"), HUB)


def test_pairs_without_a_label_are_left_out():
    labels = table(TRAIN, 0)["label"].to_numpy().copy()
    labels[[3, 7]] = -1
    found = read(label=labels).train
    assert len(found) == TRAIN - 2
    assert found["label"].tolist() == np.delete(labels, [3, 7]).tolist()
    assert found["premise"].tolist() == table(TRAIN, 0)["premise"].drop([3, 7]).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 3}, "a label of train is 3; labels must be 0 to 2"),
        ({"label": 0.5}, "the label of train must hold integers, not float64"),
        ({"label": -1}, "its train split is empty"),
        ({"premise": [None] + ["w"] * (TRAIN - 1)}, "the premise of pair 0 of train is no text"),
    ],
)
def test_other_content_is_refused(changes, message):
    with pytest.raises(InputError, match=f"^source here: {message}"):
        read(**changes)


def test_tables_without_the_columns_or_with_other_labels_are_refused(tmp_path):
    import datasets

    plain = datasets.Dataset.from_pandas(table(9, 0))
    swapped = plain.cast_column(
        "label", datasets.ClassLabel(names=["neutral", "entailment", "contradiction"])
    )
    for given, message in (
        (plain.remove_columns(["genre"]), "no column of train is genre"),
        (swapped, "the labels of train are neutral, entailment, contradiction, and not entailment, "),
    ):
        with pytest.raises(InputError, match=message):
            pairs_of_tables({"train": given, "test": plain}, Origin("source", "here"), HUB)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no train\*.parquet and no validation_matched\*.parquet$"):
        from_local("mnli", tmp_path / "empty")
    table(9, 0).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"no test split: .* lacks validation_matched\*.parquet"):
        from_local("mnli", tmp_path)
