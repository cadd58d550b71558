"""The file of peers: which processes take part, where they listen, and their public keys.

public_keys: keys/public_keys.yaml        # made by make_keys.py; not needed on one host
nodes:
  - {name: node 0, host: 10.0.0.1, port: 5555}
  - {name: node 1, host: 10.0.0.2, port: 5555}
"""

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, ValidationError

from dml import yaml_text
from dml.errors import InputError
from dml.field_types import UserPath, suggestion
from dml.network import keys
from dml.network.contacts import LONGEST_NAME, Contact, address_of
from dml.section import Section
from dml.validation import input_error

FIELD = "peers"
"""The flag that names the file."""

Port = Annotated[int, Field(ge=1, le=65535)]

S = TypeVar("S", bound=Section)


class Peer(Section):
    """One process. By default its name is ``node`` and its place in the list, counted from 0."""

    name: str = Field("", max_length=LONGEST_NAME, description="its name")
    host: str = Field("127.0.0.1", min_length=1, max_length=253, description="the host on which it listens")
    port: Port = Field(description="the port on which it listens")
    public_key: str | None = Field(None, description="its public key, if there is no file of public keys")


class Peers(Section):
    """The content of a file of peers. A program with further keys derives a section of its own from this."""

    other_names: ClassVar[Mapping[str, str]] = {}
    """Other names of keys, such as those of published files, and the names of the fields."""

    nodes: tuple[Peer, ...] = Field(min_length=1, description="the processes")
    public_keys: UserPath | None = Field(None, description="file of public keys by name")

    @property
    def names(self) -> list[str]:
        """The names of the processes, in the order of the file."""
        return [node.name for node in self.nodes]

    @property
    def on_this_host(self) -> bool:
        """Whether all listen on loopback, so that the pair of this host serves all of them."""
        return all(_is_loopback(node.host) for node in self.nodes)

    def node(self, name: str) -> Peer:
        """The process with a name.

        Raises:
            InputError: there is none.
        """
        if name not in self.names:
            right = f"there is no such peer{suggestion(name, self.names)}; there are: {', '.join(self.names)}"
            raise InputError("name", name, right)
        return self.nodes[self.names.index(name)]

    def listen(self, name: str) -> str:
        """The address on which a process listens."""
        node = self.node(name)
        return address_of(node.host, node.port)

    def contacts(self, names: Iterable[str]) -> list[Contact]:
        """The contacts of some processes, with the addresses and public keys of the file."""
        found = [self.node(name) for name in names]
        return [Contact(node.name, self.listen(node.name), str(node.public_key)) for node in found]


P = TypeVar("P", bound=Peers)


def load(path: Path, section: type[P] = Peers) -> P:  # type: ignore[assignment]
    """Reads a file of peers. A list of mappings, as in published files, counts as one mapping.

    Every node of the result has a name and a public key. On one host, this is the key of the host.

    Args:
        path: the file.
        section: the keys that it may have.

    Raises:
        InputError: it cannot be read, or a value is wrong, which is named.
        DamagedFileError: the key of this host is damaged.
    """
    content = _one_mapping(path, yaml_text.read(path, FIELD), section.other_names)
    try:
        nodes = content.get("nodes")
        if not isinstance(nodes, list) or not nodes:
            raise InputError("nodes", None, "must be a list of peers, each with a host and a port")
        content["nodes"] = [_peer(number, node) for number, node in enumerate(nodes)]
        if content.get("public_keys"):
            content["public_keys"] = str(path.parent / content["public_keys"])
        peers = _checked(section, content)
        return peers.model_copy(update={"nodes": _with_keys(peers)})
    except InputError as error:
        raise error if error.field == "keys" else yaml_text.in_file(FIELD, path, error) from None


def own_pair(peers: Peers, name: str, folder: Path | None = None) -> keys.KeyPair:
    """The pair of one of the processes: that of its own in the folder, or that of this host.

    Args:
        peers: the file of peers.
        name: of the process.
        folder: of the keys; by default that of this host's keys.

    Raises:
        InputError: the secret key is not there, can be read by others, or belongs to another public key.
        DamagedFileError: it is damaged.
    """
    public = peers.node(name).public_key
    path = (keys.folder_of_host() if folder is None else folder) / keys.file_name(name, keys.SECRET)
    own = not path.exists() and peers.on_this_host
    pair = keys.own_keys(folder) if own else keys.load(path)
    if pair.public != public:
        raise InputError("keys", path, f"is not the key of {name} in the file of peers, which is {public}")
    return pair


def _one_mapping(path: Path, content: object, other_names: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in content if isinstance(content, list) else [content]:
        if not isinstance(part, dict) or not part:
            raise InputError(FIELD, path, "must hold keys and values, such as nodes: [...]")
        for key, value in part.items():
            name = other_names.get(str(key), str(key))
            if name in found:
                raise InputError(FIELD, path, f"{key}: is given twice")
            found[name] = value
    return found


def _peer(number: int, node: object) -> Peer:
    try:
        if not isinstance(node, dict):
            raise InputError("host", None, "needs a value, and so does port")
        peer = _checked(Peer, node)
        return peer if peer.name else peer.model_copy(update={"name": f"node {number}"})
    except InputError as error:
        raise InputError(f"nodes, place {number}", None, str(error)) from None


def _checked(section: type[S], values: Mapping[str, Any]) -> S:
    for key in values:
        if key not in section.model_fields:
            meant = suggestion(key, section.model_fields)
            right = f"there is no such key{meant}; there are: {', '.join(section.model_fields)}"
            raise InputError(key, None, right)
    missing = [
        name for name, info in section.model_fields.items() if info.is_required() and name not in values
    ]
    if missing:
        raise InputError(missing[0], None, "is missing")
    try:
        return section(**values)
    except ValidationError as error:
        raise input_error(error) from None


def _with_keys(peers: Peers) -> tuple[Peer, ...]:
    """The nodes, each with its public key.

    Raises:
        InputError: a name is there twice, or has no key.
    """
    twice = [name for name in peers.names if peers.names.count(name) > 1]
    if twice:
        raise InputError("name", twice[0], "is there twice; each peer needs a name of its own")
    places = [(node.host, node.port) for node in peers.nodes]
    shared = next((place for place in places if places.count(place) > 1), None)
    if shared:
        raise InputError("port", shared[1], f"is that of two peers on {shared[0]}")
    known = public_keys(peers.public_keys) if peers.public_keys else {}
    given = {node.name: node.public_key or known.get(node.name) for node in peers.nodes}
    lacking = [name for name, key in given.items() if key is None]
    if lacking and not (peers.on_this_host and len(lacking) == len(given) and not peers.public_keys):
        where = f"in {peers.public_keys}" if peers.public_keys else "here"
        right = f"has no public key {where}; make_keys.py makes keys for all nodes of several hosts"
        raise InputError("name", lacking[0], right)
    own = keys.own_keys().public if lacking else ""
    for name, key in given.items():
        if key is not None and not keys.is_public_key(key):
            raise InputError("public_key", key, f"of {name} must be 40 characters of Z85 text")
    return tuple(node.model_copy(update={"public_key": given[node.name] or own}) for node in peers.nodes)


def public_keys(path: Path) -> dict[str, str]:
    """Reads a file of public keys by name, as ``make_keys.py`` writes it.

    Raises:
        InputError: it cannot be read, or is none.
    """
    content = yaml_text.read(path, "public_keys")
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content.values()):
        raise InputError("public_keys", path, "must hold names and keys; make_keys.py writes such files")
    return {str(name): key for name, key in content.items()}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
