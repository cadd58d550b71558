"""Arrivals of messages against times by hand, and against a plain second implementation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dml.clock.transfers import Transfers


def test_without_limits_a_message_arrives_at_once():
    for half in (False, True):
        links = Transfers(3, 0.0, None, half)
        assert [links.arrival(0, 1, 10**9, 2.5) for _ in range(3)] == [2.5] * 3
        assert links.state()["links"].size == 0


def test_latency_occupies_nothing():
    links = Transfers(3, 0.5, None, half=True)
    assert [links.arrival(0, 1, 10**9, 2.0) for _ in range(3)] == [2.5] * 3


def test_a_directed_link_carries_one_message_at_a_time():
    links = Transfers(3, 0.5, 100.0, half=False)
    assert links.arrival(0, 1, 200, 1.0) == 3.5
    # The second message waits until the first one has crossed, at 3.0, not until it has arrived.
    assert links.arrival(0, 1, 100, 1.5) == 4.5
    # The other direction and other links are free.
    assert links.arrival(1, 0, 200, 1.5) == 4.0
    assert links.arrival(0, 2, 200, 1.5) == 4.0
    # The link has been free again since 4.0.
    assert links.arrival(0, 1, 100, 10.0) == 11.5


def test_with_half_duplex_a_message_occupies_both_ports():
    links = Transfers(4, 0.5, 100.0, half=True)
    assert links.arrival(0, 1, 200, 1.0) == 3.5
    # Both directions wait for the ports of 0 and 1, which are free at 3.0.
    assert links.arrival(1, 0, 200, 1.5) == 5.5
    # 2 and 3 have nothing to do with them; then 3 to 0 waits for the port of 0, free at 5.0.
    assert links.arrival(2, 3, 100, 1.5) == 3.0
    assert links.arrival(3, 0, 100, 2.0) == 6.5


messages = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 500), st.floats(0, 3)), max_size=40
)


def by_a_loop_over_links(sent, latency, bandwidth, half):
    """All intervals in which messages occupy something; each begins after those of what it needs."""
    occupied, arrivals, now = [], [], 0.0
    for sender, receiver, size, pause in sent:
        now += pause
        needs = {sender, receiver} if half else {(sender, receiver)}
        begin = max([now, *(end for what, end in occupied if what & needs)])
        occupied.append((needs, begin + size / bandwidth))
        arrivals.append(begin + size / bandwidth + latency)
    return arrivals


@given(messages, st.booleans())
def test_arrivals_are_those_of_a_loop_over_links(sent, half):
    links, now, arrivals = Transfers(4, 0.25, 64.0, half), 0.0, []
    for sender, receiver, size, pause in sent:
        now += pause
        arrivals.append(links.arrival(sender, receiver, size, now))
    assert arrivals == by_a_loop_over_links(sent, 0.25, 64.0, half)


@given(messages, messages, st.booleans())
def test_a_restored_state_continues_with_the_same_times(before, after, half):
    links, again = (Transfers(4, 0.25, 64.0, half) for _ in range(2))
    for sender, receiver, size, _ in before:
        links.arrival(sender, receiver, size, 1.0)
    again.load_state(links.state())
    for sender, receiver, size, _ in after:
        assert again.arrival(sender, receiver, size, 2.0) == links.arrival(sender, receiver, size, 2.0)


@pytest.mark.parametrize(
    ("links", "times"), [([0, 1], [1.0]), ([16], [1.0]), ([-1], [1.0]), ([[0]], [[1.0]])]
)
def test_a_state_of_other_links_is_refused(links, times):
    with pytest.raises(ValueError, match="do not fit 4 nodes"):
        Transfers(4, 0, 1, half=False).load_state(
            {"links": np.array(links), "busy_until": np.array(times, np.float64)}
        )
