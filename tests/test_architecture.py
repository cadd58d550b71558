"""The imports of src/dml go one way, as the map in docs/architecture.md says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
from scripts import ROOT

SRC = ROOT / "src"


def name_of(path: Path) -> str:
    """The name by which a module is imported."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in (SRC / "dml").rglob("*.py")}


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(tree: ast.AST, types: bool) -> Iterator[str]:
    """What a module imports anywhere, also inside functions, and the parts that its registries list.

    Args:
        tree: of the module.
        types: also what is imported for annotations only.
    """
    for node in ast.iter_child_nodes(tree):
        if for_types_only(node) and not types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole path"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Registry["):
            package, places = map(ast.literal_eval, node.args)
            yield from (f"{package}.{place.partition(':')[0]}" for place in places.values())
        else:
            yield from imported(node, types)


def arrows(types: bool) -> set[tuple[str, str]]:
    """(importing module, imported module), both of dml."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    return {
        (name, other) for name, tree in trees.items() for other in imported(tree, types) if other in MODULES
    }


def part_of(module: str) -> str:
    """The package or module directly below dml."""
    return module.split(".")[1] if "." in module else module


def the_map() -> list[str]:
    """The names on the map from the ground up: of each line from left to right, the lowest line first."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = page.partition("## The map")[2].split("```")[1]
    lines = re.sub(r"\n +", "  ", block).strip().splitlines()
    return [name for line in reversed(lines) for name in line.partition(":")[2].split()]


def test_every_package_and_module_is_on_the_map_once():
    assert sorted(the_map()) == sorted({part_of(module) for module in MODULES} - {"dml"})


def test_no_import_goes_up_the_map_not_even_for_types():
    floor = {name: number for number, name in enumerate(["dml", *the_map()])}
    up = [
        f"{module} imports {other}"
        for module, other in sorted(arrows(types=True))
        if floor[part_of(module)] < floor[part_of(other)]
    ]
    assert up == []


def test_no_modules_import_each_other():
    graph = nx.DiGraph(arrows(types=False))
    circles = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    assert circles == []


def test_nothing_imports_from_the_scripts():
    scripts = {path.stem for folder in ("experiments", "create_topo") for path in (SRC / folder).glob("*.py")}
    assert "bd_scheduler" in scripts
    for module, path in MODULES.items():
        assert not scripts & set(imported(ast.parse(path.read_text(encoding="utf-8")), types=True)), module
