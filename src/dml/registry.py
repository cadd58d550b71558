"""Tables of parts by name. The module that describes a part is imported when the part is first used."""

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Generic, TypeVar

Part = TypeVar("Part")


class Registry(MutableMapping[str, Part], Generic[Part]):
    """The parts of one kind, in the order in which they are listed.

    To add a part, write a module below ``package`` and a line in the table. Your own program can add a part
    without a line: ``MODELS["mine"] = ModelSpec(...)``. Every command line imports these modules to check its
    arguments, so they must not import torch or anything else that is slow; their functions may.

    Args:
        package: the package that contains the modules.
        places: where each part is described: its name -> ``module:CONSTANT``.

    Example:
        >>> MODELS = Registry[ModelSpec]("dml.models", {"mlp": "mlp:MLP", "vit": "vit:VIT"})
        >>> MODELS["vit"].takes
        'images with sides that are multiples of 4'
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        self._package = package
        self._parts: dict[str, Part | None] = dict.fromkeys(places)
        self._places = dict(places)

    def module_of(self, name: str) -> str | None:
        """The module that describes a part of the table; None for other names."""
        place = self._places.get(name)
        return f"{self._package}.{place.partition(':')[0]}" if place else None

    def __getitem__(self, name: str) -> Part:
        part = self._parts[name]
        if part is None:
            module, constant = self._places[name].split(":")
            part = getattr(importlib.import_module(f"{self._package}.{module}"), constant)
            self._parts[name] = part
        return part

    def __setitem__(self, name: str, part: Part) -> None:
        self._parts[name] = part

    def __delitem__(self, name: str) -> None:
        del self._parts[name]

    def __contains__(self, name: object) -> bool:
        # Mapping's own version looks the part up, which would import it.
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
