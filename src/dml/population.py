"""The population: models of one architecture as one matrix X, [rows, P].

A row is a node's model, a walk, or anything else that is trained. The parameters and float buffers of its
module are views into the row, so local training changes X in place, an aggregation is X <- C X, and a
checkpoint is one array. Integer buffers (counters) stay with the modules. Frozen parameters, which are
neither trained nor averaged, are shared by all rows.

Beware: ``module.to(dtype)``, ``.double()``, ``.to(memory_format=...)`` and ``deepcopy`` silently give a
module its own parameters outside X; :meth:`Population.check_views` detects this.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dml import randomness

ALIGN = 16
"""P is padded to a multiple of this, so that every row starts on a cache line."""

CHUNK_BYTES = 4 << 20
"""Bytes of a chunk of columns: few compared to X, and no more than a shared cache."""

Start = tuple[int, int]
"""The key of a model's initial parameters: the seed of its experiment, and the number of its node."""


def starts(n: int, seed: int, *, same: bool = False) -> list[Start]:
    """The keys of the initial models of n nodes: all different, or all equal to that of node 0."""
    return [(seed, 0 if same else node) for node in range(n)]


class Population:
    """Models of one architecture in one matrix.

    Args:
        build: makes a model with torch's global generator.
        starts: the key of each row's initial model; equal keys give equal models.
        device: the accelerator.
        dtype: the dtype of X.
        frozen: the key of the model whose frozen parameters all rows share; by default that of the first row.

    Attributes:
        X: the matrix, [rows, P]; columns from ``size`` on are padding and stay 0.
        modules: for each row, a module whose trained parameters and float buffers are views into it.
        size: the count of numbers in the trained parameters and float buffers of one model.
        trained: the count of numbers in the trained parameters of one model, the first columns of X.
        tensors: the first column and the shape of each trained parameter; tied ones occur once.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        starts: Sequence[Start],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        frozen: Start | None = None,
    ) -> None:
        first = self._start(build, starts[0])
        self._columns = _columns(first)
        self.size = sum(tensor.numel() for tensor in _held(first))
        # The parameters come before the buffers.
        parameters = zip(self._columns, _trained(first), strict=False)
        self.tensors = [(start, shape) for (start, _, shape), _ in parameters]
        self.trained = sum(shape.numel() for _, shape in self.tensors)
        width = -(-self.size // ALIGN) * ALIGN
        self.X = torch.zeros(len(starts), width, device=device, dtype=dtype)
        if frozen not in (None, starts[0]) and _frozen(first):
            shared = self._start(build, frozen)
            for own, other in zip(_frozen(first), _frozen(shared), strict=True):
                own.data = other.data
        self.modules: list[nn.Module] = []
        for row, start in enumerate(starts):
            # Build a module for every row, even for equal keys, so that each has its own integer buffers.
            module = self._start(build, start) if row else first
            self.modules.append(self._into_row(module.to(device), row))

    @staticmethod
    def _start(build: Callable[[], nn.Module], start: Start) -> nn.Module:
        seed, node = start
        with torch.random.fork_rng(devices=[]):
            # Models are built on the CPU. torch.manual_seed would also seed every kind of accelerator, which
            # takes longer than building a small model.
            torch.default_generator.manual_seed(randomness.torch_seed(seed, "initial model", node))
            return build()

    def _into_row(self, module: nn.Module, row: int) -> nn.Module:
        with torch.no_grad():
            for tensor, (start, stop, shape) in zip(_held(module), self._columns, strict=True):
                view = self.X[row, start:stop].view(shape)
                view.copy_(tensor)
                tensor.data = view
            if row:
                for own, shared in zip(_frozen(module), _frozen(self.modules[0]), strict=True):
                    own.data = shared.data
        return module

    def check_views(self) -> None:
        """Raises RuntimeError if a parameter or float buffer of a module is no longer a view into X."""
        for row, module in enumerate(self.modules):
            for tensor, (start, _, shape) in zip(_held(module), self._columns, strict=True):
                home = self.X[row, start:]
                if (
                    tensor.data_ptr() != home.data_ptr()
                    or tensor.dtype != self.X.dtype
                    or tensor.shape != shape
                ):
                    raise RuntimeError(f"the module of row {row} has left the matrix X (.to() or deepcopy?)")

    def parameters(self, row: int) -> list[Tensor]:
        """The trained parameters of a row, tied ones once."""
        return _trained(self.modules[row])

    @torch.no_grad()
    def consensus_distance(self, rows: range | None = None) -> np.ndarray:
        """The Euclidean distance of each row's parameters to their mean over the rows, float32 [rows].

        Its root mean square is the consensus distance of Kong et al. (2021), eq. 1. Float buffers do not
        count.

        Args:
            rows: the rows to compare; by default all.
        """
        X = self.X if rows is None else self.X[rows.start : rows.stop]
        step = at_once(len(X), X)
        return distances(
            (X[:, k : min(k + step, self.trained)] for k in range(0, self.trained, step)), len(X)
        )

    def named(self, row: Tensor) -> dict[str, Tensor]:
        """Views into a row, as the trained parameters and float buffers of a model by name."""
        module = self.modules[0]
        names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        names += [name for name, buffer in module.named_buffers() if buffer.is_floating_point()]
        return {
            name: row[start:stop].view(shape)
            for name, (start, stop, shape) in zip(names, self._columns, strict=True)
        }

    def buffers(self) -> list[np.ndarray]:
        """The integer buffers of all rows for a checkpoint, one array [rows, ...] per buffer."""
        stacks = zip(
            *([b for b in m.buffers() if not b.is_floating_point()] for m in self.modules), strict=True
        )
        return [torch.stack(rows).cpu().numpy() for rows in stacks]

    @torch.no_grad()
    def load_buffers(self, arrays: list[np.ndarray]) -> None:
        """Gives every row the integer buffers that :meth:`buffers` returned."""
        for row, module in enumerate(self.modules):
            own = [b for b in module.buffers() if not b.is_floating_point()]
            for buffer, array in zip(own, arrays, strict=True):
                buffer.copy_(torch.from_numpy(np.asarray(array[row])))


def at_once(n: int, like: Tensor) -> int:
    """How many columns of n rows :func:`distances` takes at a time.

    Args:
        n: the number of rows.
        like: a tensor of the rows' type.
    """
    line = 64 // like.element_size()
    return max(line, CHUNK_BYTES // (like.element_size() * n) // line * line)


def distances(chunks: Iterable[Tensor], n: int) -> np.ndarray:
    """The Euclidean distance of each row to the mean of the rows, float32 [n].

    Args:
        chunks: the columns of the rows, one chunk after another, [n, columns] each.
        n: the number of rows.
    """
    squares = torch.zeros(n, dtype=torch.float64)
    for part in chunks:
        squares = squares.to(part.device)
        # Sum in float64: over many columns, float32 would lose small differences.
        squares += (part - part.mean(0)).square_().sum(1, dtype=torch.float64)
    found: np.ndarray = squares.sqrt().float().cpu().numpy()
    return found


def _trained(module: nn.Module) -> list[Tensor]:
    """The trained parameters in a fixed order; torch lists tied ones once."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _frozen(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in module.parameters() if not parameter.requires_grad]


def _held(module: nn.Module) -> list[Tensor]:
    """The tensors that a row holds: trained parameters and float buffers."""
    return [*_trained(module), *(b for b in module.buffers() if b.is_floating_point())]


def _columns(module: nn.Module) -> list[tuple[int, int, torch.Size]]:
    """The place of each tensor in a row: first column, last column + 1, shape."""
    result, start = [], 0
    for tensor in _held(module):
        result.append((start, start + tensor.numel(), tensor.shape))
        start += tensor.numel()
    return result
