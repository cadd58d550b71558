"""What models train on: the only module that names a vendor."""

import torch

from dml.errors import InputError


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
    full = f"{name}:0" if name in ("cuda", "xpu") else name
    if full not in here:
        raise InputError(
            "accelerator", name, f"there is none of that name here; there are: auto, {', '.join(here)}"
        )
    return torch.device(full)


def describe(device: torch.device) -> str:
    """The accelerator's name and model, for the record of a run."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "xpu":
        return f"{device} ({torch.xpu.get_device_name(device)})"
    return "cpu"
