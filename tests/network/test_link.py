"""What a link knows about the messages with one contact."""

import random

import pytest
from wires import PAIR

from dml.network import link as links
from dml.network.contacts import Contact
from dml.network.envelope import Envelope, Sort
from dml.network.header import Key
from dml.network.limits import Limits
from dml.network.link import Link


@pytest.fixture
def link():
    return Link(
        Contact("a", None, PAIR.public), 7, Limits(unconfirmed=3, unconfirmed_bytes=100, kept=2, kept_bytes=9)
    )


def test_numbers_that_come_in_any_order_and_twice_are_confirmed_when_all_below_are_there(link):
    numbers = [*range(50), *range(0, 50, 3)]
    random.Random(0).shuffle(numbers)
    came = set()
    for number in numbers:
        assert link.is_new(number) == (number not in came)
        if number not in came:
            link.arrived(number, 1)
        came.add(number)
        below = next(n for n in range(51) if n not in came)
        assert Envelope.unpack(link.envelope(Sort.CONFIRMATION)).confirmed == below


def test_there_is_room_until_as_many_messages_or_bytes_are_unconfirmed(link):
    link.sent([b"x" * 60])
    assert link.has_room(40)
    assert not link.has_room(41)
    link.confirm(8, 1)  # Another session.
    assert not link.has_room(41)
    link.confirm(7, 1)
    assert link.has_room(10**9)  # One message may take more.
    for _ in range(3):
        assert link.has_room(1)
        link.sent([b"x"])
    assert not link.has_room(1)


def test_only_what_was_sent_before_the_break_and_is_unconfirmed_is_sent_again(link):
    for byte in (b"0", b"1", b"2"):
        link.sent([byte])
    link.doubt()
    link.confirm(7, 1)
    link.sent([b"3"])
    link.repeat_what_is_doubtful()
    again = []
    while found := link.to_send_again():
        again.append(found)
        link.sent_again()
    assert again == [(1, [b"1"]), (2, [b"2"])]


def test_a_contact_with_an_address_is_connected_while_our_own_connection_stands(link):
    """That of a process that has ended stays known until something is sent over it."""
    with_address = Link(Contact("b", "tcp://127.0.0.1:5555", PAIR.public), 7, Limits())
    for one in (link, with_address):
        assert not one.is_connected
        one.route = b"\x01b"
    assert link.is_connected
    assert not with_address.is_connected
    with_address.connected = True
    assert with_address.is_connected


def test_a_contact_that_begins_anew_is_met_with_nothing(link):
    assert not link.meet(3)
    link.sent([b"x"])
    link.arrived(0, 1)
    assert not link.meet(3)
    assert link.unconfirmed() == 1
    assert link.meet(4)
    assert link.unconfirmed() == 0
    assert link.is_new(0)
    # The successor learns that the number 0 does not come.
    assert Envelope.unpack(link.envelope(Sort.CONFIRMATION)).number == 1


def test_a_message_that_its_repetition_has_overtaken_is_expected_once(link):
    link.arrived(1, 1, repeated=True)
    link.arrived(0, 1)
    assert link.arrived_again(1, repeated=True)
    assert link.arrived_again(1, repeated=False)
    assert not link.arrived_again(1, repeated=False)
    assert link.arrived_again(0, repeated=True)
    assert not link.arrived_again(0, repeated=False)


def test_a_key_is_expected_again_once_if_the_first_message_was_for_the_last_process(link):
    for number, meant in enumerate([0, 6, 7]):  # Unknown, the process before, and this one.
        assert link.first_time(Key("a", "model", number), meant)
        assert not link.first_time(Key("a", "model", number), 7)
    assert [link.is_sent_anew(Key("a", "model", number)) for number in range(3)] == [False, True, False]
    assert not link.is_sent_anew(Key("a", "model", 1))


def test_what_is_remembered_is_bounded(link, monkeypatch):
    monkeypatch.setattr(links, "_MOST_AHEAD", 10)
    monkeypatch.setattr(links, "_REMEMBERED", 10)
    for number in range(1, 11):
        assert link.is_sound(number)
        link.arrived(number, 1)
    assert not link.is_sound(11)
    assert link.is_sound(0)
    for number in range(30):
        assert link.first_time(Key("a", "model", number), 6)
    assert not link.first_time(Key("a", "model", 29), 7)
    assert len(link._seen) == len(link._early) == 10
    for number in range(30):
        link.arrived(number, 1, repeated=True)
    assert len(link._overtaken) == 10
    for session in range(1, 31):
        link.meet(session)
    assert list(link.former) == list(range(20, 30))
    assert link.has_place(100)
    link.kept[Key("a", "model")] = 5
    assert link.has_place(4)
    assert not link.has_place(5)
