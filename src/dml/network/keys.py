"""Key pairs in files. A process proves by its secret key who it is; others know it by its public key.

The pair of this host is made at first use, so that programs on one host need no keys to be made by hand.
"""

import fcntl
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from dml.errors import DamagedFileError, InputError
from dml.files import read_text

FOLDER_VARIABLE = "DML_KEYS"
"""The environment variable that names another folder for the keys of this host."""

SECRET, PUBLIC = ".key_secret", ".key"
"""The endings of the files of a pair, as CZMQ and pyzmq name them."""

_Z85 = r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}"
_LARGEST = 100_000


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, each key as 40 characters of Z85 text (ZeroMQ RFC 32).

    Args:
        public: the key by which others know the owner.
        secret: the key that proves it. It is not part of the text of this object.
    """

    public: str
    secret: str = field(repr=False)


def is_public_key(text: str) -> bool:
    """Whether a text has the form of a key."""
    return re.fullmatch(_Z85, text) is not None


def file_name(name: str, ending: str) -> str:
    """The name of the file with the key of a node; ``node 3`` becomes ``node_3.key_secret``.

    Args:
        name: of the node.
        ending: `SECRET` or `PUBLIC`.

    Raises:
        InputError: the name holds what the name of a file should not.
    """
    if not re.fullmatch(r"\w[\w .-]{0,99}", name):
        raise InputError("name", name, "must be 1 to 100 letters, digits, spaces, dots, - or _")
    return name.replace(" ", "_") + ending


def new() -> KeyPair:
    """A new pair, from the system's random numbers."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def folder_of_host() -> Path:
    """The folder of this host's keys."""
    # Path.expanduser would fail in a container without a home folder.
    return Path(os.environ.get(FOLDER_VARIABLE) or os.path.expanduser("~/.config/distributed_ml/keys"))


def own_keys(folder: Path | None = None) -> KeyPair:
    """The pair of this host and user, which is made at first use.

    Processes that call this at the same time get the same pair.

    Args:
        folder: the folder of the pair; by default the user's.

    Raises:
        InputError: the folder cannot be written, or the secret key can be read by others.
        DamagedFileError: the file is not a key pair.
    """
    folder = folder_of_host() if folder is None else folder
    path = folder / f"own{SECRET}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            with open(folder / ".lock", "a", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    write(path, new())
    except OSError as error:
        raise InputError("keys", folder, f"cannot be written ({error.strerror})") from None
    return load(path)


def write(path: Path, pair: KeyPair) -> None:
    """Writes a pair to a file that only its owner can read. Nobody sees half of the file.

    Args:
        path: the file, which must not exist.
        pair: the pair.

    Raises:
        OSError: it cannot be written, or exists.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists")
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.unlink(missing_ok=True)
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(_text(pair.public) + f'    secret-key = "{pair.secret}"\n')
    half.rename(path)


def write_public(path: Path, public: str) -> None:
    """Writes a public key to a file to be given to others.

    Raises:
        OSError: it cannot be written, or exists.
    """
    with open(path, "x", encoding="ascii") as file:
        file.write(_text(public))


def load(path: Path) -> KeyPair:
    """Reads a pair.

    Args:
        path: the file of the secret key.

    Raises:
        InputError: the file cannot be read, or others can read it.
        DamagedFileError: it is not a key pair, or the keys do not belong together.
    """
    try:
        text = read_text(path, _LARGEST)
        found = path.stat()
    except OSError as error:
        raise InputError("keys", path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _damaged(path) from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise InputError("keys", path, f"can be read by others; make it private by: chmod 600 {path}")
    pair = KeyPair(_find("public", text, path), _find("secret", text, path))
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise DamagedFileError(f"{path} is damaged: its public key is not that of its secret key")
    return pair


def load_public(path: Path) -> str:
    """Reads the public key of a file, which may hold the secret key too.

    Raises:
        InputError: the file cannot be read.
        DamagedFileError: it holds no public key.
    """
    try:
        return _find("public", read_text(path, _LARGEST), path)
    except OSError as error:
        raise InputError("keys", path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _damaged(path) from None


def _text(public: str) -> str:
    return f'#  A CURVE key of distributed_ml\nmetadata\ncurve\n    public-key = "{public}"\n'


def _find(which: str, text: str, path: Path) -> str:
    found = re.search(rf'^ *{which}-key *= *"({_Z85})" *$', text, re.MULTILINE)
    if found is None:
        raise _damaged(path)
    return found[1]


def _damaged(path: Path) -> DamagedFileError:
    return DamagedFileError(f"{path} is damaged or is no key file; make another pair")
