"""Files that are damaged at random are refused by one line, or read as they were.

Never is there a traceback, and never are there other numbers without a word.
"""

import contextlib
import os
import random
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripts import Script

from dml import experiment, results
from dml.config import ExperimentConfig
from dml.errors import DamagedFileError, InputError
from dml.results import Loaded, checkpoint, load
from dml.results.checkpoint import Checkpoint
from dml.results.reader import attributes
from dml.results.run_text import run_text
from dml.results.runs import read_runs
from dml.results.tables import summarise
from dml.topology import load as load_graph
from dml.topology import make, save

Small = Callable[..., ExperimentConfig]
Damage = Callable[[bytearray], None]

VALUES = [
    5, -1, 0, 2**63 - 1, 1.5, float("nan"), 1e300, True, "", "x", "[]", "{}", "null", "[[1]]",
    '{"a": NaN}', "[" * 9000, b"bytes", np.zeros(3), np.array(["a", "b"], object), np.float32(2), np.uint8(2),
]  # fmt: skip


# The same examples each time, so that a test does not fail by chance.
CALM = {"derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}
QUICK = settings(max_examples=10, **CALM)


def often(test: Callable[..., None]) -> Callable[..., None]:
    """The same property with many examples, which takes its time."""
    return pytest.mark.slow(settings(max_examples=200, **CALM)(test))


IN_BOTH = pytest.mark.parametrize("older", [False, True], ids=["with a digest", "without"])


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Flipped bits, a truncation, or a part of zeros; often near the start, where attributes are."""
    part = draw(st.sampled_from([1.0, 0.3]))
    places = draw(st.lists(st.floats(0, part, exclude_max=True), min_size=1, max_size=4))
    kind = draw(st.sampled_from(["bits", "bits", "truncate", "zeros"]))
    bit = draw(st.integers(0, 7))

    def damage(content: bytearray) -> None:
        starts = [int(place * len(content)) for place in places]
        if kind == "truncate":
            del content[starts[0] :]
        elif kind == "zeros":
            content[starts[0] : starts[0] + 64] = bytes(len(content[starts[0] : starts[0] + 64]))
        else:
            for start in starts:
                content[start] ^= 1 << bit

    return damage


def refused_or(read: Callable[[], None]) -> None:
    """Runs what may refuse a file, by a message of one line."""
    lines = []
    try:
        read()
    except DamagedFileError as error:
        lines = str(error).splitlines()
    assert len(lines) <= 1


def in_a_process_of_its_own(check: Callable[[], None], *, may_hang: bool = False) -> None:
    """Damaged bytes may crash the HDF5 library or keep it busy for ever, which must not end the tests.

    Args:
        check: what is run.
        may_hang: HDF5 waits for ever on some damage to the heap of text of variable length. Result files have
            such text, as their readers expect it; results/README.md says so. Checkpoints have none.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(30)
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0 or (may_hang and code == -signal.SIGALRM)


def assert_same(found: Loaded, expected: Loaded) -> None:
    lost = {"digest"} if not found.has_digest else set()
    told = {name: value for name, value in found.attributes.items() if name in expected.attributes}
    assert told == {name: value for name, value in expected.attributes.items() if name not in lost}
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert found.arrays[name].tobytes() == array.tobytes(), name


def bytes_of_a_result_file(tiny: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage) -> None:
    path, content = tmp_path_factory.mktemp("damaged") / "a.h5", bytearray(tiny.read_bytes())
    whole, told = load(tiny), attributes(tiny)
    damage(content)
    path.write_bytes(content)

    def check() -> None:
        refused_or(lambda: assert_same(load(path), whole))

        def tables() -> None:
            found = attributes(path)
            assert {k: v for k, v in found.items() if k in told and k != "digest"}.items() <= told.items()

        refused_or(tables)

    in_a_process_of_its_own(check, may_hang=True)


test_bytes_of_a_result_file = QUICK(given(damage=damages())(bytes_of_a_result_file))
test_bytes_of_a_result_file_often = often(given(damage=damages())(bytes_of_a_result_file))


def bytes_of_a_checkpoint(tiny: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage) -> None:
    path, key = tmp_path_factory.mktemp("damaged") / "a.ckpt", tiny.stem[-12:]
    whole = checkpoint.read(checkpoint.path_of(tiny), key)
    content = bytearray(checkpoint.path_of(tiny).read_bytes())
    damage(content)
    path.write_bytes(content)
    assert whole is not None
    in_a_process_of_its_own(lambda: refused_or(lambda: assert_same_state(checkpoint.read(path, key), whole)))


test_bytes_of_a_checkpoint = QUICK(given(damage=damages())(bytes_of_a_checkpoint))
test_bytes_of_a_checkpoint_often = often(given(damage=damages())(bytes_of_a_checkpoint))


def assert_same_state(found: Checkpoint | None, whole: Checkpoint) -> None:
    assert found is not None
    assert (found.rounds, found.updates) == (whole.rounds, whole.updates)
    assert found.X.tobytes() == whole.X.tobytes()
    assert found.edge_bytes.tobytes() == whole.edge_bytes.tobytes()
    assert {k: v.tobytes() for k, v in found.algorithm.items()} == {
        k: v.tobytes() for k, v in whole.algorithm.items()
    }


def change(file: h5py.File, draw: st.DataObject) -> None:
    """Changes an attribute or a dataset: its value, its type, its shape or its place."""
    if draw.draw(st.booleans()):
        name = draw.draw(st.sampled_from(sorted(file.attrs)))
        value = draw.draw(st.sampled_from([None, *range(len(VALUES))]))
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = VALUES[value]
        return
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    name = draw.draw(st.sampled_from(sorted(names)))
    array = file[name][()]
    new = draw.draw(
        st.sampled_from(["", "value", "type", "shape", "text", "huge", "negative", "nan", "group", "moved"])
    )
    del file[name]
    match new:
        case "value" if array.size:
            array.view(np.uint8).flat[0] ^= 1
            file[name] = array
        case "type":
            file[name] = np.nan_to_num(array).astype(np.float64 if array.dtype.kind == "i" else np.int64)
        case "shape":
            file[name] = array[..., None] if array.ndim < 2 else array[:1]
        case "text":
            file[name] = "text"
        case "huge":
            file.create_dataset(name, (1 << 41,), np.int64, chunks=(1 << 20,))
        case "negative" if array.dtype.kind == "i":
            file[name] = -array - 1
        case "nan":
            file[name] = np.full(array.shape, np.nan)
        case "group":
            file.create_group(name)["inner"] = array
        case "moved":
            file[f"{name}_"] = array


def parts_of_a_result_file(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, older: bool, draw: st.DataObject
) -> None:
    """An older file, without a digest, may hold other values, but none that ends in a traceback."""
    path, whole = tmp_path_factory.mktemp("damaged") / "a.h5", load(tiny)
    shutil.copyfile(tiny, path)
    with h5py.File(path, "r+") as file:
        if older:
            del file.attrs["digest"], file.attrs["code_sha256"]
        change(file, draw)

    def use() -> None:
        loaded = load(path)
        if not older:
            assert_same(loaded, whole)
        assert run_text(loaded)
        assert len(loaded.table) == len(whole.table)
        assert len(loaded.per_class)

    refused_or(use)
    summarise(read_runs([path]))


test_parts_of_a_result_file = IN_BOTH(QUICK(given(draw=st.data())(parts_of_a_result_file)))
test_parts_of_a_result_file_often = IN_BOTH(often(given(draw=st.data())(parts_of_a_result_file)))


def parts_of_a_checkpoint(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, older: bool, draw: st.DataObject
) -> None:
    path, key = tmp_path_factory.mktemp("damaged") / "a.ckpt", tiny.stem[-12:]
    whole = checkpoint.read(checkpoint.path_of(tiny), key)
    shutil.copyfile(checkpoint.path_of(tiny), path)
    with h5py.File(path, "r+") as file:
        if older:
            file.attrs["experiment_id"] = key
            del file.attrs["digest"]
        change(file, draw)

    def use() -> None:
        found = checkpoint.read(path, key)
        assert whole is not None
        if not older:
            assert_same_state(found, whole)

    refused_or(use)


test_parts_of_a_checkpoint = IN_BOTH(QUICK(given(draw=st.data())(parts_of_a_checkpoint)))
test_parts_of_a_checkpoint_often = IN_BOTH(often(given(draw=st.data())(parts_of_a_checkpoint)))


GRAPHS = ("barabasi_albert:n=9,m=2,seed=0", "stochastic_block:blocks=2,size=3,p_in=0.9,p_out=0.4,seed=1")


def bytes_of_a_graph(tmp_path_factory: pytest.TempPathFactory, source: str, damage: Damage) -> None:
    """A header that is lost is a graph of a file without a header, which is named after the file."""
    whole = make(source)
    path = save(whole, tmp_path_factory.mktemp("damaged") / "mine.txt")
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        found = load_graph(path)
        assert found.graph_id == whole.graph_id
        assert found.edges.tobytes() == whole.edges.tobytes()
        assert found.weights.tobytes() == whole.weights.tobytes()
        assert found.source in (whole.source, "mine")


test_bytes_of_a_graph = QUICK(given(source=st.sampled_from(GRAPHS), damage=damages())(bytes_of_a_graph))
test_bytes_of_a_graph_often = often(given(source=st.sampled_from(GRAPHS), damage=damages())(bytes_of_a_graph))


@pytest.mark.slow
def test_a_run_over_damaged_files_ends_with_the_same_numbers_or_in_one_line(
    small: Small, script: Script, tmp_path: Path
) -> None:
    """The result or the checkpoint of 2 rounds is damaged, and a third round is asked for."""
    draw = random.Random(0)
    words = ["--topology_file", "cycle:n=4", "--epochs", 1, "--threads", 1]
    calm = experiment.run(small(rounds=3))
    seen = set()
    for number in range(25):
        folder = tmp_path / str(number)
        path = experiment.run(small(rounds=2, out_dir=folder))
        target = draw.choice([path, checkpoint.path_of(path)])
        content = bytearray(target.read_bytes())
        if draw.random() < 0.2:
            del content[draw.randrange(len(content)) :]
        for _ in range(draw.choice([1, 1, 4])):
            place = draw.randrange(len(content))
            content[place] ^= 1 << draw.randrange(8)
        target.write_bytes(content)
        done = script("decentralized_main.py", *words, "--rounds", 3, "--out_dir", folder)
        seen.add(done.returncode)
        assert "Traceback" not in done.stderr
        if done.returncode == 0:
            assert results.differences(calm, path) == []
        else:
            assert done.returncode == 1
            assert "cannot be read" in done.stderr
            assert target.read_bytes() == bytes(content)
            again = script("decentralized_main.py", *words, "--rounds", 3, "--out_dir", folder, "--fresh")
            assert again.returncode == 0
            assert results.differences(calm, path) == []
    assert seen == {0, 1}
