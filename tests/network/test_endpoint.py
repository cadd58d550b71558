"""Endpoints: what is sent arrives once, from whom it says, and nobody waits for ever."""

import socket
import time

import pytest
import torch
from wires import OTHER, PAIR, hub, until

from dml.errors import InputError
from dml.network import keys
from dml.network.contacts import Contact
from dml.network.endpoint import Endpoint
from dml.network.errors import Late, WireError
from dml.network.header import Key
from dml.network.limits import Limits


def test_messages_go_both_ways_over_the_connection_that_a_node_makes():
    x = torch.arange(6.0).reshape(2, 3)
    with hub(OTHER) as h:
        (node,) = h.nodes
        node.send("hub", "model", 7, 1, seconds=5, scalars={"loss": 0.5, "sizes": [1, 2]}, tensors={"x": x})
        x.zero_()  # What was sent does not change with it.
        got = h.end.receive(Key("node 0", "model", 7, 1), seconds=5)
        assert got.header.scalars == {"loss": 0.5, "sizes": [1, 2]}
        assert got.tensor("x", (2, 3), torch.float32).tolist() == [[0, 1, 2], [3, 4, 5]]
        h.end.send("node 0", "answer", 7, seconds=5, algorithm="dpsgd")
        answer = node.receive(lambda message: message.header.kind == "answer", seconds=5)
        assert answer.header.key == Key("hub", "answer", 7, algorithm="dpsgd")
        assert h.end.traffic.received["node 0"] == node.traffic.sent["hub"] > 24


def test_two_that_listen_talk_and_large_messages_come_whole():
    first = Endpoint("a", "r", PAIR, [])
    second = Endpoint("b", "r", OTHER, [Contact("a", first.address, PAIR.public)])
    with first, second:
        first.add(Contact("b", second.address, OTHER.public))
        x = torch.rand(1_000_001)
        first.send("b", "model", seconds=5, tensors={"x": x})
        second.send("a", "model", seconds=5, tensors={"x": x + 1})
        assert torch.equal(second.receive(seconds=5).tensors["x"], x)
        assert torch.equal(first.receive(seconds=5).tensors["x"], x + 1)
        # The second may knock before the first has heard of it.
        assert not set(first.refused) - {"wrong key"}
        assert not second.refused


def test_a_contact_that_cannot_be_reached_is_answered_over_its_own_connection():
    unreachable = Contact("node 0", "tcp://127.0.0.1:1", OTHER.public)
    with Endpoint("hub", "r", PAIR, [unreachable]) as end:
        with Endpoint("node 0", "r", OTHER, [Contact("hub", end.address, PAIR.public)], None) as node:
            node.send("hub", "task", seconds=5)
            assert end.receive(seconds=5)
            end.send("node 0", "answer", seconds=5)
            assert node.receive(seconds=5).header.kind == "answer"
            second = Endpoint("node 0", "r", OTHER, [Contact("hub", end.address, PAIR.public)], None)
            until(lambda: end.refused["taken name"] > 0, end, second)
            second.close(0)
            node.close(0)
        end.close(0)


def test_one_message_goes_to_several_and_each_gets_it_once():
    pairs = [keys.new() for _ in range(3)]
    with hub(*pairs) as h:
        names = [node.name for node in h.nodes]
        h.end.send(names, "model", 3, seconds=5, tensors={"x": torch.ones(3)})
        for node in h.nodes:
            assert node.receive(Key("hub", "model", 3), seconds=5).tensors["x"].sum() == 3
            with pytest.raises(Late):
                node.receive(seconds=0.01)


def test_what_comes_early_is_kept_until_it_is_asked_for():
    with hub(OTHER) as h:
        (node,) = h.nodes
        for number in (2, 0, 1):
            node.send("hub", "model", number, seconds=5)
        numbers = [h.end.receive(Key("node 0", "model", i), seconds=5).header.number for i in range(3)]
        assert numbers == [0, 1, 2]


def test_a_message_with_the_same_key_is_dropped_by_name():
    with hub(OTHER) as h:
        (node,) = h.nodes
        for loss in (1, 2):
            node.send("hub", "model", 4, seconds=5, scalars={"loss": loss})
        assert h.end.receive(seconds=5).header.scalars == {"loss": 1}
        until(lambda: h.end.refused.get("replay") == 1, h.end)
        assert h.lines == ["refused from node 0: replay: model 4, phase 0 of node 0 has come before"]


def test_waiting_ends_at_the_deadline_and_says_whom_it_waited_for():
    with hub(OTHER) as h:
        begun = time.monotonic()
        with pytest.raises(Late, match=r"^node 0: sent no model 3, phase 1 of dpsgd within 0.2 s$"):
            h.end.receive(Key("node 0", "model", 3, 1, "dpsgd"), seconds=0.2)
        assert 0.19 < time.monotonic() - begun < 0.7
    gone = Contact("gone", "tcp://127.0.0.1:1", PAIR.public)
    words = r"^gone: did not take model 0, phase 0 within 0.3 s \(nobody answers at its address\)$"
    with Endpoint("a", "r", OTHER, [gone], listen=None) as end, pytest.raises(Late, match=words):
        end.send("gone", "model", seconds=0.3)


def test_a_contact_that_does_not_read_makes_the_sender_wait_and_not_grow():
    with hub(OTHER, limits=Limits(unconfirmed=5)) as h:
        (node,) = h.nodes
        for number in range(5):
            h.end.send("node 0", "model", number, seconds=5)
        with pytest.raises(Late, match="node 0: did not take model 5"):
            h.end.send("node 0", "model", 5, seconds=0.1)
        for expected in range(5):
            assert node.receive(seconds=5).header.number == expected


def test_a_wrong_key_is_refused_by_name_on_both_sides():
    with hub(OTHER) as h:
        stranger = h.node(1, keys.new(), meet=False)
        with pytest.raises(Late, match="it does not know our key"):
            stranger.send("hub", "model", seconds=0.3)
        assert h.end.refused["wrong key"] > 0
        assert "belongs to no contact" in h.lines[0]
        false = Contact("hub", h.end.address, keys.new().public)
        with Endpoint("node 0", "r", OTHER, [false], listen=None) as end, pytest.raises(Late):
            end.send("hub", "model", seconds=0.3)


def test_the_name_of_another_is_refused():
    pairs = [keys.new(), keys.new()]
    with hub(*pairs) as h:
        contact = Contact("hub", h.end.address, PAIR.public)
        with Endpoint("node 0", "r", pairs[1], [contact], listen=None) as false:
            until(lambda: h.end.refused["wrong name"] > 0, h.end, false)
        h.nodes[0].send("hub", "model", seconds=5)
        assert h.end.receive(seconds=5).header.sender == "node 0"


def test_a_second_process_with_a_live_name_is_refused_until_the_first_ends():
    with hub(OTHER) as h:
        (node,) = h.nodes
        second = h.node(0, OTHER, meet=False)
        until(lambda: h.end.refused["taken name"] > 0 and second.refused["refused us"] > 0, h.end, second)
        assert "connected already, from another process" in second.lines[0]
        node.send("hub", "model", 1, seconds=5)
        h.end.send("node 0", "model", 2, seconds=5)
        assert h.end.receive(seconds=5).header.number == 1
        assert node.receive(seconds=5).header.number == 2
        node.close(0)
        second.send("hub", "model", 1, seconds=5)
        until(lambda: h.end.restarted() == ["node 0"], h.end, second)
        assert h.end.receive(Key("node 0", "model", 1), seconds=5)


def test_another_run_is_refused_and_told_so():
    with hub(OTHER) as h:
        h.nodes[0].close()
        other = h.node(0, OTHER, run="s", meet=False)
        until(lambda: other.refused["refused us"] > 0, h.end, other)
        assert h.end.refused["wrong run"] > 0
        assert other.lines == ["refused from hub: refused us: it refuses us: hub runs r and not s"]


def test_what_is_too_large_is_not_sent_and_not_taken():
    with hub(OTHER) as h:
        (node,) = h.nodes
        h.end._all.limits = Limits(message=1000)
        with pytest.raises(WireError, match="too large: model 0, phase 0 of"):
            h.end.send("node 0", "model", seconds=1, tensors={"x": torch.zeros(1000)})
        node.send("hub", "model", seconds=1, tensors={"x": torch.zeros(1000)})
        until(lambda: h.end.refused["too large"] == 1, h.end)
        node.send("hub", "model", 1, seconds=1)
        assert h.end.receive(seconds=5).header.number == 1


def test_a_port_in_use_and_a_host_that_does_not_resolve_are_named():
    with Endpoint("a", "r", PAIR) as end:
        port = end.address.rpartition(":")[2]
        with pytest.raises(InputError, match=f"^port {port}: is in use by another program"):
            Endpoint("b", "r", PAIR, listen=end.address)
    nowhere = Contact("b", "tcp://no-such-host.invalid:5555", PAIR.public)
    with pytest.raises(InputError, match=r"^host no-such-host.invalid: cannot be found"):
        Endpoint("a", "r", PAIR, [nowhere])
    with pytest.raises(InputError, match=r"^host 192.0.2.1: is not this machine's"):
        Endpoint("a", "r", PAIR, listen="tcp://192.0.2.1:*")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
def test_it_works_over_ipv6():
    with Endpoint("hub", "r", PAIR, [Contact("a", None, OTHER.public)], "tcp://[::1]:*") as end:
        assert end.address.startswith("tcp://[::1]:")
        with Endpoint("a", "r", OTHER, [Contact("hub", end.address, PAIR.public)], None) as node:
            node.send("hub", "model", seconds=5)
            assert end.receive(seconds=5).header.sender == "a"
            end.serve(0.01)
            node.close(0)


def test_a_name_of_localhost_reaches_loopback():
    with hub(OTHER) as h:
        h.nodes[0].close()
        port = h.end.address.rpartition(":")[2]
        with Endpoint(
            "node 0", "r", OTHER, [Contact("hub", f"tcp://localhost:{port}", PAIR.public)], None
        ) as node:
            node.send("hub", "model", seconds=5)
            assert h.end.receive(seconds=5)
            node.close(0)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5", "tcp://a", "tcp://a:0", "tcp://a:65536", "tcp://a:5/", "ipc://a"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match=r"^address .*: must be like tcp://127.0.0.1:5555"):
        Contact("a", address, PAIR.public)


def test_a_message_from_nobody_is_not_waited_for():
    with hub(OTHER) as h, pytest.raises(ValueError, match="there is no contact node 7"):
        h.end.receive(Key("node 7", "model"), seconds=100)
