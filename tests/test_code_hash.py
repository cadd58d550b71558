"""The hash of the code: what it covers, and that it is the same whoever computes it."""

import ast
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripts import ROOT

from dml import code_hash, config
from dml.algorithms.registry import ALGORITHMS


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the library's sources, from which hashes are computed within the test."""
    shutil.copytree(ROOT / "src/dml", tmp_path / "dml", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_hash, "_SOURCES", tmp_path)
    forget()
    yield tmp_path / "dml"
    forget()


def forget() -> None:
    for function in (code_hash._hash, code_hash._module, code_hash._path):
        function.cache_clear()


def hash_of(**flags: object) -> str:
    forget()
    return code_hash.code_sha256(config.make(flags))


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


@pytest.mark.parametrize(
    "name",
    [
        "coefficients/strategies.py",
        "algorithms/decentralized.py",
        "training/batched.py",
        "models/mlp.py",
        "data/sources/digits.py",
        "data/partitions/budgets.py",
        "exchange/sums.py",
    ],
)
def test_other_code_in_a_module_that_the_experiment_uses_is_another_hash(sources: Path, name: str) -> None:
    before = hash_of()
    edit(sources / name, lambda text: f"{text}\nmore = 1\n")
    assert hash_of() != before


@pytest.mark.parametrize(
    "name",
    [
        "algorithms/d2.py",
        "models/vit.py",
        "data/sources/tiny_mem.py",
        "results/writer.py",
        "parallel/scheduler.py",
        "progress.py",
        "command_line.py",
        "main.py",
        "quadratics/problem.py",
        "__init__.py",
    ],
)
def test_other_code_in_a_module_that_computes_none_of_its_numbers_is_not(sources: Path, name: str) -> None:
    before = hash_of()
    edit(sources / name, lambda text: f"{text}\nmore = 1\n")
    assert hash_of() == before


def test_an_experiment_has_the_code_of_its_own_algorithm(sources: Path) -> None:
    before = {name: hash_of(algorithm=name) for name in ("d2", "dpsgd")}
    edit(sources / "algorithms/d2.py", lambda text: f"{text}\nmore = 1\n")
    assert hash_of(algorithm="d2") != before["d2"]
    assert hash_of(algorithm="dpsgd") == before["dpsgd"]


def test_comments_docstrings_formatting_and_descriptions_of_flags_do_not_count(sources: Path) -> None:
    before = hash_of()
    path = sources / "training/config.py"

    class Shorter(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.Expr:
            return ast.Expr(ast.Constant("other")) if isinstance(node.value, ast.Constant) else node

        def visit_keyword(self, node: ast.keyword) -> ast.keyword:
            self.generic_visit(node)
            return ast.keyword("description", ast.Constant("x")) if node.arg == "description" else node

    edit(path, lambda text: "# new\n" + ast.unparse(Shorter().visit(ast.parse(text))))
    assert hash_of() == before


def test_a_new_line_of_a_registry_does_not_count(sources: Path) -> None:
    before = hash_of()
    edit(sources / "algorithms/registry.py", lambda text: text.replace('"d2": ', '"new": "new:X", "d2": '))
    assert hash_of() == before


def test_a_source_that_cannot_be_read_gives_no_hash_and_no_error(
    sources: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sources / "population.py").unlink()
    assert hash_of() == code_hash.UNKNOWN
    assert "cannot be read" in caplog.text
    (sources / "population.py").write_text("def broken(:\n")
    assert hash_of() == code_hash.UNKNOWN
    (sources / "population.py").write_bytes(b"\0\xff")
    assert hash_of() == code_hash.UNKNOWN


def test_it_does_not_depend_on_what_a_process_has_imported() -> None:
    """A worker has imported the algorithms of its earlier experiments, and a process of its own has not."""
    code = """
        from dml import code_hash, config
        print(code_hash.code_sha256(config.make({"algorithm": "d2"})))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    alone = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    for name in ALGORITHMS:
        assert ALGORITHMS[name]
    import dml.experiment  # noqa: F401

    assert code_hash.code_sha256(config.make({"algorithm": "d2"})) == alone


def test_everything_that_an_experiment_imports_is_covered() -> None:
    """What the modules of a run import of dml is reached, but for what is left out on purpose."""
    code = """
        import sys
        from dml import config, experiment, code_hash
        import tempfile
        flags = {"rounds": 1, "epochs": 1, "topology_file": "cycle:n=3", "out_dir": tempfile.mkdtemp()}
        experiment.run(config.make(flags))
        first = {"dml.experiment", "dml.algorithms.decentralized", "dml.models.mlp"}
        reached = code_hash._reached(first | {"dml.data.sources.digits", "dml.data.partitions.budgets"})
        left = {m for m in sys.modules if m.startswith("dml.")} - reached
        print("\\n".join(sorted(left)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # The registries import all parts to show the help of their options.
    parts = ("dml.algorithms.", "dml.walks.", "dml.models.", "dml.data.sources.", "dml.data.partitions.")
    left = {name for name in done.stdout.split() if not name.startswith((*code_hash._LEFT_OUT, *parts))}
    assert left == set()


def test_what_is_imported_for_types_alone_does_not_count() -> None:
    source = "if TYPE_CHECKING:\n    import dml.config\nelse:\n    import dml.plan\n"
    assert list(code_hash._imports(ast.parse(source))) == ["dml.plan"]
