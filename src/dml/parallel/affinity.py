"""The cores that each worker of a host may use, in the notation of Parsl's ``cpu_affinity``."""

import re

from dml.errors import InputError

_SPREAD_BY_PARSL = ("none", "block", "block-reverse", "alternating")


def affinity_groups(affinity: str) -> list[str]:
    """The groups of cores in an affinity such as ``list:1-8,105-112:9-16,113-120``, one text per worker."""
    kind, *groups = affinity.split(":")
    if kind != "list":
        raise ValueError(f"{affinity} is not a list of cores")
    return groups


def affinity_for(affinity: str, accelerators: int, each: int, *, together: int = 1) -> str:
    """The affinity of a host's workers, from an affinity with one group per accelerator.

    Parsl accepts a list of any length, but every worker fails unless there are as many groups as workers. A
    group is split so that each worker gets whole cores. The ranges of a group are its cores and the second
    threads of the same cores, so worker k of an accelerator gets piece k of every range.

    Args:
        affinity: ``list:...`` with a group per accelerator or per worker, or a word with which Parsl spreads
            the workers itself; such a word and a list with a group per worker are returned unchanged.
        accelerators: the number of accelerators of a host.
        each: the number of workers on each accelerator.
        together: the number of accelerators of each worker; `each` is 1 then.

    Raises:
        InputError: the number of groups is wrong, a text is not a range of cores, or a group has too few
            cores.
    """
    if affinity in _SPREAD_BY_PARSL:
        return affinity
    given, workers = f"affinity={affinity}", accelerators * each // together
    if not re.fullmatch(r"list(:\d+(-\d+)?(,\d+(-\d+)?)*)+", affinity):
        right = f"must be list:a-b,c-d:... or one of {', '.join(_SPREAD_BY_PARSL)}"
        raise InputError("site_options", given, right)
    groups = affinity_groups(affinity)
    if len(groups) == workers:
        return affinity
    if len(groups) != accelerators:
        wanted = f"{accelerators} accelerators or {workers} workers"
        right = f"must have a group of cores for each of {wanted}, not {len(groups)}"
        raise InputError("site_options", given, right)
    if together > 1:
        joined = [",".join(groups[first : first + together]) for first in range(0, accelerators, together)]
        return ":".join(["list", *joined])
    pieces = [piece for group in groups for piece in _split(group, each)]
    if not all(pieces):
        right = f"a group has too few cores for {each} workers; use fewer workers, or affinity=none"
        raise InputError("site_options", f"workers_per_accelerator={each}", right)
    return ":".join(["list", *pieces])


def _split(group: str, parts: int) -> list[str]:
    pieces: list[list[str]] = [[] for _ in range(parts)]
    for text in group.split(","):
        first, _, last = text.partition("-")
        start, size = int(first), int(last or first) - int(first) + 1
        for k, piece in enumerate(pieces):
            low, high = start + size * k // parts, start + size * (k + 1) // parts - 1
            if low <= high:
                piece.append(f"{low}-{high}" if low < high else f"{low}")
    return [",".join(piece) for piece in pieces]
