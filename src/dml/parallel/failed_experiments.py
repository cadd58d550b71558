"""The failed experiments of a folder, in ``sweep.json``, so that the next call can name and retry them."""

import json
from datetime import datetime
from pathlib import Path

from dml.errors import DamagedFileError
from dml.files import beside, read_text

MAX_BYTES = 100_000_000
"""Size of the largest list that is read: some hundred thousand experiments."""


class FailedExperiments:
    """The list of a folder's failed experiments.

    Args:
        folder: the folder of the results.

    Raises:
        DamagedFileError: the list cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sweep.json"
        self._read()

    def __len__(self) -> int:
        return len(self._read())

    def add(self, experiment_id: str, name: str, why: str) -> None:
        """Records that an experiment failed (again)."""
        failed = self._read()
        tries = failed.get(experiment_id, {"tries": 0})["tries"]
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        failed[experiment_id] = {"name": name, "why": why, "tries": int(tries) + 1, "when": when}
        self._write(failed)

    def remove(self, experiment_id: str) -> None:
        """Takes an experiment off the list, if it is there."""
        failed = self._read()
        if failed.pop(experiment_id, None) is not None:
            self._write(failed)

    def _read(self) -> dict[str, dict[str, str | int]]:
        try:
            failed = json.loads(read_text(self._path, MAX_BYTES))["failed"]
            if all(isinstance(entry["tries"], int) for entry in failed.values()):
                return dict(failed)
            reason = "its entries are damaged"
        except FileNotFoundError:
            return {}
        except OSError as error:
            reason = str(error.strerror)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = repr(error)
        raise DamagedFileError(f"{self._path} cannot be read ({reason}); it was not changed: move it away")

    def _write(self, failed: dict[str, dict[str, str | int]]) -> None:
        # The file is read and written every time, because another scheduler may use the same folder.
        with beside(self._path) as new:
            new.write_text(json.dumps({"failed": failed}, indent=1) + "\n", encoding="utf-8")
