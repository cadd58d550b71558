"""The user's manual (docs/*.md, and the README.md of three folders) holds against the program."""

import contextlib
import re
import shlex
from pathlib import Path

import pytest

from dml import command_line, config
from dml.data.fetch_main import FetchConfig
from dml.describe_graphs import DescribeConfig
from dml.network import make_keys, peers
from dml.network.make_keys import KeysConfig
from dml.parallel import flags as sweep_flags
from dml.parallel.config import SweepConfig
from dml.parallel.status_main import StatusConfig
from dml.parallel.table import tables_of
from dml.peers.config import PeerConfig
from dml.peers.launch import LaunchConfig
from dml.privacy import main as privacy
from dml.quadratics.config import QuadraticsConfig
from dml.results.config import CompileConfig, NodePictureConfig
from dml.shown_defaults import shown_defaults
from dml.topology_script import SeededConfig
from dml.traversal_network import node, orchestrator
from dml.traversal_network.config import NodeConfig, OrchestratorConfig
from dml.traversal_scripts import centralized, compare
from dml.traversal_scripts import config as published
from dml.traversal_scripts.centralized import CentralizedConfig
from dml.traversal_scripts.compare import CompareConfig

ROOT = Path(__file__).parents[1]
FOR_DEVELOPERS = {"architecture.md", "extending.md"}
"""Pages whose examples have flags and files of their own."""
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in FOR_DEVELOPERS]
PAGES += [ROOT / "README.md", ROOT / "parsl_configs/README.md", ROOT / "results/README.md"]
BY_NAME = [path.relative_to(ROOT).as_posix() for path in PAGES]

SECTIONS = {
    "describe_topology.py": DescribeConfig,
    "quadratics.py": QuadraticsConfig,
    "fetch_data.py": FetchConfig,
    "status.py": StatusConfig,
    "make_keys.py": KeysConfig,
}
ELSEWHERE = {
    "help",
    "device",
    "parts",
    "quick",
    "version",
    "system-site-packages",
    "no-deps",
    "kill-on-bad-exit",
    "train",
    "test",
    "me",
    "qos",
    "constraint",
    "gpus-per-node",
    "ntasks-per-node",
    "cpu-bind",
    "ppn",
    "build-arg",
    "rm",
    "read-only",
    "tmpfs",
    "user",
    "from-file",
    "for",
    "timeout",
}
"""Flags of every program, and of the benchmarks, pip, python, Slurm, mpiexec, docker and kubectl."""


def blocks(page, language=""):
    """The code blocks of a page."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands():
    """The calls of our scripts in the code blocks: page, script and words."""
    for page in PAGES:
        for line in "".join(blocks(page)).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if "src/experiments/" in line else []
            if words[:1] == ["python"] and "{" not in line:
                script = Path(words[1]).name
                yield pytest.param(
                    script, words[2:], id=f"{page.stem}: {' '.join([script, *words[2:]])}"[:80]
                )


@pytest.mark.parametrize(("script", "words"), [*commands()])
def test_a_command_of_the_manual_is_understood(script, words, tmp_path):
    # Help ends the program.
    with pytest.raises(SystemExit, match="0") if "--help" in words else contextlib.nullcontext():
        understand(script, words, tmp_path)


def understand(script, words, tmp_path):
    told = {"prog": script, "description": ""}
    match script:
        case "decentralized_main.py":
            fields = config.fields()
            config.make(command_line.parse(fields, words, **told, defaults=shown_defaults()))
        case "bd_scheduler.py":
            sweep_flags.parse(words, **told)
        case "tl_privacy.py":
            config.make(privacy.parse(words)[1])
        case "compile_results.py":
            # The folder comes first, and must be there.
            command_line.parse_section(CompileConfig, [str(tmp_path), *words[1:]], **told)
        case "centralized.py":
            found = published.parse(CentralizedConfig, centralized.TAKEN, words, **told)
            published.config_of(*found, algorithm="centralized")
        case "tl_orchestrator.py":
            orchestrator.planned_of(*published.parse(OrchestratorConfig, orchestrator.TAKEN, words, **told))
        case "tl_node.py":
            assert published.parse(NodeConfig, node.TAKEN, words, **told)[0].node >= 0
        case "launch_peers.py" | "peer.py":
            own = LaunchConfig if script == "launch_peers.py" else PeerConfig
            fields = [*(("peers", flag, info) for flag, info in own.flags()), *config.fields()]
            given = command_line.parse(fields, words, **told, defaults=shown_defaults())
            own(**{flag: given.pop(flag) for flag, _ in own.flags() if flag in given})
            config.make(given)
        case "tl_compare.py":
            found = published.parse(CompareConfig, compare.TAKEN, words, **told)
            published.config_of(*found, algorithm="traversal")
        case _:
            command_line.parse_section(SECTIONS[script], words, **told)


@pytest.mark.parametrize("page", PAGES, ids=BY_NAME)
def test_every_flag_that_the_manual_names_exists(page):
    known = {flag for _, flag, _ in config.fields()} | ELSEWHERE
    others = (
        CompareConfig,
        LaunchConfig,
        PeerConfig,
        OrchestratorConfig,
        NodeConfig,
        SweepConfig,
        CompileConfig,
        NodePictureConfig,
        SeededConfig,
    )
    for section in (*others, privacy.PrivacyConfig, *SECTIONS.values()):
        known |= {flag for flag, _ in section.flags()}
    named = set(re.findall(r"--(\w[\w-]*)", page.read_text()))
    assert {flag for flag in named if flag.removeprefix("no_").removeprefix("non_") not in known} == set()


@pytest.mark.parametrize("page", PAGES, ids=BY_NAME)
def test_the_sweep_files_of_the_manual_can_be_read(page, tmp_path):
    for block in blocks(page, "yaml"):
        if page.name != "network.md":
            (tmp_path / "sweep.yaml").write_text(block)
            assert tables_of(tmp_path / "sweep.yaml")


def test_the_file_of_peers_of_the_manual_can_be_read(tmp_path):
    (block,) = blocks(ROOT / "docs/network.md", "yaml")
    (tmp_path / "peers.yaml").write_text(block)
    make_keys.make(tmp_path / "keys", ["node 0", "node 1"])
    assert peers.load(tmp_path / "peers.yaml").names == ["node 0", "node 1"]


def test_the_program_of_the_page_on_the_network_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DML_KEYS", str(tmp_path))
    assert printed_by("docs/network.md", 0, capsys) == [10]


def printed_by(page, place, capsys):
    """What one of the Python programs of a page prints."""
    exec(compile(blocks(ROOT / page, "python")[place], page, "exec"), {})
    return [float(word) for word in capsys.readouterr().out.replace("[", " ").replace("]", " ").split()]


def test_the_programs_of_the_page_on_algorithms_run(capsys):
    (distance,) = printed_by("docs/algorithms.md", 0, capsys)
    assert distance == pytest.approx(0.9147, abs=1e-4)
    # 200 rounds of a chain of 8: one message of 10 numbers and a counter to each neighbour.
    assert printed_by("docs/algorithms.md", 1, capsys)[0] == 8800


def test_the_program_of_the_page_on_the_paper_prints_the_shares_that_the_page_names(capsys):
    shares = printed_by("docs/reproduce_the_paper.md", 0, capsys)
    assert shares == pytest.approx([0.0015, 0.0509], abs=5e-5)


@pytest.mark.parametrize("page", PAGES, ids=BY_NAME)
def test_lines_of_the_manual_can_be_read_as_text(page):
    lines = [line for line in page.read_text().splitlines() if not line.startswith("![")]
    assert [line for line in lines if len(line) > 160] == []
