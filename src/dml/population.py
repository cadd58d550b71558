"""The population: all nodes' models as one matrix X, [n, P].

Row i is node i's model: its module's parameters and float buffers are views into the row, so local
training changes X in place, an aggregation is X <- C X, and a checkpoint is one array. Integer buffers
(counters) stay with the modules.

Beware: ``module.to(dtype)``, ``.double()``, ``.to(memory_format=..)`` and ``deepcopy`` silently give a
module parameters of its own, outside X; :meth:`Population.check_views` finds that out.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dml import mixing, randomness

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ALIGN = 16
"""P is padded to a multiple of this, so that every row starts on a cache line."""

CHUNK_BYTES = 4 << 20
"""Size of a chunk of columns: small beside X, and no larger than a shared cache."""


class Population:
    """n models of one architecture in one matrix.

    Args:
        build: makes a model from torch's global generator.
        n: number of nodes.
        seed: the experiment's seed; models are keyed by (seed, node).
        same: all nodes start from one model, that of node 0.
        device: what the models train on.
        dtype: of X.

    Attributes:
        X: the matrix, [n, P]; columns ``size ..`` are padding and stay 0.
        modules: n modules whose parameters and float buffers are views into the rows of X.
        size: parameters and float buffers of one model, without the padding.
        trained: parameters of one model, which are the first columns of X.
        tensors: first column and shape of each parameter, tied ones once and float buffers left out.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        n: int,
        seed: int,
        *,
        same: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        first = self._start(build, seed, 0)
        self._columns = _columns(first)
        self.size = sum(tensor.numel() for tensor in _floats(first))
        # The parameters stand before the buffers.
        parameters = zip(self._columns, first.parameters(), strict=False)
        self.tensors = [(start, shape) for (start, _, shape), _ in parameters]
        self.trained = sum(shape.numel() for _, shape in self.tensors)
        width = -(-self.size // ALIGN) * ALIGN
        self.X = torch.zeros(n, width, device=device, dtype=dtype)
        self.modules: list[nn.Module] = []
        for node in range(n):
            # Every node's module is built from its own key, even where all start the same, so that
            # each has modules and integer buffers of its own.
            module = first if node == 0 else self._start(build, seed, 0 if same else node)
            self.modules.append(self._into_row(module.to(device), node))

    @staticmethod
    def _start(build: Callable[[], nn.Module], seed: int, node: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            # Models are built on the CPU. torch.manual_seed would seed every kind of accelerator too, which
            # takes longer than a small model.
            torch.default_generator.manual_seed(randomness.torch_seed(seed, "initial model", node))
            return build()

    def _into_row(self, module: nn.Module, node: int) -> nn.Module:
        with torch.no_grad():
            for tensor, (start, stop, shape) in zip(_floats(module), self._columns, strict=True):
                view = self.X[node, start:stop].view(shape)
                view.copy_(tensor)
                tensor.data = view
        return module

    def check_views(self) -> None:
        """Raises RuntimeError if a parameter or float buffer of a module is no longer a view into X."""
        for node, module in enumerate(self.modules):
            for tensor, (start, _, shape) in zip(_floats(module), self._columns, strict=True):
                home = self.X[node, start:]
                if (
                    tensor.data_ptr() != home.data_ptr()
                    or tensor.dtype != self.X.dtype
                    or tensor.shape != shape
                ):
                    raise RuntimeError(
                        f"the module of node {node} has left the matrix X (.to() or deepcopy?)"
                    )

    def parameters(self, node: int) -> list[Tensor]:
        """The trainable parameters of a node, tied ones once."""
        return [p for p in self.modules[node].parameters() if p.requires_grad]

    @torch.no_grad()
    def mix(self, C: "csr_array") -> None:
        """X <- C X, in place; rows of C that are rows of I leave theirs untouched.

        Args:
            C: coefficients, [n, n], float64; they are rounded to X's type.
        """
        mixing.mix(self.X, C)

    @torch.no_grad()
    def consensus_distance(self) -> np.ndarray:
        """Euclidean distance of each node's parameters to their mean over all nodes, [n] float32.

        The root of the mean of its squares is the consensus distance of Kong et al. (2021), eq. 1. Float
        buffers do not count.
        """
        squares = torch.zeros(len(self.X), dtype=torch.float64, device=self.X.device)
        chunk = mixing.columns_of(CHUNK_BYTES, self.X)
        for start in range(0, self.trained, chunk):
            part = self.X[:, start : min(start + chunk, self.trained)]
            # The sums are over many columns, where float32 would lose what a few differ by.
            squares += (part - part.mean(0)).square_().sum(1, dtype=torch.float64)
        distance: np.ndarray = squares.sqrt().float().cpu().numpy()
        return distance

    def named(self, row: Tensor) -> dict[str, Tensor]:
        """A row like those of X as parameters and float buffers by name, which are views into it."""
        module = self.modules[0]
        names = [name for name, _ in module.named_parameters()]
        names += [name for name, buffer in module.named_buffers() if buffer.is_floating_point()]
        return {
            name: row[start:stop].view(shape)
            for name, (start, stop, shape) in zip(names, self._columns, strict=True)
        }

    def buffers(self) -> list[np.ndarray]:
        """The integer buffers of all nodes, one array [n, ..] each, for a checkpoint."""
        stacks = zip(
            *([b for b in m.buffers() if not b.is_floating_point()] for m in self.modules), strict=True
        )
        return [torch.stack(nodes).cpu().numpy() for nodes in stacks]

    @torch.no_grad()
    def load_buffers(self, arrays: list[np.ndarray]) -> None:
        """Gives every node the integer buffers that :meth:`buffers` returned."""
        for node, module in enumerate(self.modules):
            own = [b for b in module.buffers() if not b.is_floating_point()]
            for buffer, array in zip(own, arrays, strict=True):
                buffer.copy_(torch.from_numpy(np.asarray(array[node])))


def _floats(module: nn.Module) -> list[Tensor]:
    """Parameters and float buffers in a fixed order; torch names tied ones once."""
    return [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]


def _columns(module: nn.Module) -> list[tuple[int, int, torch.Size]]:
    """Where each tensor lies in a row: first column, last column + 1, shape."""
    result, start = [], 0
    for tensor in _floats(module):
        result.append((start, start + tensor.numel(), tensor.shape))
        start += tensor.numel()
    return result
