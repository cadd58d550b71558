"""Messages as bytes: they are safetensors files, come back as they were, and anything else is refused."""

import contextlib
import json
import pickle

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from dml.network.errors import WireError
from dml.network.header import Header
from dml.network.limits import CHUNK
from dml.network.message import _CODES, decode, encode, read_header

HEADER = Header(run="r", sender="node 1", kind="model", number=3)


def table(**values):
    """A body with one tensor without numbers."""
    text = json.dumps({"x": {"dtype": "F32", **values}}).encode()
    return len(text).to_bytes(8, "little") + text


def there_and_back(tensors):
    first, *more = encode(HEADER, tensors)
    header, rest = read_header(first)
    return decode(header, [rest, *more])


@pytest.mark.parametrize("name", _CODES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_tensors_of_all_types_and_shapes_come_back_bit_for_bit(name, shape):
    dtype = getattr(torch, name)
    x = (10 * torch.rand(shape)).to(dtype)
    got = there_and_back({"x": x, "y": torch.ones(3)})
    assert torch.equal(got.tensor("x", shape, dtype), x)
    assert got.tensor("y", (3,), torch.float32).tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0,), (3, 0)])
def test_tensors_of_at_most_one_number_come_back_whatever_their_strides_are(shape):
    x = torch.tensor([7.0]).as_strided(shape, [0] * len(shape))
    assert torch.equal(there_and_back({"x": x}).tensor("x", shape, torch.float32), x)


def test_the_body_is_a_safetensors_file_in_chunks():
    tensors = {"flags": torch.tensor([True]), "x": torch.rand(100_000), "y": torch.rand(3, 2).t()}
    frames = encode(HEADER, tensors)
    assert all(len(frame) <= CHUNK for frame in frames)
    read = safetensors.torch.load(b"".join(frames[1:]))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_what_safetensors_writes_is_read():
    tensors = {"x": torch.rand(7), "n": torch.arange(3)}
    got = decode(HEADER, [safetensors.torch.save(tensors)])
    assert all(torch.equal(got.tensors[name], tensors[name]) for name in tensors)


def test_a_tensor_that_differs_is_refused_and_the_difference_named():
    got = there_and_back({"x": torch.tensor([1.0, float("nan")])})
    got.tensor("x", (2,), torch.float32)
    for wrong, words in [
        (("y", (2,), torch.float32), "y in model 3, phase 0 from node 1 is missing; there are: x"),
        (("x", (2,), torch.float64), r"has the type torch.float32 instead of torch.float64"),
        (("x", (2, 1), torch.float32), r"has the shape \[2\] instead of \[2, 1\]"),
    ]:
        with pytest.raises(WireError, match=words):
            got.tensor(*wrong)
    with pytest.raises(WireError, match="not finite"):
        got.tensor("x", (2,), torch.float32, finite=True)


@pytest.mark.parametrize(
    "body",
    [
        pickle.dumps({"x": [1]}),
        (2**32).to_bytes(8, "little") + b"{}",
        (2**63).to_bytes(8, "little") + b"{}",
        b"\2\0\0\0\0\0\0\0{}surplus",
        table(shape=[0, 2**64 - 1], data_offsets=[0, 0]),
        table(shape=[2**62, 2**62], data_offsets=[0, 0]),
        b'\x3a\0\0\0\0\0\0\0{"x":{"dtype":"F32","shape":[1000],"data_offsets":[0,4]}} 1234',
    ],
)
def test_bodies_that_are_none_are_refused(body):
    with pytest.raises(WireError, match="damaged"):
        decode(HEADER, [body])


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_damaged_body_is_refused_or_read_but_never_fails_otherwise(noise, place):
    body = read_header(encode(HEADER, {"x": torch.ones(9)})[0])[1]
    for damaged in (noise, body[:place] + noise + body[place + len(noise) :], body[:place]):
        with contextlib.suppress(WireError):
            decode(HEADER, [damaged])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the whole"),
        (b"null", "the whole"),
        (b'{"run":"r","sender":"a"}', "kind"),
        (b'{"run":"r","sender":"a","kind":"k","more":1}', "more"),
        (b'{"run":"r","sender":"a","kind":"k","number":"1"}', "number"),
        (b'{"run":"r","sender":"a","kind":"k","number":-1}', "number"),
        (b'{"run":"r","sender":"a","kind":"k","scalars":{"loss":NaN}}', "scalars.loss"),
        (b'{"run":"r","sender":"a","kind":"k","scalars":{"loss":1e999}}', "scalars.loss"),
        (b'{"run":"r","sender":"a","kind":"k","scalars":{"loss":{}}}', "scalars.loss"),
        (b"[" * 50_000, "the whole"),
        (b'{"run":"' + b"r" * 200 + b'","sender":"a","kind":"k"}', "run"),
    ],
)
def test_headers_that_are_none_are_refused_by_field(text, words):
    with pytest.raises(WireError, match=f"damaged: header, {words}"):
        Header.from_json(text)


def test_a_header_has_a_largest_size_both_ways():
    with pytest.raises(WireError, match="too large"):
        Header.from_json(b" " * 70_000)
    with pytest.raises(WireError, match="too large"):
        Header(run="r", sender="a", kind="k", scalars={"x": "y" * 70_000}).to_json()


def test_scalars_come_back_with_their_types():
    scalars = {"a": True, "b": 1, "c": 1.0, "d": "1", "e": [1, 2.5, "x", False], "f": 0.1}
    back = Header.from_json(Header(run="r", sender="a", kind="k", scalars=scalars).to_json())
    assert back.scalars == scalars
    assert [type(value) for value in back.scalars.values()] == [bool, int, float, str, list, float]
