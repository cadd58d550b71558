"""A table of factors: lists are crossed, and everything else is fixed. A sweep is one or more tables."""

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from dml import config
from dml.errors import InputError

OOD_RANK = "ood_rank"
"""OOD data on the node of highest degree (1), of second highest (2), ...: another node in each graph."""

MOST = 1_000_000
"""The largest number of combinations; more of them are taken for a mistake."""

UNCROSSED = config.NOT_NUMBERS - {"out_dir"}
"""Keys that change no number of an experiment, so that each value of a list would give the same one."""

_MERGE = "tag:yaml.org,2002:merge"

KEYS = (OOD_RANK, *(flag for _, flag, _ in config.fields() if flag != "out_dir"))


@dataclass(frozen=True)
class Table:
    """What a sweep crosses and what it holds fixed.

    Args:
        factors: values by flag, or by ``OOD_RANK``; the first changes slowest.
        fixed: one value by flag.
    """

    factors: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, values: Mapping[str, Any], elsewhere: Collection[str] = ()) -> "Table":
        """The table in which lists and tuples are factors.

        Args:
            values: one value, or several, by key.
            elsewhere: the scheduler's flags, which are not keys; the error says so.

        Raises:
            InputError: an unknown key, a key without a value, or keys that exclude each other.
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
        """The number of combinations; some may turn out to be the same experiment."""
        return math.prod(map(len, self.factors.values()))

    def replaced(
        self, factors: Mapping[str, tuple[Any, ...]], fixed: Mapping[str, Any], dropped: Collection[str] = ()
    ) -> "Table":
        """The table with other values for some of its keys, which keep their places.

        Args:
            factors: the new factors, as in a table.
            fixed: the new fixed values, as in a table.
            dropped: keys to leave out.
        """
        crossed = {k: factors.get(k, v) for k, v in self.factors.items() if k not in {*fixed, *dropped}}
        crossed |= {k: v for k, v in factors.items() if k not in crossed}
        alone = {k: v for k, v in self.fixed.items() if k not in {*crossed, *dropped}}
        return Table(crossed, alone | dict(fixed))

    def combinations(self, *, once: Collection[str] = ()) -> Iterator[dict[str, Any]]:
        """All combinations, each with one value per key; factors in `once` only take their first value."""
        lists = [v[:1] if k in once else v for k, v in self.factors.items()]
        for values in product(*lists):
            yield {**self.fixed, **dict(zip(self.factors, values, strict=True))}


def _check(key: Any, value: Any, elsewhere: Collection[str]) -> None:
    if key in elsewhere:
        raise InputError(key, None, f"is not a key but a flag of the scheduler: give --{key} besides --sweep")
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
        raise InputError(key, value, "changes no number, so give one value and not a list")
    if key == "topology_file" and any(re.match(r"\w+=", str(v)) for v in values):
        raise InputError(key, value, "in a list in brackets a text with commas needs quotes")
    if key == OOD_RANK and not all(re.fullmatch(r"0*[1-9]\d{0,8}", str(v)) for v in values):
        raise InputError(key, value, "must be whole numbers from 1, the node of highest degree")


def tables_of(path: Path, elsewhere: Collection[str] = ()) -> list[Table]:
    """The tables of a YAML file: one mapping of keys to values, or a list of such mappings.

    Values stay text, as on the command line, so that ``yes`` is not a number and 010 is ten.

    Args:
        path: the file.
        elsewhere: the scheduler's flags, which are not keys.

    Raises:
        InputError: the file cannot be read, is not YAML, or holds something else; the message names the key.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads scalars as text, and refuses a key that is given twice (the usual loader keeps the last)."""

        yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012  (<<)

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != _MERGE]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(str(key), None, "is given twice")
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
        tables = content if isinstance(content, list) else [content]
        if not tables or not all(isinstance(table, dict) and table for table in tables):
            right = "must hold keys and values, as rounds: 40, or a list of such tables"
            raise InputError("sweep", path, right)
        return [Table.of(table, elsewhere) for table in tables]
    except OSError as error:
        raise InputError("sweep", path, f"cannot be read ({error.strerror})") from None
    except InputError as error:
        raise error if error.field == "sweep" else in_file(path, error) from None
    # A scalar that does not fit its own tag raises whatever Python's constructor raises.
    except (yaml.YAMLError, RecursionError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError("sweep", path, f"is not a YAML file ({' '.join(str(error).split())})") from None


def in_file(path: Path, error: InputError) -> InputError:
    """The error of a key, as an error of the file that holds it."""
    return InputError("sweep", path, str(error))
