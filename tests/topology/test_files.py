"""Saved topologies come back bit for bit; what is no adjacency matrix is refused by name and reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml.errors import InputError
from dml.topology import Topology, load, make, read, save
from dml.topology.files import encode

PROBABILITIES = st.floats(0, 1, exclude_min=True)


@st.composite
def weighted(draw):
    n = draw(st.integers(2, 7))
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    weights = draw(st.dictionaries(st.sampled_from(pairs), PROBABILITIES))
    blocks = draw(st.none() | st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return Topology(
        n, np.array(list(weights), dtype=np.int32), list(weights.values()), "drawn:seed=1", blocks
    )


@given(weighted())
@settings(max_examples=150)
def test_saving_keeps_every_bit(tmp_path_factory, t):
    """A link probability of 0.3, or any other, is the same number after saving and loading."""
    path = tmp_path_factory.mktemp("saved") / "t.txt"
    again = load(save(t, path))
    assert again.n == t.n
    assert again.edges.tobytes() == t.edges.tobytes()
    assert again.weights.tobytes() == t.weights.tobytes()
    assert again.source == t.source
    assert (again.blocks is None and t.blocks is None) or again.blocks.tolist() == t.blocks.tolist()
    matrix = np.loadtxt(path)
    assert (matrix[t.edges[:, 0], t.edges[:, 1]] == t.weights).all()
    assert (matrix == matrix.T).all()
    assert np.count_nonzero(matrix) == 2 * t.m


def test_numpys_own_text_is_read_and_named_after_its_file(tmp_path):
    matrix = np.array([[0, 0.3, 0], [0.3, 0, 1], [0, 1, 0]])
    np.savetxt(tmp_path / "mine.v2.txt", matrix)
    t = load(tmp_path / "mine.v2.txt")
    assert t.edges.tolist() == [[0, 1], [1, 2]]
    assert t.weights.tolist() == [0.3, 1.0]
    assert (t.source, t.label, t.family) == ("mine.v2",) * 3


def test_edges_come_from_the_matrix_whatever_the_header_claims(tmp_path):
    text = encode(make("complete:n=3")).decode().replace("0 1 1", "0 1 0").replace("1 1 0", "0 1 0")
    (tmp_path / "edited.txt").write_text(text)
    t = load(tmp_path / "edited.txt")
    assert t.edges.tolist() == [[0, 1], [1, 2]]
    # What its generator made it is no longer, so it must not be grouped with what is.
    assert t.source == "edited"


def test_comments_of_others_are_not_taken_for_a_header(tmp_path):
    (tmp_path / "theirs.txt").write_text("# source: elsewhere\n# n: many\n0 1 # first\n\n1 0\n")
    assert load(tmp_path / "theirs.txt").source == "theirs"


def test_whole_certain_links_are_saved_as_single_digits():
    rows = [line for line in encode(make("chain:n=3")).decode().splitlines() if line[0] != "#"]
    assert rows == ["0 1 0", "1 0 1", "0 1 0"]


REFUSED = {
    "": "is empty",
    "\n# only a comment\n": "is empty",
    "0 1\n1 0\n0 0\n": r"not square: row 0 \(from 0\) has 2 entries, but there are 3 rows",
    "0 1 0\n1 0 1\n0 1\n": r"not square: row 2 \(from 0\) has 2 entries",
    "0": "has one node",
    "0 1\n0 0\n": r"entry \[0, 1\] is 1, but \[1, 0\] is 0; the matrix must be symmetric",
    "0 1.5\n1.5 0\n": r"entry \[0, 1\] is 1.5; a link probability is in \[0, 1\]",
    "0 -0.1\n-0.1 0\n": r"entry \[0, 1\] is -0.1",
    "0 nan\nnan 0\n": r"entry \[0, 1\] is nan",
    "0 inf\ninf 0\n": r"entry \[0, 1\] is inf",
    "0 x\nx 0\n": r"entry \[0, 1\] is x, which is not a number",
    "0,1\n1,0\n": "not square",
    "0 1\n1 0.5\n": r"entry \[1, 1\] is 0.5, a link of node 1 to itself",
    "a\0b": "is not text",
    encode(make("chain:n=3")).decode().replace("n: 3", "n: 4"): "header does not fit",
    encode(make("chain:n=2")).decode().replace("n: 2", "n: 2\n# blocks: 0"): "header does not fit",
    encode(make("chain:n=2")).decode().replace("n: 2", "n: 2\n# blocks: 0 x"): "header does not fit",
}


@pytest.mark.parametrize("content", REFUSED, ids=REFUSED.values())
def test_a_file_that_holds_no_topology_is_refused(tmp_path, content):
    path = tmp_path / "wrong.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=REFUSED[content]) as refused:
        read(str(path))
    assert refused.value.field == "topology_file"
    assert str(path) in str(refused.value)


def test_binary_folders_and_missing_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(InputError, match="is not text"):
        load(tmp_path / "a.txt")
    with pytest.raises(InputError, match="is a folder"):
        read(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for missing in ("missing.txt", "sub/star", "./star:n=4", "nx.txt", "a.txt/b.txt"):
        with pytest.raises(InputError, match="no such file"):
            read(missing)
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        read("x" * 5000 + ".txt")


def test_a_name_may_be_a_file_without_an_ending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(make("chain:n=3"), "mine")
    save(make("chain:n=3"), "star")
    assert [read(name).source for name in ("mine", "star", "./star")] == ["chain:n=3"] * 3
    assert read("star:n=4").source == "star:n=4"


def test_what_is_there_is_never_overwritten(tmp_path):
    path = save(make("chain:n=3"), tmp_path / "new" / "t.txt")
    before = path.stat().st_mtime_ns, path.read_bytes()
    save(make("chain:n=3"), path)
    with pytest.raises(InputError, match="holds something else already") as refused:
        save(make("cycle:n=3"), path)
    assert refused.value.field == "out_dir"
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert [entry.name for entry in path.parent.iterdir()] == ["t.txt"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save(make("chain:n=3"), tmp_path / "t.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_was_changed_is_refused(tmp_path):
    """Its source would put the graph's results among those of another graph."""
    path = save(make("barabasi_albert:n=8,m=2,seed=0"), tmp_path / "t.txt")
    path.write_text(path.read_text().replace("seed=0", "seed=1"))
    with pytest.raises(InputError, match="its header was damaged or changed"):
        load(path)


def test_a_file_from_before_headers_had_a_sum_is_read_and_counts_as_saved(tmp_path):
    t, path = make("stochastic_block:blocks=2,size=3,p_in=1,p_out=0.5,seed=0"), tmp_path / "t.txt"
    lines = encode(t).decode().splitlines(keepends=True)
    older = "".join(line for line in lines if not line.startswith("# header: "))
    path.write_text(older)
    assert (load(path).source, load(path).blocks.tolist()) == (t.source, t.blocks.tolist())
    save(t, path)
    assert path.read_text() == older


@pytest.mark.parametrize("entry", ["nan", "NaN", "-nan", "inf", "0_1", "1e400", "0x1"])
def test_an_entry_that_is_no_probability_is_refused(tmp_path, entry):
    path = tmp_path / "t.txt"
    path.write_text(f"0 {entry}\n{entry} 0\n")
    with pytest.raises(InputError, match=r"entry \[0, 1\] is"):
        load(path)


def test_a_source_is_not_believed_if_the_line_of_the_sum_is_damaged(tmp_path):
    path = save(make("barabasi_albert:n=9,m=2,seed=0"), tmp_path / "mine.txt")
    text = path.read_text()
    path.write_text(text.replace("# header:", "# leader:").replace("m=2", "m=3"))
    assert load(path).source == "mine"
    path.write_text(text.replace("# header:", "# leader:"))
    assert load(path).source == "mine"
