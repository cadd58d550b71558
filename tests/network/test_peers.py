"""The file of peers, and the keys of several hosts."""

import stat

import pytest

from dml.errors import DamagedFileError, InputError
from dml.network import keys, make_keys, peers


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("DML_KEYS", str(tmp_path / "own"))


def written(tmp_path, text):
    path = tmp_path / "peers.yaml"
    path.write_text(text)
    return path


def test_on_one_host_the_key_of_the_host_serves_all(tmp_path):
    found = peers.load(written(tmp_path, "nodes: [{port: 5555}, {name: b, host: localhost, port: 5556}]"))
    assert found.names == ["node 0", "b"]
    assert found.listen("b") == "tcp://localhost:5556"
    (contact,) = found.contacts(["node 0"])
    assert contact.address == "tcp://127.0.0.1:5555"
    assert contact.public_key == keys.own_keys().public == peers.own_pair(found, "b").public


def test_a_list_of_mappings_is_one_mapping(tmp_path):
    class More(peers.Peers):
        timeout_ms: int = 1

    text = "- nodes:\n  - {name: w0, host: 127.0.0.1, port: 45000}\n- timeout_ms: 2500\n"
    found = peers.load(written(tmp_path, text), More)
    assert found.timeout_ms == 2500
    assert found.names == ["w0"]


def test_keys_for_several_hosts_are_made_by_one_command(tmp_path, script):
    done = script("make_keys.py", "--num_nodes", 2, "--names", "orchestrator", "--out_dir", tmp_path / "keys")
    assert done.returncode == 0
    folder = tmp_path / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.glob("*.key_secret"))
    text = "public_keys: keys/public_keys.yaml\nnodes:\n"
    text += "  - {host: 192.0.2.1, port: 5555}\n  - {host: 192.0.2.2, port: 5555}\n"
    found = peers.load(written(tmp_path, text))
    pair = peers.own_pair(found, "node 1", folder)
    assert pair.public == found.contacts(["node 1"])[0].public_key
    # Again, nothing is changed.
    before = {path: path.read_bytes() for path in folder.iterdir()}
    again = script("make_keys.py", "--num_nodes", 2, "--out_dir", folder)
    assert again.returncode == 2
    assert again.stderr.startswith("error: --out_dir")
    assert "holds node_0.key_secret already" in again.stderr
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_the_key_of_another_node_is_refused(tmp_path):
    make_keys.make(tmp_path / "keys", ["node 0", "node 1"])
    text = (
        "public_keys: keys/public_keys.yaml\nnodes: [{host: a.example, port: 1}, {host: b.example, port: 1}]"
    )
    found = peers.load(written(tmp_path, text))
    (tmp_path / "keys" / "node_0.key_secret").rename(tmp_path / "keys" / "node_1.key_secret")
    with pytest.raises(InputError, match=r"node_1.key_secret: is not the key of node 1 in the file of peers"):
        peers.own_pair(found, "node 1", tmp_path / "keys")
    with pytest.raises(InputError, match=r"node_0.key_secret: cannot be read \(No such file"):
        peers.own_pair(found, "node 0", tmp_path / "keys")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must hold keys and values"),
        ("nodes: 3", "nodes: must be a list of peers"),
        ("nodes: []", "nodes: must be a list of peers"),
        ("nodes: [3]", "nodes, place 0: host: needs a value"),
        ("nodes: [{host: a}]", "nodes, place 0: port: is missing"),
        ("nodes: [{port: 1}, {port: 99999}]", "nodes, place 1: port 99999: must be at most 65535"),
        ("nodes: [{port: 1_0}]", "nodes, place 0: port 1_0: must be in plain digits"),
        ("nodes: [{prot: 1}]", r"nodes, place 0: prot: there is no such key \(did you mean port\?\)"),
        ("nodes: [{port: 1}]\ntimeout: 3", "timeout: there is no such key"),
        ("nodes: [{port: 1}]\nnodes: [{port: 1}]", "nodes: is given twice"),
        ("- nodes: [{port: 1}]\n- nodes: [{port: 1}]", "nodes: is given twice"),
        ("nodes: [{port: 1}, {port: 1}]", "port 1: is that of two peers on 127.0.0.1"),
        ("nodes: [{name: a, port: 1}, {name: a, port: 2}]", "name a: is there twice"),
        ("nodes: [{host: a.example, port: 1}]", "name node 0: has no public key here; make_keys.py makes"),
        ("nodes: [{port: 1, public_key: x}]", "public_key x: of node 0 must be 40 characters of Z85 text"),
        ("public_keys: none.yaml\nnodes: [{port: 1}]", "none.yaml: cannot be read"),
        ("nodes: [}", "is not a YAML file"),
        ("!!python/object/apply:os.system [echo]", "is not a YAML file"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=told) as error:
        peers.load(path)
    assert str(error.value).startswith(f"peers {path}: ")
    assert "\n" not in str(error.value)


def test_a_name_that_is_not_there_is_refused(tmp_path):
    found = peers.load(written(tmp_path, "nodes: [{port: 1}]"))
    with pytest.raises(InputError, match=r"^name node 1: there is no such peer \(did you mean node 0\?\)"):
        found.node("node 1")


def test_a_damaged_key_of_the_host_is_named(tmp_path):
    keys.own_keys()
    (tmp_path / "own" / "own.key_secret").write_text("")
    with pytest.raises(DamagedFileError, match=r"own.key_secret is damaged"):
        peers.load(written(tmp_path, "nodes: [{port: 1}]"))
