"""The commit and the library versions that a result file names."""

import shutil
import subprocess

import pytest

import dml
from dml.results.provenance import git_commit, git_state, segment


def git(folder, *words):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "module.py").touch()
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def test_the_commit_is_that_of_git(repository):
    head = git(repository, "rev-parse", "HEAD")
    assert git_commit(repository / "package" / "module.py") == head
    # In one file with all other branches, as after a clone.
    git(repository, "pack-refs", "--all")
    assert git_commit(repository / "package" / "module.py") == head
    git(repository, "checkout", "--quiet", "--detach")
    assert git_commit(repository / "package" / "module.py") == head


def test_a_worktree_has_a_commit_of_its_own(repository, tmp_path):
    other = tmp_path / "other"
    git(repository, "worktree", "add", "--quiet", "-b", "branch", str(other))
    git(other, "commit", "--quiet", "--allow-empty", "-m", "second")
    assert git_commit(other / "package" / "module.py") == git(other, "rev-parse", "HEAD")
    assert git_commit(other / "package" / "module.py") != git(repository, "rev-parse", "HEAD")


def test_outside_a_repository_there_is_no_commit(tmp_path):
    assert git_commit(tmp_path / "module.py") is None


def test_the_state_says_whether_files_differ_from_the_commit(repository):
    module, head = repository / "package" / "module.py", git(repository, "rev-parse", "HEAD")
    (repository / "notes.txt").touch()
    (repository / "package" / "results.h5").touch()
    assert git_state(module) == head
    (repository / "package" / "new.py").touch()
    assert git_state(module) == f"{head} dirty"
    (repository / "package" / "new.py").unlink()
    module.write_text("changed = True")
    assert git_state(module) == f"{head} dirty"


def test_without_git_the_state_is_unknown(repository, tmp_path, monkeypatch):
    head = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(repository / "package" / "module.py") == f"{head} unknown"
    assert git_state(tmp_path / "module.py") == "unknown"


def test_a_segment_names_what_the_numbers_depend_on():
    found = segment({"accelerator": "cpu"}, from_round=3, code="c", commit="d")
    assert found["from_round"] == 3
    assert found["accelerator"] == "cpu"
    assert {"python", "dml", "torch", "numpy"} <= found["versions"].keys()
    assert found["versions"]["dml"] == dml.__version__
