"""Tables of parts: a part's module is imported when the part is asked for, and not before."""

import subprocess
import sys
from pathlib import Path

import pytest

from dml.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[str]:
    """Two parts, one of which cannot be imported."""
    folder = tmp_path / "parts_of_test"
    folder.mkdir()
    (folder / "good.py").write_text("PART, OTHER = 'the part', 'another'\n")
    (folder / "bad.py").write_text("raise RuntimeError('was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return Registry[str]("parts_of_test", {"good": "good:PART", "other": "good:OTHER", "bad": "bad:PART"})


def test_a_part_is_imported_when_it_is_asked_for(package: Registry[str]):
    assert list(package) == ["good", "other", "bad"]
    assert len(package) == 3
    assert "bad" in package
    assert "none" not in package
    assert (package["good"], package["other"]) == ("the part", "another")
    with pytest.raises(RuntimeError, match="was imported"):
        package["bad"]
    with pytest.raises(KeyError):
        package["none"]
    assert package.get("none") is None


def test_a_program_of_ones_own_adds_a_part(package: Registry[str]):
    package["mine"] = "of my own"
    package["bad"] = "mended"
    assert dict(package) == {"good": "the part", "other": "another", "bad": "mended", "mine": "of my own"}
    del package["mine"]
    assert "mine" not in package


LIST = """
import sys
from dml.models.registry import MODELS
described = {name: model.takes for name, model in MODELS.items()}
assert len(described) >= 11, described
slow = {"torch", "parsl", "pandas", "matplotlib", "scipy", "datasets", "PIL"} & set(sys.modules)
assert not slow, slow
"""


def test_describing_all_models_imports_nothing_slow():
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
