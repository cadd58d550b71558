"""Whom a process talks to: names, addresses and public keys."""

import re
import socket
from dataclasses import dataclass

from dml.errors import InputError
from dml.network.keys import is_public_key

LONGEST_NAME = 100
"""The largest number of characters in the name of a contact."""


@dataclass(frozen=True)
class Contact:
    """A process to talk to.

    Args:
        name: its name, such as ``node 3`` or ``orchestrator``.
        address: where it listens, such as ``tcp://127.0.0.1:5555``; None if it does not, and is answered over
            the connection that it makes.
        public_key: the key by which it is known.

    Raises:
        InputError: a value has not the right form.
    """

    name: str
    address: str | None
    public_key: str

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= LONGEST_NAME and self.name.isprintable()):
            raise InputError("name", self.name, f"must be 1 to {LONGEST_NAME} printable characters")
        if not is_public_key(self.public_key):
            raise InputError(
                "public_key", self.public_key, f"of {self.name} must be 40 characters of Z85 text"
            )
        if self.address is not None:
            host_and_port(self.address)


def address_of(host: str, port: int | str) -> str:
    """The address of a port; the host is a name or an IPv4 or IPv6 address."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def host_and_port(address: str) -> tuple[str, str]:
    """The parts of an address.

    Raises:
        InputError: it is not one.
    """
    found = re.fullmatch(r"tcp://(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s/:\[\]]+)):(\d{1,5}|\*)", address)
    if found is None or (found[3] != "*" and not 0 < int(found[3]) < 2**16):
        raise InputError("address", address, "must be like tcp://127.0.0.1:5555 or tcp://[::1]:5555")
    return found[1] or found[2], found[3]


def numeric(address: str) -> str:
    """The address with the number of its host instead of the name; IPv4 is preferred to IPv6.

    Raises:
        InputError: the host does not resolve.
    """
    host, port = host_and_port(address)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError("host", host, f"cannot be found ({why}); give a name or number of a host") from None
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    return address_of(str(found[0][4][0]), port)
