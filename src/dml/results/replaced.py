"""Results that are computed again (``--fresh``): the old files are moved to ``<out_dir>/replaced/<time>``.

The same command with ``--fresh`` goes on after an interruption: ``replaced/unfinished.txt`` names what was
moved and has not been computed again, and by which code it is. It is not moved twice, unless the code has
changed again.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from dml.files import beside
from dml.results import checkpoint
from dml.results.lock import locked


class Replacing:
    """One call that computes results again.

    Args:
        out_dir: the folder of the results.

    Attributes:
        moved: the number of results that this call has moved.
    """

    def __init__(self, out_dir: Path) -> None:
        self._folder = out_dir / "replaced"
        self._list = self._folder / "unfinished.txt"
        self._begun = set(self._read())
        self._seen: set[str] = set()
        self._place: Path | None = None
        self.moved = 0

    def experiment(self, result: Path, experiment_id: str, code: str) -> None:
        """Moves the result file and the checkpoint of an experiment, so that it starts at round 0.

        Args:
            result: its result file.
            experiment_id: its id.
            code: the hash of the code that computes it now.

        Raises:
            LockedError: another process runs it.
        """
        # The checkpoint goes first: without its result file, it would be overwritten.
        paths = [checkpoint.path_of(result), result]
        if _key(experiment_id, code) not in self._begun and any(path.exists() for path in paths):
            with locked(result, experiment_id):
                self._move(paths)
        self.keep(experiment_id, code)

    def file(self, path: Path, code: str) -> None:
        """Moves a file that is no experiment's, such as a cache."""
        if _key(path.name, code) not in self._begun:
            self._move([path])
        self.keep(path.name, code)

    def keep(self, name: str, code: str) -> None:
        """Notes that what this code computes for an experiment or a file from now on is not to be moved."""
        key = _key(name, code)
        self._seen.add(name)
        if key not in self._begun and self._folder.parent.is_dir():
            self._begun.add(key)
            self._folder.mkdir(exist_ok=True)
            with self._list.open("a", encoding="utf-8") as file:
                file.write(f"{key}\n")

    def finish(self) -> None:
        """Ends the call: all has been computed again, and the next call with ``--fresh`` moves it again."""
        left = [key for key in self._read() if key.rpartition(" ")[0] not in self._seen]
        if left:
            with beside(self._list) as new:
                new.write_text("".join(f"{key}\n" for key in left), encoding="utf-8")
        else:
            self._list.unlink(missing_ok=True)
            if self._folder.is_dir() and not any(self._folder.iterdir()):
                self._folder.rmdir()

    def _read(self) -> list[str]:
        if not self._list.exists():
            return []
        return self._list.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]

    def _move(self, paths: Iterable[Path]) -> None:
        there = [path for path in paths if path.exists()]
        for path in there:
            self._place = self._place or _new_folder(self._folder)
            path.rename(_free(self._place / path.name))
        self.moved += bool(there)


def _key(name: str, code: str) -> str:
    return f"{name} {code}"


def _new_folder(folder: Path) -> Path:
    time = datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
    made = _free(folder / time)
    made.mkdir(parents=True)
    return made


def _free(path: Path) -> Path:
    """The path, or one with a number behind it, at which nothing is."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found
