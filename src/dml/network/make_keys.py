"""The command line that makes keys for nodes on several hosts."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from dml import command_line
from dml.errors import InputError
from dml.field_types import MAX_COUNT, UserPath
from dml.files import check_writable, folder_for
from dml.messages import count
from dml.network import keys
from dml.section import Section

DESCRIPTION = "Makes a pair of keys for each node, for nodes on several hosts. One host needs none of them."

PUBLIC_FILE = "public_keys.yaml"
"""The file of all public keys by name, which every host gets."""


class KeysConfig(Section):
    """The options of ``make_keys.py``."""

    num_nodes: int | None = Field(
        None, ge=1, le=min(100_000, MAX_COUNT), description="make keys for node 0 to this"
    )
    names: tuple[str, ...] = Field((), description="make keys for these names, such as orchestrator, too")
    out_dir: UserPath = Field(Path("keys"), description="folder of the keys; existing keys are never changed")


def main(argv: Sequence[str]) -> int:
    """Makes the keys, and prints which file goes where.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code.
    """
    config = command_line.parse_section(KeysConfig, argv, prog="make_keys.py", description=DESCRIPTION)
    names = [*(f"node {i}" for i in range(config.num_nodes or 0)), *config.names]
    if not names:
        raise InputError("num_nodes", None, "say how many nodes there are, or give --names")
    make(config.out_dir, names)
    print(
        f"{count(len(names), 'pair')} of keys in {config.out_dir}\n"
        f"every host needs {PUBLIC_FILE}\n"
        f"the host of a node needs the file of that node ({keys.file_name(names[0], keys.SECRET)}, ...),\n"
        f"and no other host does: move it to {keys.folder_of_host()} of that host"
    )
    return 0


def make(folder: Path, names: Sequence[str]) -> None:
    """Writes a file with a pair of keys for each name, and one with all public keys.

    Args:
        folder: of the files, which is made, and which only its owner may enter.
        names: of the nodes.

    Raises:
        InputError: a name is not possible, or a file exists or cannot be written.
    """
    files = {keys.file_name(name, keys.SECRET): name for name in names}
    if len(files) < len(names):
        raise InputError("names", None, "two names are alike")
    check_writable(folder)
    for file in (*files, PUBLIC_FILE):
        if (folder / file).exists():
            raise InputError(
                "out_dir", folder, f"holds {file} already, which is not changed; give another folder"
            )
    with folder_for(folder):
        folder.chmod(0o700)
        pairs = {name: keys.new() for name in names}
        try:
            for file, name in files.items():
                keys.write(folder / file, pairs[name])
            lines = [f'"{name}": "{pair.public}"\n' for name, pair in pairs.items()]
            (folder / PUBLIC_FILE).write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            raise InputError("out_dir", folder, f"cannot be written ({error.strerror})") from None
