"""Tables of factors: lists are crossed, and everything else is fixed. A sweep is one or more tables."""

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from dml import config, yaml_text
from dml.errors import InputError

OOD_RANK = "ood_rank"
"""The key for OOD data on the node of highest degree (1), of second highest (2), and so on."""

MOST = 1_000_000
"""The largest number of combinations; more are taken for a mistake."""

UNCROSSED = config.NOT_NUMBERS - {"out_dir"}
"""Keys that do not change the numbers, so that all values of a list would give the same experiment."""

KEYS = (OOD_RANK, *(flag for _, flag, _ in config.fields() if flag != "out_dir"))


@dataclass(frozen=True)
class Table:
    """The factors that a sweep crosses, and the values that are fixed.

    Args:
        factors: the values of each flag, or of ``OOD_RANK``; the first factor changes slowest.
        fixed: the one value of each other flag.
        only_where_admitted: leave out combinations of an algorithm with a graph on which it does not run,
            instead of refusing them.
    """

    factors: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]
    only_where_admitted: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any], elsewhere: Collection[str] = ()) -> "Table":
        """The table in which lists and tuples are factors.

        Args:
            values: one or several values per key.
            elsewhere: the scheduler's flags, which are not keys; the error says so.

        Raises:
            InputError: a key is unknown or has no value, or two keys exclude each other.
        """
        for key, value in values.items():
            _check(key, value, elsewhere)
        if OOD_RANK in values and "backdoor_node_idx" in values:
            right = "excludes backdoor_node_idx: both name the nodes with OOD data, so give one"
            raise InputError(OOD_RANK, values[OOD_RANK], right)
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list | tuple)}
        if OOD_RANK in values:
            lists[OOD_RANK] = tuple(map(int, lists.get(OOD_RANK, [values[OOD_RANK]])))
        table = cls(lists, {k: v for k, v in values.items() if k not in lists})
        if table.size > MOST:
            raise InputError(
                max(lists, key=lambda k: len(lists[k])), None, f"{table.size:,} combinations are too many"
            )
        return table

    @property
    def size(self) -> int:
        """The number of combinations, some of which may be the same experiment."""
        return math.prod(map(len, self.factors.values()))

    def replaced(
        self, factors: Mapping[str, tuple[Any, ...]], fixed: Mapping[str, Any], dropped: Collection[str] = ()
    ) -> "Table":
        """A copy of the table with other values for some of its keys, which keep their places.

        Args:
            factors: the new factors.
            fixed: the new fixed values.
            dropped: keys to leave out.
        """
        crossed = {k: factors.get(k, v) for k, v in self.factors.items() if k not in {*fixed, *dropped}}
        crossed |= {k: v for k, v in factors.items() if k not in crossed}
        alone = {k: v for k, v in self.fixed.items() if k not in {*crossed, *dropped}}
        return Table(crossed, alone | dict(fixed))

    def combinations(self, *, once: Collection[str] = ()) -> Iterator[dict[str, Any]]:
        """All combinations, each with one value per key; factors in `once` have only their first value."""
        lists = [v[:1] if k in once else v for k, v in self.factors.items()]
        for values in product(*lists):
            yield {**self.fixed, **dict(zip(self.factors, values, strict=True))}


def _check(key: Any, value: Any, elsewhere: Collection[str]) -> None:
    if key in elsewhere:
        right = f"is a flag of the scheduler and not a key: give --{key} in addition to --sweep"
        raise InputError(key, None, right)
    if key not in KEYS:
        close = difflib.get_close_matches(str(key), KEYS, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        keys = f"keys are {OOD_RANK} and the flags of decentralized_main.py"
        raise InputError(str(key), None, f"there is no such key{meant}; {keys}")
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise InputError(key, None, "an empty list gives no experiment; name at least one value")
    if any(v in ("", None) or isinstance(v, dict) for v in values):
        raise InputError(key, None, "needs a value, or a list of values")
    if len(values) > 1 and key in UNCROSSED:
        raise InputError(key, value, "does not change the numbers, so give one value and not a list")
    if key == "topology_file" and any(re.match(r"\w+=", str(v)) for v in values):
        raise InputError(key, value, "a text with commas needs quotes in a list in brackets")
    if key == OOD_RANK and not all(re.fullmatch(r"0*[1-9][0-9]{0,8}", str(v)) for v in values):
        raise InputError(key, value, "must be whole numbers from 1, the node of highest degree")


def tables_of(path: Path, elsewhere: Collection[str] = ()) -> list[Table]:
    """The tables of a YAML file: one mapping of keys to values, or a list of such mappings.

    Values stay text, as on the command line, so that ``yes`` is not the number 1 and 010 is ten.

    Args:
        path: the file.
        elsewhere: the scheduler's flags, which are not keys.

    Raises:
        InputError: the file cannot be read, is not YAML, or holds a wrong key or value, which is named.
    """
    content = yaml_text.read(path, "sweep")
    tables = content if isinstance(content, list) else [content]
    if not tables or not all(isinstance(table, dict) and table for table in tables):
        right = "must hold keys and values, such as rounds: 40, or a list of such tables"
        raise InputError("sweep", path, right)
    try:
        return [Table.of(table, elsewhere) for table in tables]
    except InputError as error:
        raise in_file(path, error) from None


def in_file(path: Path, error: InputError) -> InputError:
    """Turns an error about a key into an error about the sweep's file that holds it."""
    return yaml_text.in_file("sweep", path, error)
