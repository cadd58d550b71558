"""Accelerators, on which models train. This is the only module that names a vendor."""

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
"""Accelerators with their own memory: NVIDIA's (and AMD's, under the same name in torch) and Intel's."""

REPEATS = {"cpu": "always", "cuda": "enforced", "xpu": "where possible"}
"""Whether a repeated run gives the same bits on each type, after :func:`prepare`; result files record it.

On NVIDIA's cards torch refuses operations without a deterministic form; no model or engine here needs one
(``tests/test_accelerators.py``). A warning would not be enough, because torch then keeps the ordinary
backward pass of fused attention. On Intel's cards, which have a different list of such operations, torch
warns.
"""

IPEX = "intel_extension_for_pytorch"

_BF16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
"""Functions of torch.cpu that tell whether an x86 processor has instructions for products in bfloat16."""


TRANSPORTS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl", "xpu": "cpu:gloo,xpu:xccl"}
"""What processes send tensors with that lie on each type, in the words of torch.distributed."""


def choose(name: str, place: int = 0, places: int = 1, *, shown: bool = False) -> torch.device:
    """The accelerator with a name; ``auto`` prefers an NVIDIA (or AMD) card, then an Intel one, then the CPU.

    The environment (CUDA_VISIBLE_DEVICES, ZE_AFFINITY_MASK) decides which of a host's accelerators a worker
    sees, so the first visible one is the right one.

    Args:
        name: ``auto``, or a type with or without a number.
        place: of this process among those on this host that share an experiment, from 0.
        places: how many these are; each of them takes a card of its own.
        shown: whether a launcher may have hidden the other cards from this process.

    Raises:
        InputError: there is no such accelerator on this machine, or there are fewer than processes.
    """
    if places > 1:
        return _one_each(choose(name), name, place, places, shown)
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
            "accelerator", name, f"is not on this machine; choose one of: auto, {', '.join(here)}"
        )
    return torch.device(full)


def _one_each(first: torch.device, name: str, place: int, places: int, shown: bool) -> torch.device:
    """The accelerator of one of several processes, where the first one would take a certain one."""
    if first.type not in CARDS:
        return first
    count = _card(first).device_count()
    if ":" in name:
        raise InputError("accelerator", name, f"is a single one for {places} processes; give {first.type}")
    if count < places and not (shown and count == 1):
        raise InputError("shards", places, f"this machine has {count} accelerators of the type {first.type}")
    return torch.device(first.type, place % count)


def describe(device: torch.device) -> str:
    """The accelerator's name and model, for the record of a run."""
    card = _card(device)
    return f"{device} ({card.get_device_name(device)})" if card else "cpu"


def prepare(device: torch.device, deterministic: bool = True) -> str:
    """Sets torch for an accelerator, before anything is computed on it.

    Every run then gives the same bits, and products of fp32 numbers are computed in fp32 instead of TF32,
    which keeps only 10 bits of each. On the CPU both hold without settings, for the same number of threads.

    Args:
        device: the accelerator.
        deterministic: whether operations must give the same bits each time; False only in benchmarks.

    Returns:
        Whether runs repeat: a value of :data:`REPEATS`, or ``not``.
    """
    if device.type not in CARDS:
        return REPEATS["cpu"]
    # cuBLAS reads this when it starts. With other sizes of workspaces, its sums may be in any order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=device.type == "xpu")
    # Otherwise torch would fill every new tensor with NaN, to reveal reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if hasattr(torch.backends, "fp32_precision"):
        # Since torch 2.9 this sets all libraries at once; the older switches must not be used along with it.
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
    """Free bytes of the accelerator's own memory; None for the CPU, which has none.

    Memory that torch caches from deleted tensors, such as those of an earlier experiment, counts as free.
    """
    card = _card(device)
    if card is None:
        return None
    try:
        free = int(card.mem_get_info(device)[0])
    except RuntimeError:
        # Some of Intel's drivers do not report the free memory.
        return int(card.get_device_properties(device).total_memory) - int(card.memory_allocated(device))
    return free + int(card.memory_reserved(device)) - int(card.memory_allocated(device))


def send(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copies an array to a tensor on the accelerator, without waiting for the work that it still has to do.

    Such a copy needs pinned memory. From any other memory it would wait until all earlier work is done, and
    no further work could be queued meanwhile.
    """
    tensor = torch.from_numpy(array)
    if device.type in CARDS:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def extension(device: torch.device) -> ModuleType:
    """The module of Intel's extension for PyTorch, which Intel discontinued after version 2.8.

    Raises:
        InputError: it is not installed, does not fit this torch, or does not support this accelerator.
    """
    if device.type not in ("cpu", "xpu"):
        raise InputError("ipex", True, f"is for Intel's accelerators and CPUs, and this run is on {device}")
    try:
        return importlib.import_module(IPEX)
    except ModuleNotFoundError as error:
        if error.name != IPEX:
            raise
        right = f"needs the package {IPEX}, which is not installed; leave it out to use torch itself"
        raise InputError("ipex", True, right) from None
    except (ImportError, OSError, AttributeError) as error:
        # A version for another torch raises AttributeError, because of a bug in the extension.
        right = f"{IPEX} does not load with torch {torch.__version__} ({error}); their versions must match"
        raise InputError("ipex", True, right) from None


def extend(ipex: ModuleType, population: "Population") -> None:
    """Prepares the models with the extension, without options that would move or copy their parameters.

    The parameters must remain views into one matrix. The benefit that remains is from the extension's own
    kernels, which it registers when it is imported.

    Args:
        ipex: the module from :func:`extension`.
        population: the models, on their accelerator.

    Raises:
        InputError: the extension has moved the parameters in spite of this.
    """
    # Otherwise it copies the weights of convolutions into another layout, whatever the options are.
    ipex.disable_auto_channels_last()
    for module in population.modules:
        # It accepts a model in training mode only together with an optimiser of torch.optim.
        if ipex.optimize(module.eval(), level="O0", inplace=True) is not module:
            raise InputError("ipex", True, f"version {ipex.__version__} copies the models; leave it out")
    try:
        population.check_views()
    except RuntimeError:
        right = f"version {ipex.__version__} moves the models' parameters; leave it out"
        raise InputError("ipex", True, right) from None


def _card(device: torch.device) -> Any:
    """The module of a card: torch.cuda or torch.xpu, which have the same functions; None for the CPU."""
    return getattr(torch, device.type) if device.type in CARDS else None
