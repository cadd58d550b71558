"""The failed experiments of a folder, kept in ``sweep.json`` so that the next call can say and retry them."""

import json
import os
from datetime import datetime
from pathlib import Path

from dml.errors import DamagedFileError


class Failures:
    """The list of failed experiments of a folder.

    Args:
        folder: of the results.

    Raises:
        DamagedFileError: the list cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sweep.json"
        self._read()

    def __len__(self) -> int:
        return len(self._read())

    def add(self, experiment_id: str, name: str, why: str) -> None:
        """Notes another failed try of an experiment."""
        failed = self._read()
        tries = failed.get(experiment_id, {"tries": 0})["tries"]
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        failed[experiment_id] = {"name": name, "why": why, "tries": int(tries) + 1, "when": when}
        self._write(failed)

    def remove(self, experiment_id: str) -> None:
        """The experiment has been run after all."""
        failed = self._read()
        if failed.pop(experiment_id, None) is not None:
            self._write(failed)

    def _read(self) -> dict[str, dict[str, str | int]]:
        try:
            failed = json.loads(self._path.read_text(encoding="utf-8"))["failed"]
            if all(isinstance(entry["tries"], int) for entry in failed.values()):
                return dict(failed)
            reason = "its entries are not as they were written"
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = repr(error)
        raise DamagedFileError(f"{self._path} cannot be read ({reason}); it was left as it is: move it away")

    def _write(self, failed: dict[str, dict[str, str | int]]) -> None:
        # Read and written anew each time: another scheduler may work on the same folder.
        beside = self._path.with_name(f".sweep.{os.getpid()}.tmp")
        beside.write_text(json.dumps({"failed": failed}, indent=1) + "\n", encoding="utf-8")
        beside.replace(self._path)
