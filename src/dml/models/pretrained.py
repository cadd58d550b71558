"""Pretrained models and tokenizers on disk: where they are, and a hash of their files.

They are folders, or lie in the cache of Hugging Face. Nothing here uses the network, and nothing imports
``transformers``, which takes seconds, but :func:`library`.
"""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dml.errors import InputError
from dml.files import check_regular, objection_to_path, read_text

PACKAGES = ("transformers", "peft")
"""What the extra ``lm`` installs."""

INSTALL = "pip install -r requirements-lm.txt"

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt", "*.model",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
"""The files of a tokenizer."""

WEIGHTS = ("config.json", "*.safetensors", "pytorch_model*.bin")
"""The files of a model."""

MAX_REF = 1000
"""Size of the largest file that names a commit."""


def check_installed(field: str, value: object) -> None:
    """Refuses what needs the packages of the extra ``lm`` if they are not installed.

    Args:
        field, value: what needs them.

    Raises:
        InputError: one is not installed.
    """
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        right = f"needs {' and '.join(missing)}, which the extra lm installs: {INSTALL}"
        raise InputError(field, value, right)


def library(field: str, value: object) -> Any:
    """The ``transformers`` package, kept from using the network and from showing progress bars.

    Args:
        field, value: what needs it.

    Raises:
        InputError: it is not installed.
    """
    check_installed(field, value)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[variable] = "1"
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def absolute(name: str) -> str:
    """A folder by its absolute path, for processes in other working directories; other names stay."""
    if objection_to_path(name) or not os.path.isdir(os.path.expanduser(name)):
        return name
    return str(Path(name).expanduser().absolute())


def find(name: str, field: str) -> Path:
    """The folder of a model or tokenizer.

    Args:
        name: the folder, or the name on Hugging Face's hub of one that is in its cache on this machine.
        field: the option that names it.

    Raises:
        InputError: there is no such folder, and the cache does not hold it.
    """
    path = Path(os.path.expanduser(name))
    if not objection_to_path(name) and path.is_dir():
        return path
    # What huggingface_hub says of its cache; importing it takes longer than a wrong call may.
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")))
    kept = cache / f"models--{name.replace('/', '--')}"
    try:
        snapshot = kept / "snapshots" / read_text(kept / "refs" / "main", MAX_REF).strip()
        if snapshot.is_dir():
            return snapshot
    except (OSError, ValueError):
        pass
    right = f"is neither a folder nor in {cache}; on a machine with a network, run: hf download {name}"
    raise InputError(field, name, right)


def fingerprint(path: Path, patterns: Sequence[str], field: str, value: object) -> str:
    """A hash of some files of a folder; computed again only after one of them has changed.

    Args:
        path: the folder.
        patterns: the names of the files.
        field, value: the option that names the folder.

    Raises:
        InputError: there are no such files, or one cannot be read.
    """
    try:
        files = sorted({file for pattern in patterns for file in path.glob(pattern)})
        stamps = tuple((file, found.st_size, found.st_mtime_ns) for file in files for found in [file.stat()])
        if not stamps:
            raise InputError(field, value, f"{path} holds none of {', '.join(patterns)}")
        return _digest(stamps)
    except OSError as error:
        right = f"{error.filename or path} cannot be read ({error.strerror or error})"
        raise InputError(field, value, right) from None


@lru_cache(maxsize=16)
def _digest(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    total = hashlib.sha256()
    for file, _, _ in stamps:
        check_regular(file)
        with file.open("rb") as opened:
            total.update(f"{file.name}\0".encode() + hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:16]
