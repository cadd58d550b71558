"""The script that draws graphs, as a user calls it."""

import shutil
from pathlib import Path

import pytest
from edited import edited
from scripts import Script


def test_it_writes_a_picture_and_prints_its_path(script: Script, tiny: Path, tmp_path: Path):
    # A sweep's own table, which results/quickstart/*.h5 names too, is no result.
    (tmp_path / "summary.h5").write_bytes(b"the table of a sweep")
    called = script("draw_nodes.py", tiny, "summary.h5", "--metric", "test_acc", "--round", 0)
    assert (called.returncode, called.stdout) == (0, "nodes.png\n"), called.stderr
    assert (tmp_path / "nodes.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.h5"], "error: FILE none.h5: does not exist; give result files"),
        (["folder"], "error: FILE folder: is a folder; give result files"),
        ([], "error: FILE: name at least one (result files"),
        (["tiny.h5", "--out", "folder.png"], "error: --out folder.png: is a folder; give a file"),
        (["tiny.h5", "--out", "a.txt"], "error: --out a.txt: must end with .png, .pdf, .svg"),
        (["tiny.h5", "--out", "no/a.png"], "error: --out no/a.png: is in a folder that does not exist"),
        (["tiny.h5", "--metric", "x"], "error: --metric x: is not in tiny.h5"),
    ],
)
def test_wrong_words_are_refused_by_name(script: Script, tiny: Path, tmp_path: Path, words, says):
    shutil.copyfile(tiny, tmp_path / "tiny.h5")
    for name in ("folder", "folder.png"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    called = script("draw_nodes.py", *words)
    assert called.returncode == 2
    assert called.stderr.startswith(says)
    assert len(called.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_file_is_named(script: Script, tiny: Path, tmp_path: Path):
    shutil.copyfile(tiny, tmp_path / "bad.h5")
    with edited(tmp_path / "bad.h5") as file:
        file["topology/edges"][0, 1] = 99
    called = script("draw_nodes.py", "bad.h5")
    assert called.returncode == 1
    assert called.stderr.startswith("error: bad.h5 cannot be read (")
    assert len(called.stderr.splitlines()) == 1


def test_endings_in_capitals_are_formats_too(script: Script, tiny: Path, tmp_path: Path):
    assert script("draw_nodes.py", tiny, "--out", "x.PNG").returncode == 0
    assert (tmp_path / "x.PNG").read_bytes().startswith(b"\x89PNG")
