"""The list of failed experiments of a folder."""

from pathlib import Path

import pytest

from dml.errors import DamagedFileError
from dml.parallel.failed_experiments import FailedExperiments


def test_tries_are_counted_and_a_success_clears_them(tmp_path: Path) -> None:
    failed = FailedExperiments(tmp_path)
    assert len(failed) == 0
    assert not list(tmp_path.iterdir()), "looking writes nothing"
    failed.add("a1", "digits-s0", "no room")
    failed.add("a1", "digits-s0", "still no room")
    failed.add("b2", "digits-s1", "no room")
    text = (tmp_path / "sweep.json").read_text()
    assert '"tries": 2' in text
    assert '"why": "still no room"' in text
    assert len(FailedExperiments(tmp_path)) == 2, "another scheduler sees them"
    failed.remove("a1")
    failed.remove("never failed")
    assert len(failed) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"failed": 3}', '{"failed": {"a": {"tries": "x"}}}'])
def test_a_list_that_cannot_be_read_is_named_and_left(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(text)
    with pytest.raises(DamagedFileError, match=r"sweep\.json cannot be read"):
        FailedExperiments(tmp_path)
    assert path.read_text() == text
