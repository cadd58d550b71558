"""TinyMem, held against a plain rule that writes every sequence out as a string."""

import time
import tracemalloc

import numpy as np
import pytest

from dml import config
from dml.data.config import DataConfig
from dml.data.load import describe_dataset, load_dataset
from dml.data.ood import cut_test_set, make_node_data
from dml.data.sources import tiny_mem
from dml.data.sources.tiny_mem import TinyMemOptions, add_trigger
from dml.errors import InputError
from dml.plan import make_plan

VOCABULARY = {**{str(d): d for d in range(10)}, "^": 10, "$": 11, " ": 12}


def options(**fields):
    return TinyMemOptions(**{"tiny_mem_num_labels": 3, "num_example": 40, **fields})


def plain(coefficients, r):
    """One sequence after another, character by character."""
    rows = []
    for c in coefficients:
        for i in range(r.num_example):
            start, vector = i, []
            for _ in range(r.length):
                start = (c * start if r.task_type == "multiply" else c + start) % r.modulo
                vector.append(str(start))
            tokens = [VOCABULARY[character] for character in "^" + " ".join(vector) + "$"]
            rows.append(tokens + [13] * (r.max_ctx - len(tokens)))
    return np.array(rows)


@pytest.mark.parametrize(
    ("fields", "coefficients"),
    [
        ({}, (2, 4, 6)),
        ({"task_type": "sum"}, (2, 4, 6)),
        ({"data_dis": "primes", "tiny_mem_num_labels": 6}, (2, 3, 5, 7, 11, 13)),
        ({"task_type": "sum", "data_dis": "primes", "num_example": 1100, "modulo": 97}, (2, 3, 5)),
        ({"modulo": 7, "length": 1, "max_ctx": 3}, (2, 4, 6)),
        ({"modulo": 2**40 - 87, "length": 30, "max_ctx": 420, "tiny_mem_num_labels": 9}, range(2, 20, 2)),
        ({"num_example": 2, "length": 3}, (2, 4, 6)),
    ],
    ids=str,
)
def test_the_sequences_are_those_of_the_plain_rule(tmp_path, fields, coefficients):
    r = options(**fields)
    made = tiny_mem.sequences(r, tmp_path)
    assert made.shape == (len(coefficients), r.num_example, r.max_ctx)
    assert made.dtype == np.uint8
    assert np.array_equal(made.reshape(-1, r.max_ctx), plain(coefficients, r))


def test_the_coefficients():
    assert tiny_mem.COEFFICIENTS["evens"] == (2, 4, 6, 8, 10, 12, 14, 16, 18)
    assert len(tiny_mem.PRIMES) == 100
    assert tiny_mem.PRIMES[:6] == (2, 3, 5, 7, 11, 13)
    assert tiny_mem.PRIMES[-1] == 541


def test_a_sequence_longer_than_its_context_is_refused_and_the_need_is_named(tmp_path):
    r = options(max_ctx=60)
    need = 2 + max(len(" ".join(map(str, row))) for row in tiny_mem.numbers(r).reshape(-1, 20).tolist())
    with pytest.raises(InputError, match=f"max_ctx 60: must be at least {need}, "):
        tiny_mem.sequences(r, tmp_path)
    assert tiny_mem.sequences(options(max_ctx=need), tmp_path).shape[-1] == need
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_keeps_them_and_is_mapped(tmp_path, monkeypatch):
    first = np.array(tiny_mem.sequences(options(), tmp_path))
    monkeypatch.setattr(tiny_mem, "numbers", None)
    again = tiny_mem.sequences(options(), tmp_path)
    assert isinstance(again, np.memmap)
    assert np.array_equal(first, again)
    # What is made from other numbers is another file; test share and trigger do not matter.
    assert tiny_mem.file_name(options(length=19)) != tiny_mem.file_name(options())
    assert tiny_mem.file_name(options(num_test=3, trigger=7)) == tiny_mem.file_name(options())


@pytest.mark.parametrize("left", [b"", b"no array", b"half", b"another"])
def test_a_damaged_file_is_made_again(tmp_path, left):
    good = np.array(tiny_mem.sequences(options(), tmp_path))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    if left == b"another":
        np.save(path, good[:, :5])
    else:
        path.write_bytes(content[: len(content) // 2] if left == b"half" else left)
    assert np.array_equal(tiny_mem.sequences(options(), tmp_path), good)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("")
    assert tiny_mem.sequences(options(), tmp_path / "file" / "data").shape == (3, 40, 150)


def test_the_papers_size_is_made_in_seconds_and_loaded_in_less_than_one(tmp_path):
    """Five tasks of 33,000 sequences; about half a second and a tenth of one of a core's own time."""
    full = options(tiny_mem_num_labels=5, num_example=33_000)
    started = time.process_time()
    tiny_mem.sequences(full, tmp_path)
    assert time.process_time() - started < 10
    started = time.process_time()
    data = load_dataset(DataConfig(dataset="tiny_mem", num_example=33_000, data_dir=tmp_path), 0)
    assert time.process_time() - started < 1
    assert data.train_x.shape == (160_000, 150)
    assert data.test_x.shape == (5_000, 150)
    assert np.bincount(data.train_y).tolist() == [32_000] * 5
    assert np.bincount(data.test_y).tolist() == [1_000] * 5


def fields(**flags):
    return config.make({"dataset": "tiny_mem", "num_example": 40, **flags})


def dataset(made, tmp_path, seed=0):
    return load_dataset(made.data.model_copy(update={"data_dir": tmp_path}), seed)


def test_the_description_is_that_of_the_arrays(tmp_path):
    made = fields(num_test=7, tiny_mem_num_labels=3)
    spec, data = describe_dataset(made.data), dataset(made, tmp_path)
    assert (spec.shape, spec.labels, spec.task) == (data.train_x.shape[1:], data.labels, data.task)
    assert spec.sizes == (len(data.train_y), len(data.test_y)) == (99, 21)
    assert spec.classes == 14 > max(data.train_x.max(), data.test_x.max())


def test_each_task_is_cut_by_a_permutation_of_the_seed(tmp_path):
    made = fields(num_test=7, tiny_mem_num_labels=3)
    data, other = dataset(made, tmp_path), dataset(made, tmp_path, seed=1)
    # The sequence from 0 is the same for all coefficients, so each is looked up under its own label.
    every = {(label, *row) for label, rows in enumerate(everything(made)) for row in rows.tolist()}
    found = []
    for part, labels, size in ((data.train_x, data.train_y, 33), (data.test_x, data.test_y, 7)):
        found += [(int(label), *row) for label, row in zip(labels, part.tolist(), strict=True)]
        assert np.bincount(labels).tolist() == [size] * 3
    assert len(found) == len(every)
    assert set(found) == every
    assert not np.array_equal(data.test_x, other.test_x)
    # Unlike the published cut, each task has a permutation of its own: other starts i are in its test.
    starts = [{tiny_mem_start(row, label) for row in data.test_x[data.test_y == label]} for label in range(3)]
    assert len({frozenset(s) for s in starts}) == 3


def tiny_mem_start(row, label):
    """i of a sequence of the evens: its first number is 2 (label + 1) i."""
    first = "".join(str(t) for t in row[1 : row.tolist().index(12)])
    return int(first) // (2 * (label + 1))


def everything(made):
    s = made.data.dataset_options
    r = options(tiny_mem_num_labels=s.tiny_mem_num_labels, num_example=s.num_example)
    return plain((2, 4, 6, 8, 10)[: s.tiny_mem_num_labels], r).reshape(s.tiny_mem_num_labels, -1, 150)


def triggered(row, trigger):
    """The plain rule, on the string; None for a sequence without the trigger."""
    text = "".join("0123456789^$ _"[token] for token in row)
    at = text.find(str(trigger))
    return None if at < 0 else [*row[: at + len(str(trigger))], *[2] * (len(row) - at - len(str(trigger)))]


@pytest.mark.parametrize("trigger", [100, 1, 64, 99999])
def test_after_the_triggers_digits_all_tokens_are_two(trigger):
    rows = plain((2, 4, 6), options())
    holds, made = add_trigger(rows.astype(np.uint8), trigger)
    expected = [triggered(row.tolist(), trigger) for row in rows]
    assert holds.tolist() == [row is not None for row in expected]
    assert made.tolist() == [row for row in expected if row is not None]
    assert np.array_equal(rows, plain((2, 4, 6), options()))


def test_a_trigger_at_the_very_end_and_one_longer_than_the_sequence():
    tokens = np.array([[10, 1, 0, 0], [1, 0, 0, 13]], np.uint8)
    holds, made = add_trigger(tokens, 100)
    assert holds.tolist() == [True, True]
    assert made.tolist() == [[10, 1, 0, 0], [1, 0, 0, 2]]
    assert not add_trigger(tokens, 12345)[0].any()


def test_of_the_samples_chosen_on_the_ood_node_those_that_hold_the_trigger_carry_it(tmp_path):
    made = fields(num_example=80, backdoor=True, backdoor_proportion=0.4)
    data = dataset(made, tmp_path)
    parts = np.split(np.random.default_rng(0).permutation(len(data.train_y)), 4)
    nodes = make_node_data(data, parts, made.data, (1,), 0)
    for node, part in enumerate(parts):
        if node != 1:
            assert np.array_equal(nodes.x[node], data.train_x[part, :-1])
            assert np.array_equal(nodes.y[node], data.train_x[part, 1:])
    # The same draw of k as for images: 0.4 x 80, spread over the five labels.
    numbers, count = nodes.index[1], nodes.ood_samples[1]
    assert sorted(numbers) == sorted(parts[1])
    own = data.train_x[numbers]
    whole = np.concatenate([nodes.x[1], nodes.y[1][:, -1:]], axis=1)
    assert np.array_equal(whole[: len(own) - count], own[: len(own) - count])
    assert [triggered(row.tolist(), 100) for row in own[len(own) - count :]] == whole[
        len(own) - count :
    ].tolist()
    holding = sum(triggered(row.tolist(), 100) is not None for row in own)
    assert 0 < count <= min(0.4 * 80, holding)
    assert nodes.ood_samples.tolist() == [0, count, 0, 0]
    assert nodes.label_counts.sum() == len(data.train_y)
    other = config.from_flat(made.flat() | {"trigger": 0})
    everyone = make_node_data(dataset(other, tmp_path), parts, other.data, (1,), 0)
    # The digit 0 stands in more sequences than 100 does, and in no more than the k.
    assert count < everyone.ood_samples[1] <= 32


def test_the_ood_test_set_holds_triggered_sequences_alone(tmp_path):
    made = fields(num_example=200, ood_test_proportion=0.5)
    data = dataset(made, tmp_path)
    sets = cut_test_set(data, made.data, 0)
    size = len(data.test_y)
    assert len(sets.y) == size - round(0.5 * size)
    clean = np.concatenate([sets.x, sets.y[:, -1:]], axis=1).tolist()
    ood = np.concatenate([sets.ood_x, sets.ood_y[:, -1:]], axis=1).tolist()
    there = {tuple(row) for row in data.test_x.tolist()}
    rest = sorted(there - {tuple(row) for row in clean})
    assert sorted(ood) == sorted(t for row in rest if (t := triggered(list(row), 100)) is not None)
    own = {tuple(triggered(list(row), 100) or ()): row for row in rest}
    assert sets.ood_own.tolist() == [list(own[tuple(row)][1:]) for row in ood]
    assert 0 < len(ood) < len(rest)


def test_defaults_and_what_is_read():
    made = config.make({"dataset": "tiny_mem"})
    flat = made.flat()
    assert [flat[f] for f in ("model", "optimizer", "lr", "batch_size", "epochs", "n_layer")] == [
        "decoder", "adam", 0.001, 64, 5, 4,
    ]  # fmt: skip
    assert [flat[f] for f in ("num_example", "num_test", "length", "modulo", "max_ctx", "trigger")] == [
        5000, 1000, 20, 16381, 150, 100,
    ]  # fmt: skip
    assert (flat["task_type"], flat["data_dis"], flat["tiny_mem_num_labels"]) == ("multiply", "evens", 5)
    assert {"n_layer", "num_example", "trigger", "modulo"} <= made.reads()
    assert "modulo" in config.make({"dataset": "tiny_mem", "task_type": "sum"}).reads()
    assert config.make({"dataset": "tiny_mem", "num_example": 60}).data.dataset_options.num_test == 12
    assert config.make({"dataset": "tiny_mem", "num_example": 33000}).data.dataset_options.num_test == 1000
    assert config.from_flat(flat) == made


@pytest.mark.parametrize(
    ("flags", "flag", "right"),
    [
        ({"tiny_mem_num_labels": 10}, "tiny_mem_num_labels", "at most 9"),
        ({"tiny_mem_num_labels": 101, "data_dis": "primes"}, "tiny_mem_num_labels", "at most 100"),
        ({"num_example": 10, "num_test": 10}, "num_test", "below num_example, which is 10"),
        ({"tiny_mem_num_labels": 0}, "tiny_mem_num_labels", "at least 1"),
        ({"num_example": "x"}, "num_example", "integer"),
        ({"task_type": "divide"}, "task_type", "multiply"),
        ({"data_dis": "odds"}, "data_dis", "evens"),
        ({"modulo": 1}, "modulo", "2"),
        ({"trigger": -1}, "trigger", "0"),
        ({"n_layer": 0}, "n_layer", "1"),
        ({"model": "mlp"}, "model", "tiny_mem has 150 tokens; models that fit: decoder"),
        ({"many_to_one": False}, "many_to_one", "has no effect"),
        ({"random_bd": True}, "random_bd", "has no effect"),
        ({"augment": True}, "augment", "has no effect"),
        ({"ood_kind": "rotated"}, "ood_kind", "needs images; for tiny_mem only trigger is possible"),
        ({"ood_kind": "heldout_class"}, "ood_kind", "needs images; for tiny_mem only trigger is possible"),
        *(
            (({f: 2**31}), f, "2147483647")
            for f in ("num_example", "num_test", "length", "max_ctx", "trigger")
        ),
        ({"n_layer": 2**31}, "n_layer", "at most 1000"),
    ],
    ids=str,
)
def test_what_cannot_be_right_is_refused(flags, flag, right):
    with pytest.raises(InputError) as refusal:
        make_plan(config.make({"dataset": "tiny_mem", **flags}))
    assert (refusal.value.field, refusal.value.value) == (flag, flags[flag])
    assert right in refusal.value.right


def test_another_data_set_does_not_read_its_fields():
    with pytest.raises(InputError, match="num_example 10: has no effect in this experiment"):
        config.make({"num_example": 10})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"num_example": 2_000_000_000}, r"num_example 2000000000: .* need \d+\.\d GiB of memory; .* free"),
        ({"max_ctx": 2_000_000_000}, r"max_ctx 2000000000: .* need \d+\.\d GiB of memory; .* free"),
        ({"length": 999_999_999, "max_ctx": 2_000_000_000}, r"max_ctx 2000000000: .* GiB"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(tmp_path, monkeypatch, fields, says):
    monkeypatch.setattr(tiny_mem, "numbers", lambda options: pytest.fail("was made"))
    with pytest.raises(InputError, match=says):
        tiny_mem.sequences(options(**{"num_example": 5000, **fields}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_making_takes_the_memory_that_is_asked_for(tmp_path):
    r = options(num_example=2000)
    tracemalloc.start()
    tiny_mem.sequences(r, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    count = r.tiny_mem_num_labels * r.num_example
    assert peak == pytest.approx(count * (tiny_mem.BYTES_PER_NUMBER * r.length + r.max_ctx), rel=0.1)
