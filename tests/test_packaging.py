"""What setup.py declares, against what the program imports and what requirements.txt pins."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from language import LACKS
from packaging.requirements import Requirement

import dml

ROOT = Path(__file__).resolve().parents[1]
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


def declared() -> dict[str, Requirement]:
    """The requirements of setup.py by name, with those of the extra lm, and without those of the others."""
    call = next(
        node for node in ast.walk(ast.parse(SETUP)) if isinstance(node, ast.Call) and node.keywords[3:]
    )
    words = {word.arg: word.value for word in call.keywords}
    listed = ast.literal_eval(words["install_requires"])
    extras = words["extras_require"]
    assert isinstance(extras, ast.Dict)
    for name, value in zip(extras.keys, extras.values, strict=True):
        listed += ast.literal_eval(value) if isinstance(name, ast.Constant) and name.value == "lm" else []
    return {requirement.name: requirement for requirement in map(Requirement, listed)}


def pinned() -> dict[str, str]:
    """The version of each requirement that the tests run with."""
    lines = [
        line
        for name in ("requirements.txt", "requirements-hpc.txt", "requirements-lm.txt")
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    ]
    return dict(line.split("==") for line in lines if "==" in line)


def imported() -> set[str]:
    """The distributions whose modules src/dml imports."""
    modules = set()
    for path in (ROOT / "src" / "dml").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.split(".")[0])
    of = packages_distributions()
    # pydantic_core is half of pydantic, which pins its version.
    return {
        of[m][0].lower()
        for m in modules - {"dml", "pydantic_core"}
        if m not in sys.stdlib_module_names and m in of
    }


def test_everything_that_is_imported_is_declared_and_nothing_else():
    # What is not installed has no distribution that its modules could be traced to.
    assert imported() == declared().keys() - set(LACKS)


@pytest.mark.parametrize("name", declared())
def test_a_pin_lies_within_the_declared_bounds(name):
    assert declared()[name].specifier.contains(pinned()[name])


def test_every_requirement_has_both_bounds():
    for requirement in declared().values():
        assert {one.operator for one in requirement.specifier} == {">=", "<"}, requirement


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", dml.__version__)
    for name in ("setup.py", "pyproject.toml", "CITATION.cff"):
        assert dml.__version__ not in (ROOT / name).read_text(encoding="utf-8"), name
