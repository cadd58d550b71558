"""The documentation: its links lead somewhere, and what the README shows works."""

import re
from pathlib import Path

import pytest
from scripts import ROOT, Script

from dml.topology import read

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("parsl_configs/*.md")]
PAGES += [ROOT / "results" / "README.md"]

CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def links(page: Path) -> list[str]:
    """The targets of a page's links within the repository."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page end in, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_one_click_from_the_readme_says_how_to_add_each_kind_of_part():
    kinds = ("a-strategy", "an-algorithm", "a-model", "a-data-set", "a-site")
    assert {f"docs/extending.md#{kind}" for kind in kinds} < set(links(ROOT / "README.md"))


def test_the_readme_reads_the_result_of_its_first_experiment(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert script("decentralized_main.py").returncode == 0
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0.05 ")
    # Models of 4,810 numbers over both directions of 28 edges, in 10 rounds.
    assert int(lines[-1]) == 4 * 4810 * 28 * 2 * 10


def test_the_readmes_ring_is_a_graph(tmp_path: Path):
    (ring,) = re.findall(r"```\n([0-9. \n]+)```", (ROOT / "README.md").read_text("utf-8"))
    (tmp_path / "ring.txt").write_text(ring)
    topology = read(str(tmp_path / "ring.txt"), seed=0)
    assert topology.degree.tolist() == [2, 2, 2, 2]
    assert sorted(topology.weights) == [0.5, 1, 1, 1]
