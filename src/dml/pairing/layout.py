"""Where the numbers of a model are when they stand in a row: trained parameters, then float buffers.

One row for each type of numbers, as a model may have several. Peers exchange rows in pieces, so that no
single step of the thread that sends and receives takes long.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Rows = dict[torch.dtype, Tensor]
    """A row of numbers for each type."""

PIECE = 2**18
"""The largest number of bytes in a piece."""


@dataclass(frozen=True)
class Piece:
    """Part of a row: its type, and its first and last place."""

    dtype: "torch.dtype"
    start: int
    stop: int


@dataclass(frozen=True)
class _Place:
    """Where a tensor is: in the model, and in the row of its type."""

    module: "nn.Module"
    key: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def tensor(self) -> "Tensor":
        # It is looked up each time, as model.to(...) puts other tensors into the place of buffers.
        found: Tensor = getattr(self.module, self.key).detach()
        return found


class Layout:
    """The places of the numbers that peers exchange.

    Frozen parameters and counters are not exchanged. Buffers that are no part of the state of the model
    (``persistent=False``) are not either.

    Args:
        model: whose numbers; it may be wrapped by ``DataParallel`` or ``torch.compile``.

    Raises:
        ValueError: a trained parameter is not of the type float64, float32, float16 or bfloat16, or there is
            none.
    """

    def __init__(self, model: "nn.Module") -> None:
        import torch

        known = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        self._places: dict[torch.dtype, list[_Place]] = {}
        names, taken = [], set()
        sizes: dict[torch.dtype, int] = {}
        for name, module, key, tensor in _exchanged(_inner(model)):
            if id(tensor) in taken:
                continue
            taken.add(id(tensor))
            if tensor.dtype not in known:
                raise ValueError(
                    f"{name} has the type {tensor.dtype}; peers exchange floats of 16, 32 or 64 bits"
                )
            start = sizes.get(tensor.dtype, 0)
            stop = sizes[tensor.dtype] = start + tensor.numel()
            place = _Place(module, key, tuple(tensor.shape), start, stop)
            self._places.setdefault(tensor.dtype, []).append(place)
            names.append([name, str(tensor.dtype), *tensor.shape])
        if not names:
            raise ValueError("the model has no trained parameters and no buffers of floats")
        self.sizes = sizes
        self.code = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]
        """Equal for models whose tensors have the same names, types and shapes."""
        self.pieces = [
            Piece(dtype, start, min(start + step, size))
            for dtype, size in sizes.items()
            for step in [PIECE // dtype.itemsize]
            for start in range(0, max(size, 1), step)
        ]

    def rows(self) -> "Rows":
        """New rows. All of their memory is there at once, so that nobody waits for it later."""
        import torch

        return {dtype: torch.zeros(size, dtype=dtype).fill_(0) for dtype, size in self.sizes.items()}

    def copy_to(self, rows: "Rows") -> None:
        """Copies the numbers of the model into rows."""
        import torch

        with torch.no_grad():
            for dtype, places in self._places.items():
                parts = [place.tensor.reshape(-1) for place in places]
                devices = {part.device for part in parts}
                if devices == {rows[dtype].device}:
                    torch.cat(parts, out=rows[dtype])
                else:
                    # One large copy from an accelerator takes less time than many small ones.
                    rows[dtype].copy_(
                        torch.cat(parts if len(devices) == 1 else [part.cpu() for part in parts])
                    )

    def mix(self, rows: "Rows", share: float) -> None:
        """Moves each number of the model by a share of the way to that of the rows.

        Args:
            rows: of another model.
            share: f, in [0, 1].
        """
        import torch

        with torch.no_grad():
            for dtype, places in self._places.items():
                for place in places:
                    tensor = place.tensor
                    other = rows[dtype][place.start : place.stop].view(place.shape)
                    tensor.lerp_(other.to(tensor.device), share)


def _inner(model: "nn.Module") -> "nn.Module":
    """The model without wrappers, which put a prefix before the names of its tensors."""
    import torch

    wrappers = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while True:
        inner = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", model)
        if inner is model:
            return model
        model = inner


def _exchanged(model: "nn.Module") -> "Iterator[tuple[str, nn.Module, str, Tensor]]":
    """Name, module, name within the module, and tensor: trained parameters, then float buffers."""
    for path, module in model.named_modules():
        for key, tensor in module.named_parameters(recurse=False):
            if tensor.requires_grad:
                yield f"{path}.{key}", module, key, tensor
    for path, module in model.named_modules():
        for key, tensor in module.named_buffers(recurse=False):
            if tensor.is_floating_point() and key not in module._non_persistent_buffers_set:
                yield f"{path}.{key}", module, key, tensor


# numpy computes in the calling thread. torch would start threads for large pieces, which take the cores of
# the thread that trains.


def finite(numbers: "Tensor") -> bool:
    """Whether all numbers of a piece are finite."""
    import numpy as np
    import torch

    if numbers.dtype == torch.bfloat16:
        exponents = numbers.view(torch.int16).numpy() & 0x7F80
        return bool((exponents != 0x7F80).all())
    return bool(np.isfinite(numbers.numpy()).all())


def copy(numbers: "Tensor", into: "Tensor") -> None:
    """Copies a piece."""
    import numpy as np
    import torch

    np.copyto(into.view(torch.uint8).numpy(), numbers.view(torch.uint8).numpy())
