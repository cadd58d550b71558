"""What is not a message, from strangers and from contacts: refused by name, and memory stays bounded."""

import contextlib
import gc
import os
import pickle
import random
import socket
import struct
import time
from pathlib import Path

import psutil
import pytest
import torch
import zmq
from wires import OTHER, PAIR, hub, until

from dml.network.contacts import Contact, host_and_port
from dml.network.endpoint import Endpoint
from dml.network.envelope import Envelope, Sort
from dml.network.errors import Late
from dml.network.header import Header
from dml.network.message import encode

REASONS = {
    "damaged",
    "too large",
    "replay",
    "other version",
    "wrong name",
    "wrong run",
    "taken name",
    "too many",
}
MOST_MEMORY = 50 * 2**20


class Touch:
    """A pickle of this makes a file when it is read."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


@contextlib.contextmanager
def raw_contact(end):
    """A socket with the key of node 0, which sends what it likes."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.curve_publickey, dealer.curve_secretkey = OTHER.public.encode(), OTHER.secret.encode()
    dealer.curve_serverkey = PAIR.public.encode()
    dealer.routing_id = b"\x01" + b"r" * 16
    dealer.connect(end.address)
    try:
        yield dealer
    finally:
        dealer.close()
        context.term()


def message(number, **values):
    """The frames of a sound message of node 0."""
    header = Header(run="r", sender="node 0", kind="model", number=number, **values)
    first, *more = encode(header, {"x": torch.rand(20_000)})
    return [Envelope(Sort.MESSAGE, 5, number, 0, 0).pack() + first, *map(bytes, more)]


def damaged(frames, rng):
    """The frames of a message with some damage."""
    kind = rng.randrange(8)
    place = rng.randrange(len(frames))
    frame = bytearray(frames[place])
    if kind == 0:
        frame = bytearray(rng.randbytes(rng.randrange(300)))
    elif kind == 1:
        frame = frame[: rng.randrange(len(frame) + 1)]
    elif kind == 2:
        for _ in range(rng.randrange(1, 20)):
            frame[rng.randrange(min(200, len(frame)))] = rng.randrange(256)
    elif kind == 3:
        start = rng.randrange(min(200, len(frame)))
        frame[start : start + 8] = struct.pack("<Q", rng.choice([2**32, 2**63, 2**64 - 1, 0]))
    elif kind == 4:
        return frames[:place] + frames[place + 1 :] or [b""]
    elif kind == 5:
        return frames + [rng.randbytes(rng.randrange(1000))] * rng.randrange(1, 20)
    elif kind == 6:
        return [frames[0], pickle.dumps({"x": frame[:100]})]
    else:
        return [rng.randbytes(rng.randrange(1, 3000)) for _ in range(rng.randrange(1, 5))]
    return [*frames[:place], bytes(frame), *frames[place + 1 :]]


def memory():
    return psutil.Process().memory_info().rss


def flood(end, dealer, count, seed):
    """Sends damaged messages, while the endpoint works."""
    rng = random.Random(seed)
    for number in range(count):
        dealer.send_multipart(damaged(message(number), rng))
        if number % 5 == 0:
            end.serve(0)
    end.serve(0.2)
    end.forget(lambda message: True)


def check_damaged_messages(count):
    with hub(OTHER) as h:
        h.nodes[0].close()
        end = h.end
        with raw_contact(end) as dealer:
            flood(end, dealer, min(300, count // 2), 0)
            before = memory()
            flood(end, dealer, count, 1)
            assert memory() - before < MOST_MEMORY
        assert sum(end.refused.values()) > count / 3
        assert set(end.refused) <= REASONS
        assert len(h.lines) < 20
        node = h.node(0, OTHER, meet=False)
        node.send("hub", "model", seconds=5)
        until(lambda: any(key.kind == "model" for key in end._kept), end, node)


def test_damaged_messages_of_a_contact_are_refused():
    check_damaged_messages(200)


@pytest.mark.slow
def test_ten_thousand_damaged_messages_of_a_contact_are_refused():
    check_damaged_messages(10_000)


def check_strangers(count):
    """Bytes of strangers on bare TCP connections, some with the beginning of ZeroMQ's hand-shake."""
    rng = random.Random(2)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + b"\0" + bytes(31)
    with hub(OTHER) as h:
        (node,) = h.nodes
        host, port = host_and_port(h.end.address)
        before = memory()
        for number in range(count):
            with socket.create_connection((host, int(port)), 5) as stranger, contextlib.suppress(OSError):
                if number % 2:
                    stranger.sendall(greeting)
                if number % 3 == 0:
                    # A frame that is said to have 4 GiB, or all there is.
                    stranger.sendall(b"\x06" + struct.pack(">Q", rng.choice([2**32, 2**63 - 1])))
                stranger.sendall(rng.randbytes(rng.choice([1, 9, 64, 200, 5000])))
            if number % 50 == 0:
                node.send("hub", "model", number, seconds=5)
                assert h.end.receive(seconds=5).header.number == number
                node.serve(0.001)
        assert memory() - before < MOST_MEMORY


def test_bytes_of_strangers_disturb_nobody():
    check_strangers(60)


@pytest.mark.slow
def test_ten_thousand_strangers_disturb_nobody():
    check_strangers(10_000)


def test_a_pickle_is_never_read(tmp_path):
    evil = pickle.dumps(Touch(tmp_path / "made"))
    with hub(OTHER) as h:
        h.nodes[0].close()
        with raw_contact(h.end) as dealer:
            good = message(0)
            for frames in ([evil], [good[0][:44] + evil], [good[0], evil], [good[0], *good[1:], evil]):
                dealer.send_multipart(frames)
            until(lambda: sum(h.end.refused.values()) >= 4, h.end)
    pickle.loads(evil)  # It would have worked.
    assert (tmp_path / "made").exists()
    assert h.end.refused["damaged"] >= 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda first: first[:4] + struct.pack("<H", 99) + first[6:], "other version"),
        (lambda first: b"XYZ\0" + first[4:], "damaged"),
        (lambda first: first[:6] + struct.pack("<H", 77) + first[8:], "damaged"),
        (lambda first: first.replace(b'"run":"r"', b'"run":"s"'), "wrong run"),
        (lambda first: first.replace(b'"node 0"', b'"node 9"'), "wrong name"),
        (lambda first: first.replace(b'"scalars":{}', b'"scalars":{"loss":NaN}'), "damaged"),
        (lambda first: first[:16] + b"\xff" * 8 + first[24:], "damaged"),
    ],
)
def test_each_fault_has_its_name_and_the_next_message_arrives(change, reason):
    with hub(OTHER) as h:
        h.nodes[0].close()
        with raw_contact(h.end) as dealer:
            first, *more = message(0)
            changed = change(first)
            if b"NaN" in changed:
                length = struct.unpack("<I", first[40:44])[0] + len(changed) - len(first)
                changed = changed[:40] + struct.pack("<I", length) + changed[44:]
            dealer.send_multipart([changed, *more])
            started = time.monotonic()
            until(lambda: h.end.refused[reason] == 1, h.end)
            assert time.monotonic() - started < 1
            dealer.send_multipart(message(1))
            assert h.end.receive(seconds=5).header.number == 1


def test_a_replayed_message_comes_once():
    with hub(OTHER) as h:
        h.nodes[0].close()
        with raw_contact(h.end) as dealer:
            for _ in range(3):
                dealer.send_multipart(message(0))
            assert h.end.receive(seconds=5).header.number == 0
            until(lambda: h.end.refused["replay"] == 2, h.end)
            with pytest.raises(Late):
                h.end.receive(seconds=0.01)


def listeners():
    """The addresses on which this process listens: those of IPv4 in hex, and those of IPv6."""
    own = {os.readlink(link) for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)}
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                found.append(words[1].rpartition(":")[0])
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_nothing_listens_beyond_loopback_unless_asked():
    others = listeners()
    with hub(OTHER):
        assert sorted(listeners()) == sorted([*others, "0100007F"])
    with Endpoint("a", "r", PAIR, [Contact("b", None, OTHER.public)], listen=None):
        assert listeners() == others
    with Endpoint("a", "r", PAIR, listen="tcp://*:*"):
        assert "00000000" in listeners()


def test_an_endpoint_leaves_no_thread_and_no_file_behind():
    def now():
        gc.collect()  # What other tests have left.
        process = psutil.Process()
        return process.num_threads(), process.num_fds()

    with hub(OTHER):
        pass
    before = now()
    for _ in range(5):
        with hub(OTHER):
            pass
    assert now() == before
