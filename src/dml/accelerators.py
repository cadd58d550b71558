"""What models train on: the only module that names a vendor."""

import importlib
import os
import platform
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.errors import InputError

if TYPE_CHECKING:
    from dml.population import Population

CARDS = ("cuda", "xpu")
"""Accelerators with a memory of their own: NVIDIA's (and AMD's, which torch calls the same), Intel's."""

REPEATS = {"cpu": "always", "cuda": "enforced", "xpu": "where possible"}
"""How far a run on each type gives the same bits again, as :func:`prepare` sets torch; it is recorded.

torch refuses an operation that it has no repeatable form of, on NVIDIA's cards; no model or engine here needs
one (``tests/test_accelerators.py``). A mere warning would not do there: under it the backward pass of fused
attention stays as it is. On Intel's, where the list of such operations is another, it warns.
"""

IPEX = "intel_extension_for_pytorch"

_BF16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
"""Functions of torch.cpu that tell whether an x86 processor has instructions for products in bfloat16."""


def choose(name: str) -> torch.device:
    """The accelerator of a name: ``auto`` takes an NVIDIA (or AMD) card, then an Intel one, then the CPU.

    Which of a host's accelerators a worker sees is set from outside (CUDA_VISIBLE_DEVICES, ZE_AFFINITY_MASK),
    so the first visible one is the right one.

    Raises:
        InputError: no such accelerator here.
    """
    if name == "auto":
        return torch.device(
            "cuda:0" if torch.cuda.is_available() else "xpu:0" if torch.xpu.is_available() else "cpu"
        )
    here = ["cpu"]
    here += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    here += [f"xpu:{i}" for i in range(torch.xpu.device_count())]
    full = f"{name}:0" if name in CARDS else name
    if full not in here:
        raise InputError(
            "accelerator", name, f"there is none of that name here; there are: auto, {', '.join(here)}"
        )
    return torch.device(full)


def describe(device: torch.device) -> str:
    """The accelerator's name and model, for the record of a run."""
    card = _card(device)
    return f"{device} ({card.get_device_name(device)})" if card else "cpu"


def prepare(device: torch.device, deterministic: bool = True) -> str:
    """Sets torch for an accelerator, before anything is computed on it.

    The same bits in every run; and products of fp32 numbers in fp32, not TF32, which keeps 10 bits of each.
    The CPU needs nothing: with the same threads it does both.

    Args:
        device: what the models train on.
        deterministic: whether operations must give the same bits each time; only a benchmark says no.

    Returns:
        How far runs repeat, a value of :data:`REPEATS`, or ``not``.
    """
    if device.type not in CARDS:
        return REPEATS["cpu"]
    # cuBLAS reads it when it starts: with workspaces of other sizes its sums may come in any order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=device.type == "xpu")
    # Every new tensor would be filled with NaN first, so that whoever reads what he has not written sees it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if hasattr(torch.backends, "fp32_precision"):
        # For all libraries at once, since torch 2.9; the older switches must not be touched beside it.
        torch.backends.fp32_precision = "ieee"
    else:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return REPEATS[device.type] if deterministic else "not"


def emulates_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 are slower than in fp32, since the processor has no instructions for them.

    Only x86 processors are known to lack them; other CPUs and cards are taken to have them.
    """
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    # Both are private to torch (checked with 2.13); without them nothing is known.
    known = [getattr(torch.cpu, name, None) for name in _BF16]
    return all(known) and not any(has() for has in known if has is not None)


def free_memory(device: torch.device) -> int | None:
    """Bytes of the accelerator's own memory that can still be taken; None of the CPU, which has none.

    What torch has kept of tensors that are gone, as those of an earlier experiment, counts as free.
    """
    card = _card(device)
    if card is None:
        return None
    try:
        free = int(card.mem_get_info(device)[0])
    except RuntimeError:
        # Some drivers of Intel's do not tell.
        return int(card.get_device_properties(device).total_memory) - int(card.memory_allocated(device))
    return free + int(card.memory_reserved(device)) - int(card.memory_allocated(device))


def send(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on the accelerator, without waiting for what that still computes.

    Only memory that the system cannot move is copied so; a copy of any other waits until all work is done,
    and then nothing can be lined up behind it meanwhile.
    """
    tensor = torch.from_numpy(array)
    if device.type in CARDS:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def extension(device: torch.device) -> ModuleType:
    """Intel's extension for PyTorch, which its maker ended with version 2.8.

    Raises:
        InputError: it is not installed, does not fit this torch, or is not for this accelerator.
    """
    if device.type not in ("cpu", "xpu"):
        raise InputError("ipex", True, f"is for Intel's accelerators and CPUs, and this run is on {device}")
    try:
        return importlib.import_module(IPEX)
    except ModuleNotFoundError as error:
        if error.name != IPEX:
            raise
        right = f"needs the package {IPEX}, which is not installed; without --ipex torch itself is used"
        raise InputError("ipex", True, right) from None
    except (ImportError, OSError, AttributeError) as error:
        # That of a version for another torch ends in the last of them, by a mistake of its own.
        right = f"{IPEX} does not load beside torch {torch.__version__} ({error}); its versions must be equal"
        raise InputError("ipex", True, right) from None


def extend(ipex: ModuleType, population: "Population") -> None:
    """Hands the models to the extension, with everything off that would move or copy their parameters.

    Those are views into one matrix, and must stay it. What remains are the extension's own kernels, which it
    registers when it is imported.

    Args:
        ipex: what :func:`extension` gave.
        population: the models, on their accelerator.

    Raises:
        InputError: it has moved them all the same.
    """
    # Else the weights of convolutions are copied into another order, whatever the options say.
    ipex.disable_auto_channels_last()
    for module in population.modules:
        # It takes a model in training mode only together with an optimiser of torch.optim.
        if ipex.optimize(module.eval(), level="O0", inplace=True) is not module:
            raise InputError(
                "ipex", True, f"version {ipex.__version__} gives copies of the models; leave it out"
            )
    try:
        population.check_views()
    except RuntimeError:
        right = f"version {ipex.__version__} takes the models' parameters out of their matrix; leave it out"
        raise InputError("ipex", True, right) from None


def _card(device: torch.device) -> Any:
    """torch's module for a card, torch.cuda or torch.xpu, which have the same functions; None for the CPU."""
    return getattr(torch, device.type) if device.type in CARDS else None
