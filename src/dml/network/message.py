"""A message as frames and back: the header, and a body of tensors in the safetensors format.

The first frame holds the length of the header in 4 bytes, the header, and a small body. A large body is cut
into frames of at most 256 KiB, so that some are encrypted while others are under way. Joined, they are a file
that any program can read which reads safetensors.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dml.network.errors import WireError
from dml.network.header import Header
from dml.network.limits import CHUNK

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
"""The names of torch's types, and safetensors' names for them."""

_TYPES = {code: name for name, code in _CODES.items()}
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Message:
    """A message that was received.

    Args:
        header: what it is.
        tensors: its tensors by name.
        session: identifies the sender's process: after a restart it is another one.
    """

    header: Header
    tensors: "Mapping[str, Tensor]" = field(default_factory=dict)
    session: int = 0

    def tensor(
        self, name: str, shape: Sequence[int], dtype: "torch.dtype", *, finite: bool = False
    ) -> "Tensor":
        """A tensor of the message, if it is as it must be.

        Args:
            name: its name.
            shape: its shape.
            dtype: its type.
            finite: whether to refuse numbers that are not finite.

        Raises:
            WireError: there is none, or it differs; the error names what differs.
        """
        whose = f"{name} in {self.header.key} from {self.header.sender}"
        if name not in self.tensors:
            there = ", ".join(self.tensors) or "none"
            raise WireError("unexpected", f"{whose} is missing; there are: {there}")
        found = self.tensors[name]
        if found.dtype != dtype:
            raise WireError("unexpected", f"{whose} has the type {found.dtype} instead of {dtype}")
        if found.shape != tuple(shape):
            raise WireError(
                "unexpected", f"{whose} has the shape {list(found.shape)} instead of {list(shape)}"
            )
        if finite and not bool(found.isfinite().all()):
            raise WireError("unexpected", f"{whose} holds numbers that are not finite")
        return found

    def scalar(
        self, name: str, kind: type[bool] | type[int] | type[float] | type[str]
    ) -> bool | int | float | str:
        """A single value of the header, if it has the right type; an integer serves as a float.

        Raises:
            WireError: there is none, or it has another type.
        """
        found = self.header.scalars.get(name)
        if kind is float and type(found) is int:
            return float(found)
        if type(found) is not kind:
            whose = f"{name} in {self.header.key} from {self.header.sender}"
            raise WireError("unexpected", f"{whose} must be one value of the type {kind.__name__}")
        return found


_SMALL = 2**15
"""The largest number of bytes in a body that is put into the first frame, which saves the cost of another."""


def encode(header: Header, tensors: "Mapping[str, Tensor] | None" = None) -> list[bytes | memoryview]:
    """The frames of a message. The tensors are copied: they may change as soon as this returns.

    Args:
        header: what the message is.
        tensors: by name, on any device.

    Raises:
        WireError: the header is too large, or a tensor has a type that is not sent.
    """
    text = header.to_json()
    first = len(text).to_bytes(4, "little") + text
    body = _body(tensors) if tensors else memoryview(b"")
    if len(body) <= _SMALL:
        return [first + body]
    return [first, *(body[start : start + CHUNK] for start in range(0, len(body), CHUNK))]


def read_header(first: bytes) -> tuple[Header, bytes]:
    """The header of a message, and what follows it in the first frame.

    Args:
        first: the first frame.

    Raises:
        WireError: it is damaged.
    """
    size = int.from_bytes(first[:4], "little")
    if size > len(first) - 4:
        raise WireError("damaged", "the first frame is shorter than its header")
    return Header.from_json(first[4 : 4 + size]), first[4 + size :]


def decode(header: Header, body: Sequence[bytes | memoryview], session: int = 0) -> Message:
    """The message of a header and the frames of a body.

    Args:
        header: what the message is.
        body: the parts that follow the header; empty if there are no tensors.
        session: identifies the sender's process.

    Raises:
        WireError: the body is not in the safetensors format, or holds a type that is not sent.
    """
    if not any(map(len, body)):
        return Message(header, session=session)
    import safetensors
    import torch

    try:
        parts = safetensors.deserialize(b"".join(body))
    except safetensors.SafetensorError as error:
        raise WireError("damaged", f"the tensors of {header.key}: {error}") from None
    tensors = {}
    for name, part in parts:
        if part["dtype"] not in _TYPES:
            raise WireError("damaged", f"{name} in {header.key} has the type {part['dtype']}")
        dtype = getattr(torch, _TYPES[part["dtype"]])
        empty = math.prod(part["shape"]) == 0
        flat = torch.empty(0, dtype=dtype) if empty else torch.frombuffer(part["data"], dtype=dtype)
        try:
            tensors[name] = flat.reshape(part["shape"])
        except (RuntimeError, TypeError):  # As for [0, 2**64 - 1], which safetensors takes.
            raise WireError("damaged", f"{name} in {header.key} has a shape that cannot be") from None
    return Message(header, tensors, session)


def _body(tensors: "Mapping[str, Tensor]") -> memoryview:
    """The bytes of a safetensors file: the length of its table, the table in JSON, and the numbers."""
    import torch

    parts, table, end = [], {}, 0
    for name, tensor in tensors.items():
        code = _CODES.get(str(tensor.dtype).removeprefix("torch."))
        if code is None or name == _METADATA:
            raise WireError("unexpected", f"tensor {name} of type {tensor.dtype} cannot be sent")
        whole = tensor.detach().cpu().contiguous()
        if whole.numel() <= 1:
            # None or one count as contiguous, whatever their strides are, and a view needs a stride of 1.
            whole = whole.clone(memory_format=torch.contiguous_format)
        flat = whole.reshape(-1).view(torch.uint8).numpy()
        table[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [end, end + flat.size]}
        parts.append(flat.data)
        end += flat.size
    head = json.dumps(table, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return memoryview(b"".join([len(head).to_bytes(8, "little"), head, *parts]))
