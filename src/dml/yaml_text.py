"""Reads YAML files that users write. Values stay text, as on the command line."""

from pathlib import Path
from typing import Any

from dml.errors import InputError
from dml.files import read_text

MAX_BYTES = 1_000_000
"""Size of the largest file that is read. Its values are typed by hand, and YAML is slow to read."""

_MERGE = "tag:yaml.org,2002:merge"


def read(path: Path, field: str) -> Any:
    """The content of a YAML file, in which ``yes`` is not the number 1, and 010 is ten.

    Args:
        path: the file.
        field: the name of the flag that gave it.

    Raises:
        InputError: the file cannot be read, is not YAML, or holds a key twice.
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
        return yaml.load(read_text(path, MAX_BYTES), Loader)
    except OSError as error:
        raise InputError(field, path, f"cannot be read ({error.strerror})") from None
    except InputError as error:
        raise in_file(field, path, error) from None
    # A scalar that does not fit its tag raises the error of Python's constructor.
    except (yaml.YAMLError, RecursionError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(field, path, f"is not a YAML file ({' '.join(str(error).split())})") from None


def in_file(field: str, path: Path, error: InputError) -> InputError:
    """Turns an error about a key into an error about the file that holds it.

    Args:
        field: the name of the flag that gave the file.
        path: the file.
        error: the error about the key.
    """
    return InputError(field, path, str(error))
