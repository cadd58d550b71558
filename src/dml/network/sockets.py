"""The sockets of an endpoint: one that listens, and one for each contact with an address.

All of them speak CURVE only, take frames of a limited size, notice within seconds that the other side is
gone, and connect again by themselves.
"""

import contextlib
import errno

import zmq
import zmq.utils.monitor

from dml.errors import InputError
from dml.network.contacts import Contact, host_and_port, numeric
from dml.network.gate import DOMAIN
from dml.network.keys import KeyPair
from dml.network.limits import CHUNK, HEADER, Limits

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

_QUEUED = 8
"""The number of messages that wait in ZeroMQ, each way and for each connection."""

_RECONNECT, _LONGEST_RECONNECT = 100, 2000
"""Milliseconds between the first attempts to connect, and between later ones."""

CONNECTED = zmq.Event.HANDSHAKE_SUCCEEDED
LOST = zmq.Event.DISCONNECTED
RETRIED = zmq.Event.CONNECT_RETRIED
REFUSED_KEY = zmq.Event.HANDSHAKE_FAILED_AUTH
NOBODY = zmq.Event.CLOSED
_FAILED = zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL


TROUBLES = {
    REFUSED_KEY: "it does not know our key",
    LOST: "the connection is lost",
    NOBODY: "nobody answers at its address",
}


def listening(context: Context, listen: str, keys: KeyPair, limits: Limits) -> Socket:
    """A socket that listens.

    Args:
        context: of the endpoint, whose gate decides who may connect.
        listen: the address; the port ``*`` takes any that is free, the host ``*`` listens on all networks.
        keys: the pair of this process.
        limits: of the endpoint.

    Raises:
        InputError: the port is in use or not allowed, or the host is not one of this machine's.
    """
    host, port = host_and_port(listen)
    address = listen if host == "*" else numeric(listen)
    socket = _socket(context, zmq.ROUTER, keys, limits)
    socket.curve_server = True
    socket.zap_domain = DOMAIN
    socket.ipv6 = "[" in address
    # A send fails if the connection is gone. One that is made anew takes the place of the old one: its id is
    # drawn at random by the other side, and nobody else knows it.
    socket.router_mandatory = True
    socket.router_handover = True
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close()
        if error.errno == zmq.EADDRINUSE:
            raise InputError("port", port, f"is in use by another program on {host}; give another") from None
        if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
            raise InputError("host", host, "is not this machine's; give an address of this machine") from None
        raise InputError("port", port, f"cannot be listened on at {host} ({error.strerror})") from None
    return socket


def connecting(
    context: Context, contact: Contact, keys: KeyPair, limits: Limits, identity: bytes
) -> tuple[Socket, Socket]:
    """A socket that connects to a contact, and one that tells what happens to the connection.

    Args:
        context: of the endpoint.
        contact: who listens, with an address.
        keys: the pair of this process.
        limits: of the endpoint.
        identity: a random id, by which the other side answers after this connection was made anew.

    Raises:
        InputError: the host does not resolve.
    """
    assert contact.address is not None
    address = numeric(contact.address)
    socket = _socket(context, zmq.DEALER, keys, limits)
    socket.curve_serverkey = contact.public_key.encode()
    socket.routing_id = identity
    socket.ipv6 = "[" in address
    # Nothing is queued for a connection that does not stand.
    socket.immediate = True
    monitor = socket.get_monitor_socket(CONNECTED | LOST | RETRIED | REFUSED_KEY | NOBODY | _FAILED)
    monitor.linger = 0
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close()
        monitor.close()
        raise InputError("address", contact.address, f"cannot be connected to ({error.strerror})") from None
    return socket, monitor


def address_of_socket(socket: Socket) -> str:
    """The address on which a socket listens or to which it connects, in numbers."""
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()


def connect_again(socket: Socket) -> None:
    """Connects again, as ZeroMQ itself does not after a hand-shake that failed."""
    address = address_of_socket(socket)
    with contextlib.suppress(zmq.ZMQError):
        socket.disconnect(address)
    socket.connect(address)


def event(monitor: Socket) -> tuple[zmq.Event, str] | None:
    """The next event of a connection, and what is wrong in words; empty if nothing is.

    Returns:
        None if there is no event.
    """
    try:
        found = zmq.utils.monitor.recv_monitor_message(monitor, zmq.NOBLOCK)
    except zmq.Again:
        return None
    kind = zmq.Event(found["event"])
    if kind in _FAILED:
        return kind, "the hand-shake failed: its key is another one, or it speaks another protocol"
    return kind, TROUBLES.get(kind, "")


def _socket(context: Context, kind: zmq.SocketType, keys: KeyPair, limits: Limits) -> Socket:
    socket = context.socket(kind)
    socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = _QUEUED
    # Encryption adds some bytes to a frame.
    socket.maxmsgsize = max(CHUNK, HEADER) + 100
    silence = int(1000 * limits.silence)
    socket.heartbeat_ivl, socket.heartbeat_timeout = max(1, silence // 3), silence
    socket.heartbeat_ttl = silence
    socket.handshake_ivl = int(1000 * limits.handshake)
    socket.connect_timeout = int(1000 * limits.handshake)
    socket.reconnect_ivl, socket.reconnect_ivl_max = _RECONNECT, _LONGEST_RECONNECT
    return socket
