"""One torch thread for these tests, and keys of their own."""

from pathlib import Path

import pytest
from one_thread import one_thread

from dml.network import keys

__all__ = ["one_thread"]


@pytest.fixture(autouse=True)
def _own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(keys.FOLDER_VARIABLE, str(tmp_path / "keys"))
