"""Faults of connections and processes: nothing is lost, nothing comes twice, and all goes on by itself."""

import contextlib
import time

import pytest
import torch
from proxy import Proxy
from wires import OTHER, PAIR, hub, together, until

from dml.network import keys
from dml.network.contacts import Contact
from dml.network.counts import on_wire
from dml.network.endpoint import Endpoint
from dml.network.errors import Late
from dml.network.header import Key
from dml.network.limits import Limits


@contextlib.contextmanager
def over_proxy(limits=None, piece=2**16):
    """A hub, a node that reaches it over a proxy, and the proxy."""
    lines: list[str] = []
    contact = Contact("node 0", None, OTHER.public)
    limits = limits or Limits()
    with Endpoint("hub", "r", PAIR, [contact], limits=limits, say=lines.append) as end:
        with Proxy(end.address, piece) as proxy:
            there = Contact("hub", proxy.address, PAIR.public)
            with Endpoint("node 0", "r", OTHER, [there], None, limits, lines.append) as node:
                until(lambda: end.connected("node 0") and node.connected("hub"), end, node)
                yield end, node, proxy
                node.close(0)
        end.close(0)
    assert lines == []


def exchange(end, node, numbers, size):
    """Both sides send a message of each number, and get the other's."""
    x, got = torch.rand(size), set()

    def talk(one, other):
        for number in numbers:
            one.send(other.name, "model", number, seconds=5, tensors={"x": x})
        for number in numbers:
            message = one.receive(Key(other.name, "model", number), seconds=5)
            assert torch.equal(message.tensors["x"], x)
        got.add(one.name)
        until(lambda: len(got) == 2, one)

    together(lambda: talk(end, node), lambda: talk(node, end))


@pytest.mark.parametrize("after", [10, 500_000, 1_000_000])
def test_a_connection_that_is_reset_in_a_message_loses_nothing(after):
    with over_proxy() as (end, node, proxy):
        proxy.reset_after(after)
        exchange(end, node, range(3), 100_000)
        assert proxy._break_after is None
        exchange(end, node, range(3, 6), 100)
        with pytest.raises(Late):
            end.receive(seconds=0.05)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("after", [10, 500_000])
def test_a_bit_that_changes_on_the_way_is_noticed_and_nothing_is_lost(up, after):
    with over_proxy() as (end, node, proxy):
        proxy.change_after(after, up)
        exchange(end, node, range(3), 100_000)
        assert proxy._change_after == {}
        assert not end.refused


def test_bytes_that_come_in_small_pieces_are_put_together():
    with over_proxy(piece=7) as (end, node, _):
        exchange(end, node, range(2), 3000)


def test_a_link_that_is_silent_for_a_while_is_made_anew_and_loses_nothing():
    with over_proxy(Limits(silence=0.3, handshake=0.3)) as (end, node, proxy):
        proxy.stall()
        node.send("hub", "model", 0, seconds=5)
        end.send("node 0", "model", 0, seconds=5)
        until(lambda: not node.connected("hub"), node, end)
        proxy.reset()
        proxy.go_on()
        exchange(end, node, range(1, 4), 1000)
        until(lambda: bool(end._kept and node._kept), end, node)
        assert end.receive(seconds=0).header.number == node.receive(seconds=0).header.number == 0


def test_bytes_on_the_wire_are_counted_as_they_are():
    with over_proxy(Limits(silence=60)) as (end, node, proxy):
        end.serve(0.1)
        node.serve(0.1)
        for size in (1, 1000, 300_000):
            up, sent = proxy.up, node.traffic.sent["hub"]
            node.send("hub", "up", size, seconds=5, tensors={"x": torch.rand(size)})
            end.receive(seconds=5)
            assert proxy.up - up == node.traffic.sent["hub"] - sent
        assert node.traffic.sent == {"hub": end.traffic.received["node 0"]}


def test_a_message_that_its_repetition_overtakes_comes_once_and_is_no_replay():
    """As when two that listen meet: the first connection carries the message, and the second repeats it."""
    lines: list[str] = []
    with Endpoint("a", "r", PAIR, say=lines.append) as a:
        b = Endpoint("b", "r", OTHER, [Contact("a", a.address, PAIR.public)], say=lines.append)
        with Proxy(b.address) as proxy, b:
            proxy.stall()
            a.add(Contact("b", proxy.address, OTHER.public))
            link = a._all.links["b"]
            until(lambda: link.route is not None and b.connected("a"), a, b)
            lines.clear()  # The one who knocked before it was known.
            a.send("b", "model", 7, seconds=5)
            proxy.go_on()
            until(lambda: link.connected, a)
            sent = a.traffic.sent["b"]
            # Both come before the second process works again: it has not confirmed the message.
            assert b._all.ask_again(b._all.links["a"])
            until(lambda: a.traffic.sent["b"] > sent, a)
            a.serve(0.05)
            b.serve(0.05)
            assert b.receive(seconds=0).header.number == 7
            b.serve(0.05)
            with pytest.raises(Late):
                b.receive(seconds=0)
            b.send("a", "model", 8, seconds=5)
            assert a.receive(seconds=5).header.number == 8
            assert lines == []
            assert not a._all.links["b"].unconfirmed()
            b.close(0)


def test_a_process_that_begins_anew_is_known_as_such():
    with hub(OTHER) as h:
        (first,) = h.nodes
        first.send("hub", "model", 5, seconds=5)
        h.end.send("node 0", "task", 5, seconds=5)
        until(lambda: h.end.traffic.received["node 0"] > 300, h.end)
        first.close(0)
        second = h.node(0, OTHER, meet=False)
        until(lambda: h.end.restarted() == ["node 0"], h.end, second)
        assert h.end.restarted() == []
        # What the first one sent is dropped; the second one may send a message with the same key.
        with pytest.raises(Late):
            h.end.receive(seconds=0)
        second.send("hub", "model", 5, seconds=5)
        assert h.end.receive(Key("node 0", "model", 5), seconds=5).session == second._all.session
        # What was sent to the first one does not come to the second.
        with pytest.raises(Late):
            second.receive(seconds=0.05)


def test_a_process_that_begins_anew_confirms_what_it_gets():
    """Otherwise its contact would stop sending after some messages, as none of them is confirmed."""
    with hub(OTHER, limits=Limits(unconfirmed=4)) as h:
        h.end.send("node 0", "task", 0, seconds=5)
        h.nodes[0].receive(seconds=5)
        h.nodes[0].close(0)
        second = h.node(0, OTHER, meet=False)
        until(lambda: h.end.restarted() == ["node 0"], h.end, second)
        for number in range(1, 20):
            together(
                lambda number=number: h.end.send("node 0", "task", number, seconds=5),
                lambda number=number: second.receive(Key("hub", "task", number), seconds=5),
            )
            second.send("hub", "result", number, seconds=5)
            h.end.receive(Key("node 0", "result", number), seconds=5)


def test_a_listener_that_ends_and_returns_at_its_address_is_found_again():
    contact = Contact("node 0", None, OTHER.public)
    with Endpoint("hub", "r", PAIR, [contact]) as end:
        address = end.address
        node = Endpoint("node 0", "r", OTHER, [Contact("hub", address, PAIR.public)], None)
        until(lambda: end.connected("node 0") and node.connected("hub"), end, node)
        end.close(0)
        until(lambda: not node.connected("hub"), node)
        with pytest.raises(Late, match="hub: did not take"):
            node.send("hub", "model", 1, seconds=0.05)
    with Endpoint("hub", "r", PAIR, [contact], address) as again, node:
        node.send("hub", "model", 2, seconds=5)
        until(lambda: node.restarted() == ["hub"], node, again)
        assert again.receive(seconds=5).header.number == 2


def test_what_is_sent_again_to_a_process_that_began_anew_is_no_replay():
    """What was sent to the last process may have come to the new one, and the sender cannot know this."""
    contact, lines = Contact("node 0", None, OTHER.public), []
    with Endpoint("hub", "r", PAIR, [contact]) as end:
        address = end.address
        node = Endpoint("node 0", "r", OTHER, [Contact("hub", address, PAIR.public)], None)
        until(lambda: end.connected("node 0") and node.connected("hub"), end, node)
        end.close(0)
    with Endpoint("hub", "r", PAIR, [contact], address, say=lines.append) as again, node:
        node.send("hub", "model", 2, seconds=5)
        assert node.restarted() == []
        until(lambda: node.restarted() == ["hub"], node, again)
        node.send("hub", "model", 2, seconds=5)
        node.send("hub", "model", 3, seconds=5)
        assert again.receive(Key("node 0", "model", 3), seconds=5)
        assert [key.number for key in again._kept] == [2]
        assert lines == []
        node.send("hub", "model", 2, seconds=5)
        until(lambda: again.refused["replay"] == 1, again)


def test_what_a_process_has_left_behind_is_not_taken_for_another_restart():
    """Both processes have sent before their contact works again, which reads from each in turn."""
    with Endpoint("a", "r", PAIR, say=lambda _: None) as a:
        there = [Contact("a", a.address, PAIR.public)]
        first = Endpoint("b", "r", OTHER, there)
        link = a._all.links.get
        a.add(Contact("b", first.address, OTHER.public))
        until(lambda: link("b").connected and link("b").route is not None and first.connected("a"), a, first)
        link("b").unheard = True  # The first process has sent over its own connection alone.
        for number in range(4):
            first.send("a", "model", number, seconds=5)
        first.close(0.05)
        with Endpoint("b", "r", OTHER, there, first.address) as second:
            second.send("a", "task", seconds=5)
            second.serve(0.05)
            until(lambda: bool(a._kept) and not second._all.links["a"].unconfirmed(), a, second)
            a.serve(0.05)
            assert a.restarted() == ["b"]
            assert not a.refused["taken name"]
            assert [key.kind for key in a._kept] == ["task"]
            second.close(0)


def test_a_listener_that_returns_confirms_what_it_gets():
    contact, limits = Contact("node 0", None, OTHER.public), Limits(unconfirmed=4)
    with Endpoint("hub", "r", PAIR, [contact], limits=limits) as end:
        address = end.address
        node = Endpoint("node 0", "r", OTHER, [Contact("hub", address, PAIR.public)], None, limits)
        until(lambda: end.connected("node 0") and node.connected("hub"), end, node)
        # The last message before the end is not confirmed.
        node.send("hub", "model", 0, seconds=5)
        end.close(0)
    with Endpoint("hub", "r", PAIR, [contact], address, limits) as again, node:
        until(lambda: node.restarted() == ["hub"], node, again)
        for number in range(1, 20):
            together(
                lambda number=number: node.send("hub", "model", number, seconds=5),
                lambda number=number: again.receive(Key("node 0", "model", number), seconds=5),
            )
            again.send("node 0", "result", number, seconds=5)
            node.receive(Key("hub", "result", number), seconds=5)


def test_what_was_sent_arrives_though_the_sender_closes_at_once():
    with hub(OTHER) as h:
        (node,) = h.nodes
        node.send("hub", "model", 1, seconds=5, tensors={"x": torch.ones(10**6)})
        node.close(0.05)
        assert h.end.receive(seconds=5).tensors["x"].sum() == 10**6


def test_closing_takes_no_longer_than_it_may():
    with hub(OTHER) as h:
        (node,) = h.nodes
        node.send("hub", "model", 1, seconds=5)
        begun = time.monotonic()
        node.close(0.2)  # The hub does not confirm, as it is not called.
        assert 0.1 < time.monotonic() - begun < 1


def test_more_messages_than_are_kept_wait_at_the_sender_and_come_later():
    with hub(OTHER, limits=Limits(kept=4)) as h:
        (node,) = h.nodes
        for number in range(12):
            node.send("hub", "model", number, seconds=5)
        until(lambda: h.end.refused["too many"] > 0, h.end)
        for number in range(12):
            until(lambda n=number: any(key.number == n for key in h.end._kept), h.end, node)
            assert h.end.receive(Key("node 0", "model", number), seconds=0)


def test_a_node_meets_a_hub_that_computes():
    """The hand-shake needs no call of the hub."""
    with hub() as h:
        h.end.add(Contact("node 0", None, OTHER.public))
        node = h.node(0, OTHER, meet=False)
        node.send("hub", "model", seconds=5)
        assert h.end.receive(seconds=5).header.sender == "node 0"


def test_the_sizes_of_frames_on_the_wire():
    assert on_wire([10, 300]) == 10 + 33 + 2 + 300 + 33 + 9


def test_many_nodes_at_once():
    pairs = [keys.new() for _ in range(8)]
    with hub(*pairs) as h:
        names = [node.name for node in h.nodes]
        for number in range(3):
            h.end.send(names, "task", number, seconds=5)
            for node in h.nodes:
                node.receive(Key("hub", "task", number), seconds=5)
                node.send("hub", "answer", number, seconds=5)
            for name in names:
                assert h.end.receive(Key(name, "answer", number), seconds=5)
        assert not h.end.refused
