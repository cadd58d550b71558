"""docs/extending.md: its files and lines, in a copy of the repository, do what it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scripts import ROOT

from dml import config, results
from dml.models.registry import MODELS

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

CODE = r"\n\n```python\n(?P<code>.*?)```"
NEW_FILE = re.compile(r"^In a new file `(?P<path>[^`]+)`:" + CODE, re.DOTALL | re.MULTILINE)
NEW_LINES = re.compile(
    r"^In `(?P<path>[^`]+)`, (?P<where>above|below) the line `(?P<line>[^`]+)`:" + CODE,
    re.DOTALL | re.MULTILINE,
)
COMMANDS = re.compile(r"^```\n(python .*?)```", re.DOTALL | re.MULTILINE)

# One process runs all commands that train, since each new one would import torch again.
RUN_ALL = """
import runpy, sys
for words in {commands!r}:
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


def commands() -> list[list[str]]:
    """The command lines of the page, without the word python."""
    lines = "".join(COMMANDS.findall(PAGE)).replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines]
    return [line[1:] for line in words]


def insert(file: Path, where: str, line: str, code: str) -> None:
    """Puts code above or below the only line of a file that reads so, as far to the right as that one."""
    lines = file.read_text(encoding="utf-8").splitlines()
    (at,) = [number for number, text in enumerate(lines) if text.strip() == line]
    margin = lines[at][: len(lines[at]) - len(line)]
    new = [margin + text if text else text for text in code.splitlines()]
    # Two empty lines after a function or class, as the style wants it.
    new += ["", ""] if code.startswith(("def ", "class ")) else []
    at += where == "below"
    file.write_text("\n".join(lines[:at] + new + lines[at:]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with everything that the page adds."""
    clone = tmp_path_factory.mktemp("clone")
    for folder in ("src", "parsl_configs", "tests"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg*"))
    shutil.copy(ROOT / "pyproject.toml", clone)
    for found in NEW_FILE.finditer(PAGE):
        assert not (ROOT / found["path"]).exists(), f"{found['path']} is there already"
        (clone / found["path"]).write_text(found["code"], encoding="utf-8")
    for found in NEW_LINES.finditer(PAGE):
        insert(clone / found["path"], found["where"], found["line"], found["code"])
    return clone


def call(clone: Path, *words: str) -> None:
    """Runs Python in the clone, on the clone's own library."""
    environment = {**os.environ, "PYTHONPATH": str(clone / "src")}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def found(clone: Path) -> dict[str, results.Loaded]:
    """The results of the page's single runs, and of one that leaves the models as they start, by name."""
    single = [line for line in commands() if line[0].endswith("decentralized_main.py")]
    median = next(line for line in single if "median" in line)
    start = ["test_agg" if word == "median" else word for word in median]
    call(clone, "-c", RUN_ALL.format(commands=[*single, start]))
    loaded = [results.load(path) for path in (clone / "results" / "single").glob("*.h5")]
    assert len(loaded) == len(single) + 1
    plain = {"dataset": "digits", "model": "mlp", "algorithm": "decentralized"}

    def name(config: dict[str, object]) -> object:
        own = [config[key] for key, usual in plain.items() if config[key] != usual]
        return own[0] if own else config["aggregation_strategy"]

    return {str(name(one.config)): one for one in loaded}


def models(result: results.Loaded) -> np.ndarray:
    """X at the end, [n, P]."""
    with h5py.File(result.path.with_suffix(".ckpt")) as file:
        return file["X"][()]


def test_the_page_has_an_example_of_each_kind():
    files = {found["path"].rpartition("/")[0] for found in NEW_FILE.finditer(PAGE)}
    lines = [found["path"] for found in NEW_LINES.finditer(PAGE)]
    kinds = ["algorithms", "models", "data/sources"]
    assert files == {*(f"src/dml/{kind}" for kind in kinds), "parsl_configs", "tests/algorithms"}
    assert len(lines) == len(re.findall(r"^In `", PAGE, re.MULTILINE)) == 12
    assert len(commands()) == 9


def test_the_examples_keep_the_style_of_the_project(clone):
    for check in (["check"], ["format", "--check"]):
        call(clone, "-m", "ruff", *check, "--no-cache", "src", "tests", "parsl_configs")


def test_a_strategy_by_scores(found):
    """After one round on a star each leaf holds a fifth of the hub's model, and the hub a 17th of its own."""
    assert found["low_degree"].attributes["forecast_ood"] == pytest.approx((4 / 5 + 1 / 17) / 5)


def test_a_strategy_that_reduces(found):
    start, end = models(found["test_agg"]), models(found["median"])
    assert np.ptp(start, axis=0).max() > 0.1
    np.testing.assert_array_equal(end, np.tile(np.median(start, axis=0), (5, 1)))


def test_an_algorithm(found):
    start, end = models(found["test_agg"]), models(found["damped_gossip"])
    np.testing.assert_allclose(end, start + 0.25 * (start.mean(0) - start), rtol=0, atol=1e-6)
    assert found["damped_gossip"].config["consensus_step"] == 0.25


@pytest.mark.slow
def test_the_tests_of_a_strategy_and_of_an_algorithm(clone):
    (golden,) = [line for line in commands() if line[0].startswith("tests/golden")]
    call(clone, *golden)
    lines = [line for line in commands() if line[:2] == ["-m", "pytest"]]
    assert all(line[-2] == "-k" for line in lines)
    places, names = {place for line in lines for place in line[2:-2]}, [line[-1] for line in lines]
    call(clone, "-m", "pytest", *sorted(places), "-k", " or ".join(names), "-p", "no:cacheprovider")


def test_a_model(found):
    parameters = 64 * 20 + 20 + 20 * 10 + 10
    sent = found["shallow"].arrays["communication/bytes_sent"]
    np.testing.assert_array_equal(sent, np.full((1, 4), 2 * 4 * parameters))


def test_a_data_set(found):
    assert found["stripes"].arrays["data/label_counts"].shape == (4, 4)
    assert found["stripes"].arrays["data/samples"].sum() == 800
    assert found["stripes"].attributes["final_test"] > 0.95


@pytest.mark.slow
def test_a_site(clone):
    (sweep,) = [line for line in commands() if line[0].endswith("bd_scheduler.py")]
    call(clone, *sweep)
    done = [results.load(path) for path in (clone / "results" / "quickstart").glob("digits-*.h5")]
    assert {one.config["aggregation_strategy"] for one in done} == {"low_degree", "median"}
    assert all(one.attributes["status"] == "complete" for one in done)


def test_a_part_of_a_program_of_its_own(monkeypatch):
    (model,) = [found["code"] for found in NEW_FILE.finditer(PAGE) if found["path"].endswith("shallow.py")]
    (line,) = re.findall(r'^MODELS\["shallow"\] = SHALLOW$', PAGE, re.MULTILINE)
    names: dict[str, object] = {"MODELS": MODELS, "__name__": __name__}
    exec(model, names)
    monkeypatch.setitem(MODELS, "shallow", None)  # so that it is gone after the test
    exec(line, names)
    assert config.make({"model": "shallow", "width": 9}).training.model_options.model_dump() == {"width": 9}
