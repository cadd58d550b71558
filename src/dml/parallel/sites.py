"""Sites: where a sweep's workers run. One Python file a site makes the Parsl configuration.

A site file has ``make_config(options) -> parsl.Config`` and, where it takes options, a table ``OPTIONS`` of
name -> (default, help); everything in it is text, as it comes from the command line. The second half of this
module is what the files of several sites need: numbers, hosts of a PBS job, addresses, cores of each worker.

Parsl is imported when a configuration is made, so a wrong argument is answered before that.
"""

import importlib.util
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from dml.errors import InputError

if TYPE_CHECKING:
    from parsl import Config

OptionTable = Mapping[str, tuple[str, str]]

_SPREAD_BY_PARSL = ("none", "block", "block-reverse", "alternating")
_NO_SHELL_WORD = re.compile(r"[^\w@%+=:,./-]")


@dataclass(frozen=True)
class Site:
    """A site file, read.

    Args:
        name: as the user gave it.
        options: what ``--site_options`` may set: name -> (default, help).
        make_config: the file's own function.
        one_host: the file says ``ONE_HOST = True``: all workers share this machine's temporary folder.
    """

    name: str
    options: OptionTable
    make_config: Callable[[Mapping[str, str]], object]
    one_host: bool = False

    def check(self, options: Mapping[str, str]) -> None:
        """Raises InputError on an option that the site does not take."""
        for key, value in options.items():
            if key not in self.options:
                takes = ", ".join(self.options) or "no options"
                raise InputError("site_options", f"{key}={value}", f"{self.name} takes: {takes}")

    def run_dir(self, wanted: Path) -> Path:
        """Where Parsl keeps its own files: as wanted, or a temporary folder if its scripts cannot read that.

        Raises:
            InputError: they cannot, and the site's hosts share no temporary folder.
        """
        bad = _NO_SHELL_WORD.search(str(wanted.absolute()))
        if bad is None:
            return wanted.absolute()
        if not self.one_host:
            right = f"a folder without {bad[0]!r} in its path, which Parsl's shell scripts cannot read"
            raise InputError("out_dir", wanted, right)
        return Path(tempfile.mkdtemp(prefix="distributed_ml-"))

    def config(self, options: Mapping[str, str], run_dir: Path) -> "Config":
        """Makes a new Parsl configuration, which can be loaded once.

        Args:
            options: the user's values; the table's defaults stand for the others.
            run_dir: what :meth:`run_dir` gave; on a file system that all hosts of the site share.

        Raises:
            InputError: an option that the site does not take, or a configuration that cannot be made here.
        """
        self.check(options)
        _complete_path()
        values = {key: default for key, (default, _) in self.options.items()} | dict(options)
        try:
            config = self.make_config(values)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                "parsl_config", self.name, f"makes no configuration here: {_why(error)}"
            ) from error
        from parsl import Config

        if not isinstance(config, Config):
            kind = type(config).__name__
            raise InputError(
                "parsl_config", self.name, f"its make_config must return a parsl.Config, not {kind}"
            )
        config.run_dir = str(run_dir.absolute())
        return config


def load_site(name: str, folder: Path) -> Site:
    """Reads a site file.

    Args:
        name: a site of `folder` (``local``), or the path of any other site file (``mine/cluster.py``).
        folder: the project's site files.

    Raises:
        InputError: there is no such file, or it is no site file.
    """
    is_path = name.endswith(".py")
    path = Path(name).expanduser() if is_path else folder / f"{name}.py"
    if not path.is_file() or (not is_path and Path(name).name != name):
        here = ", ".join(sorted(site.stem for site in folder.glob("*.py"))) or "none"
        right = f"the sites here are: {here}; or give a path to a .py file with make_config"
        raise InputError("parsl_config", name, right)
    module = _import_file(name, path)
    make_config = getattr(module, "make_config", None)
    if not callable(make_config):
        raise InputError("parsl_config", name, "it must define make_config(options) -> parsl.Config")
    options = getattr(module, "OPTIONS", {})
    if not _is_table(options):
        raise InputError(
            "parsl_config", name, "its OPTIONS must be a dict of name -> (default, help), all text"
        )
    return Site(name, options, make_config, getattr(module, "ONE_HOST", False))


def parse_options(words: Sequence[str]) -> dict[str, str]:
    """The ``key=value`` words of ``--site_options``, in which a value may hold further equals signs."""
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InputError("site_options", word, "each is key=value, as workers=4")
        if key in options:
            raise InputError("site_options", word, f"{key} is given twice")
        options[key] = value
    return options


def _import_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"dml_site_{path.stem}", path)
    assert spec is not None  # as it always is for a .py file
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass in the file looks its module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError("parsl_config", name, f"it cannot be imported: {_why(error)}") from error
    return module


def _is_table(options: object) -> bool:
    return isinstance(options, Mapping) and all(
        isinstance(row, tuple) and len(row) == 2 and all(isinstance(text, str) for text in (key, *row))
        for key, row in options.items()
    )


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if type(error) in (ValueError, OSError) else f"{type(error).__name__}: {text}"


def _complete_path() -> None:
    """Parsl finds bash, ps and its own scripts through PATH, which a service may leave empty."""
    before = os.environ.get("PATH", "").split(os.pathsep)
    wanted = [os.path.dirname(sys.executable), *before, *os.defpath.split(os.pathsep)]
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys(folder for folder in wanted if folder))


# What the site files share.


def whole_number(options: Mapping[str, str], key: str) -> int:
    """An option that must be a whole number of at least 1."""
    text = options[key]
    if not text.isdecimal() or int(text) < 1:
        raise InputError("site_options", f"{key}={text}", "must be a whole number of at least 1")
    return int(text)


def python_first() -> str:
    """A shell line after which PATH begins with this Python's folder, where Parsl's scripts lie too."""
    return f'export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"'


def pbs_hosts() -> list[str]:
    """The hosts of this PBS job, each once: its node file has a line for each place of a process.

    Raises:
        ValueError: this is not a PBS job.
        OSError: its node file cannot be read.
    """
    file = os.environ.get("PBS_NODEFILE")
    if not file:
        raise ValueError(
            "$PBS_NODEFILE is not set, so this is no PBS job; qsub the site's bd_scheduler.pbs in scripts/, "
            "or use --parsl_config local on this machine"
        )
    hosts = list(dict.fromkeys(Path(file).read_text(encoding="utf-8").split()))
    if not hosts:
        raise ValueError(f"$PBS_NODEFILE {file} names no host")
    return hosts


def address_of(interface: str) -> str:
    """The IPv4 address of a network interface of this host.

    Raises:
        ValueError: there is no such interface.
    """
    import psutil
    from parsl.addresses import address_by_interface

    try:
        return str(address_by_interface(interface))
    except OSError as error:
        there = ", ".join(psutil.net_if_addrs())
        raise ValueError(
            f"no network interface {interface} with an address (there are: {there}); "
            "--site_options interface=NAME or address=IP names another"
        ) from error


def affinity_groups(affinity: str) -> list[str]:
    """The groups of cores in an affinity ``list:1-8,105-112:9-16,113-120``, one text a worker."""
    kind, *groups = affinity.split(":")
    if kind != "list":
        raise ValueError(f"{affinity} is no list of cores")
    return groups


def affinity_for(affinity: str, accelerators: int, each: int) -> str:
    """The affinity of `accelerators` * `each` workers, from one for each accelerator.

    Parsl takes a list of any length and fails in each worker when its groups are not as many as the workers.
    A group is split so that a worker gets whole cores: piece k of every range, as the ranges of one group
    are its cores and the same cores' second threads.

    Args:
        affinity: ``list:..`` with a group for each accelerator or for each worker, or the name of one of
            Parsl's own ways, which are left as they are.
        accelerators: on one host.
        each: workers on each accelerator.

    Raises:
        InputError: another number of groups, text that is no range of cores, or too few cores to split.
    """
    if affinity in _SPREAD_BY_PARSL:
        return affinity
    given, workers = f"affinity={affinity}", accelerators * each
    if not re.fullmatch(r"list(:\d+(-\d+)?(,\d+(-\d+)?)*)+", affinity):
        right = f"must be list:a-b,c-d:.. or one of {', '.join(_SPREAD_BY_PARSL)}"
        raise InputError("site_options", given, right)
    groups = affinity_groups(affinity)
    if len(groups) == workers:
        return affinity
    if len(groups) != accelerators:
        wanted = f"{accelerators} accelerators or {workers} workers"
        right = f"must have a group of cores for each of {wanted}, not {len(groups)}"
        raise InputError("site_options", given, right)
    pieces = [piece for group in groups for piece in _split(group, each)]
    if not all(pieces):
        right = f"{each} workers cannot share a group of so few cores; use fewer, or affinity=none"
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
