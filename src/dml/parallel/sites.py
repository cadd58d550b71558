"""Sites: the places where a sweep's workers run. One Python file per site makes the Parsl configuration.

A site file defines ``make_config(options) -> parsl.Config`` and, if it takes options, a table ``OPTIONS`` of
name -> (default, help). All values are text, as on the command line; :func:`whole_number` reads a number.
:mod:`dml.parallel.pbs` and :mod:`dml.parallel.affinity` have more functions for site files.

Parsl is imported only when a configuration is made, so that a wrong argument is refused without the delay.
"""

import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from dml.errors import InputError
from dml.files import FILE, check_regular, what_is_at

if TYPE_CHECKING:
    from parsl import Config

OptionTable = Mapping[str, tuple[str, str]]

MAX_BYTES = 1_000_000
"""Size of the largest site file that is read."""

_NO_SHELL_WORD = re.compile(r"[^\w@%+=:,./-]")


@dataclass(frozen=True)
class Site:
    """The content of a site file.

    Args:
        name: the site as the user gave it.
        options: the options that ``--site_options`` may set: name -> (default, help).
        make_config: the function of that name in the file.
        one_host: whether all workers share this machine's temporary folder (``ONE_HOST = True`` in the file).
    """

    name: str
    options: OptionTable
    make_config: Callable[[Mapping[str, str]], object]
    one_host: bool = False

    def check(self, options: Mapping[str, str]) -> None:
        """Raises InputError for an option that the site does not take."""
        for key, value in options.items():
            if key not in self.options:
                takes = ", ".join(self.options) or "no options"
                raise InputError("site_options", f"{key}={value}", f"{self.name} takes: {takes}")

    @contextmanager
    def run_dir(self, wanted: Path) -> Iterator[Path]:
        """The folder for Parsl's own files: `wanted`, or a temporary one if Parsl's scripts cannot read it.

        Raises:
            InputError: the scripts cannot read it, and the site's hosts share no temporary folder.
        """
        bad = _NO_SHELL_WORD.search(str(wanted.absolute()))
        if bad is None:
            yield wanted.absolute()
            return
        if not self.one_host:
            right = f"a folder without {bad[0]!r} in its path, which Parsl's shell scripts cannot read"
            raise InputError("out_dir", wanted, right)
        temporary = Path(tempfile.mkdtemp(prefix="distributed_ml-"))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def config(self, options: Mapping[str, str], run_dir: Path) -> "Config":
        """Makes a new Parsl configuration, which can be loaded once.

        Args:
            options: the user's values; other options have the defaults of the table.
            run_dir: the folder from :meth:`run_dir`, on a file system that all hosts of the site share.

        Raises:
            InputError: the site does not take an option, or cannot make a configuration on this machine.
        """
        self.check(options)
        _complete_path()
        values = {key: default for key, (default, _) in self.options.items()} | dict(options)
        try:
            config = self.make_config(values)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(
                "parsl_config", self.name, f"cannot be used on this machine: {_why(error)}"
            ) from error
        from parsl import Config

        if not isinstance(config, Config):
            kind = type(config).__name__
            raise InputError(
                "parsl_config", self.name, f"its make_config must return a parsl.Config, not {kind}"
            )
        from parsl.executors import HighThroughputExecutor

        if not config.executors or not all(isinstance(e, HighThroughputExecutor) for e in config.executors):
            right = "the executors of its Config must be HighThroughputExecutors, whose workers are processes"
            raise InputError("parsl_config", self.name, right)
        config.run_dir = str(run_dir.absolute())
        return config


def load_site(name: str, folder: Path) -> Site:
    """Reads a site file.

    Args:
        name: a site of `folder` (``local``), or the path of any other site file (``mine/cluster.py``).
        folder: the folder of the project's site files.

    Raises:
        InputError: there is no such file, or it is not a site file.
    """
    is_path = name.endswith(".py")
    path = Path(name).expanduser() if is_path else folder / f"{name}.py"
    if what_is_at(path) != FILE or (not is_path and Path(name).name != name):
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


def options_of(site: Site, words: Sequence[str], workers: int | None = None) -> dict[str, str]:
    """The options that a user chose for a site.

    Args:
        site: the site.
        words: the ``key=value`` words of ``--site_options``; a value may hold further equals signs.
        workers: ``--workers``, a short form of the site's option of that name.

    Raises:
        InputError: a word is not key=value, or a key is given twice or is not an option of the site.
    """
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InputError("site_options", word, "must be key=value, as in workers=4")
        if key in options:
            raise InputError("site_options", word, f"{key} is given twice")
        options[key] = value
    if workers is not None:
        options.setdefault("workers", str(workers))
    site.check(options)
    return options


def whole_number(options: Mapping[str, str], key: str) -> int:
    """The value of an option that must be a whole number of at least 1.

    Raises:
        InputError: it is not.
    """
    text = options[key]
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise InputError("site_options", f"{key}={text}", "must be a whole number of at least 1")
    return int(text)


def _import_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"dml_site_{path.stem}", path)
    assert spec is not None  # It never is for a .py file.
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # A dataclass in the file looks up its module here.
    try:
        check_regular(path, MAX_BYTES)
        spec.loader.exec_module(module)
    # A site file is a program, and may end itself.
    except (Exception, SystemExit) as error:
        raise InputError("parsl_config", name, f"it cannot be imported: {_why(error)}") from error
    return module


def _is_table(options: object) -> bool:
    return isinstance(options, Mapping) and all(
        isinstance(row, tuple) and len(row) == 2 and all(isinstance(text, str) for text in (key, *row))
        for key, row in options.items()
    )


def _why(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if type(error) in (ValueError, OSError) else f"{type(error).__name__}: {text}"


def _complete_path() -> None:
    """Completes PATH, which may be empty in a service: Parsl uses it to find bash, ps and its own scripts."""
    before = os.environ.get("PATH", "").split(os.pathsep)
    wanted = [os.path.dirname(sys.executable), *before, *os.defpath.split(os.pathsep)]
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys(folder for folder in wanted if folder))
