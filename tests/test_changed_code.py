"""Results of other code: finished ones are kept and told, unfinished ones do not mix two rules."""

from collections.abc import Callable
from pathlib import Path

import pytest
from edited import edited
from scripts import Script
from stopping import StopAfter

from dml import code_hash, experiment, results
from dml.config import ExperimentConfig, from_flat
from dml.errors import OtherCodeError
from dml.parallel import expansion
from dml.parallel.flags import parse
from dml.parallel.main import _tell_code
from dml.parallel.scheduler import Scheduler
from dml.results import checkpoint, provenance
from dml.results.replaced import Replacing

Small = Callable[..., ExperimentConfig]
COMMIT = "0" * 40
ARGUMENTS = ("--topology_file", "cycle:n=4", "--rounds", 2, "--epochs", 1, "--threads", 1)


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this process have another code."""
    return lambda name: monkeypatch.setattr(code_hash, "code_sha256", lambda config: name)


def codes(path: Path) -> list[str]:
    return [segment["code_sha256"] for segment in results.load(path).segments]


def test_a_file_tells_by_which_code(small: Small) -> None:
    config = small()
    loaded = results.load(experiment.run(config))
    assert loaded.attributes["code_sha256"] == code_hash.code_sha256(config)
    assert codes(loaded.path) == [code_hash.code_sha256(config)]


def test_an_unfinished_one_goes_on_by_the_code_of_a_commit(
    small: Small, other_code: Callable[..., None]
) -> None:
    other_code("a")
    with pytest.raises(experiment.Stopped):
        experiment.run(small(rounds=4), stop=StopAfter(2), commit=COMMIT)
    other_code("b")
    path = experiment.run(small(rounds=4), commit=COMMIT)
    assert results.load(path).attributes["code_sha256"] == "a b"
    assert codes(path) == ["a", "b"]


@pytest.mark.parametrize("commit", [f"{COMMIT} dirty", f"{COMMIT} unknown", "unknown"])
def test_it_does_not_by_code_that_is_not_committed(
    small: Small, other_code: Callable[..., None], commit: str
) -> None:
    other_code("a")
    with pytest.raises(experiment.Stopped):
        experiment.run(small(rounds=4), stop=StopAfter(2), commit=commit)
    (path,) = small().run.out_dir.glob("*.h5")
    before = path.read_bytes()
    other_code("b")
    with pytest.raises(OtherCodeError, match=r"was begun by other code.*--fresh computes it again"):
        experiment.run(small(rounds=4), commit=commit)
    assert path.read_bytes() == before
    other_code("a")
    assert codes(experiment.run(small(rounds=4), commit=commit)) == ["a", "a"]


def test_it_does_not_with_other_versions_of_its_parts(small: Small, other_code: Callable[..., None]) -> None:
    other_code("a")
    path = experiment.run(small(rounds=2), commit=COMMIT)
    with edited(path) as file:
        file.attrs["numbers_version"] = file.attrs["numbers_version"].replace(
            '"model mlp": 1', '"model mlp": 2'
        )
    other_code("b")
    with pytest.raises(OtherCodeError, match="versions of its parts differ"):
        experiment.run(small(rounds=4), commit=COMMIT)


def test_if_the_code_cannot_be_read_a_run_goes_on(small: Small, other_code: Callable[..., None]) -> None:
    other_code("a")
    experiment.run(small(rounds=2), commit="unknown")
    other_code(code_hash.UNKNOWN)
    path = experiment.run(small(rounds=3), commit="unknown")
    assert results.load(path).attributes["code_sha256"] == "a unknown"


def test_an_older_file_does_not_tell_its_code_and_goes_on_by_that_of_a_commit(small: Small) -> None:
    path = experiment.run(small(rounds=2))
    with edited(path) as file:
        del file.attrs["code_sha256"]
        del file.attrs["digest"]
    with pytest.raises(OtherCodeError):
        experiment.run(small(rounds=3), commit="unknown")
    experiment.run(small(rounds=3), commit=COMMIT)
    assert results.load(path).has_digest


def test_rounds_that_were_computed_again_are_by_the_later_code_alone() -> None:
    def entry(start: int, code: str) -> dict[str, object]:
        return {"from_round": start, "code_sha256": code}

    assert provenance.codes([entry(0, "a"), entry(4, "b"), entry(0, "c")]) == ["c"]
    assert provenance.codes([entry(0, "a"), entry(4, "b"), entry(4, "c"), entry(9, "a")]) == ["a", "c"]
    assert provenance.codes([{}, entry(3, "b")]) == ["unknown", "b"]


def test_a_finished_one_is_kept_and_fresh_computes_it_again(
    script: Script, tmp_path: Path, other_code: Callable[..., None]
) -> None:
    other_code("a")
    assert script("decentralized_main.py", *ARGUMENTS).returncode == 0
    (path,) = (tmp_path / "results/single").glob("*.h5")
    before, saved = path.read_bytes(), checkpoint.path_of(path).read_bytes()
    assert "other code" not in script("decentralized_main.py", *ARGUMENTS).stderr

    other_code("b")
    kept = script("decentralized_main.py", *ARGUMENTS)
    assert "1 result by other code; --fresh computes it again\n" in kept.stderr
    assert path.read_bytes() == before

    again = script("decentralized_main.py", *ARGUMENTS, "--fresh")
    assert again.returncode == 0
    assert "nothing was run" not in again.stderr
    assert codes(path) == ["b"]
    (folder,) = path.parent.glob("replaced/*")
    assert (folder / path.name).read_bytes() == before
    assert (folder / checkpoint.path_of(path).name).read_bytes() == saved


def test_fresh_also_replaces_a_damaged_file_and_does_nothing_if_there_is_none(
    script: Script, tmp_path: Path
) -> None:
    assert script("decentralized_main.py", *ARGUMENTS, "--fresh").returncode == 0
    (path,) = (tmp_path / "results/single").glob("*.h5")
    assert not (path.parent / "replaced").exists()
    path.write_bytes(b"damaged")
    assert script("decentralized_main.py", *ARGUMENTS).returncode == 1
    for times in (1, 2):
        assert script("decentralized_main.py", *ARGUMENTS, "--fresh").returncode == 0
        assert results.load(path).attributes["status"] == "complete"
        assert len(list(path.parent.glob("replaced/*/*.h5"))) == times


SWEEP = ("--preset", "quickstart", "--rounds", "1", "--epochs", "1", "--limit", "3")


def test_a_sweep_tells_how_many_and_fresh_computes_them_again(
    tmp_path: Path, other_code: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plans = expansion.experiments(*parse([*SWEEP, "--out_dir", str(tmp_path)], prog="", description=""))
    other_code("a")
    for plan in plans:
        experiment.run(plan.config)
    outcome = Scheduler(plans, tmp_path).outcome
    assert (outcome.skipped, outcome.other_code, outcome.unknown_code) == (3, 0, 0)
    other_code("b")
    with edited(plans[0].result) as file:
        del file.attrs["code_sha256"], file.attrs["digest"]
    outcome = Scheduler(plans, tmp_path).outcome
    assert (outcome.skipped, outcome.other_code, outcome.unknown_code) == (3, 2, 1)
    _tell_code(outcome)
    assert "2 results by other code; --fresh computes them again" in caplog.text
    assert "1 older result by code that is not recorded" in caplog.text

    replacing = Replacing(tmp_path)
    again = Scheduler(plans, tmp_path, replacing=replacing)
    assert (again.outcome.skipped, again.left, replacing.moved) == (0, 3, 3)
    assert len(list(tmp_path.glob("replaced/*/*.h5"))) == len(list(tmp_path.glob("replaced/*/*.ckpt"))) == 3


@pytest.mark.slow
def test_workers_record_the_code_of_a_single_run_and_the_commit_that_the_scheduler_asked_for(
    process: Script, tmp_path: Path
) -> None:
    words = (*SWEEP, "--workers", 2, "--out_dir", tmp_path)
    for more in ((), ("--fresh",)):
        done = process("bd_scheduler.py", *words, *more)
        assert done.returncode == 0, done.stderr
    assert "3 results moved to" in done.stderr
    assert len(list(tmp_path.glob("replaced/*/*.h5"))) == 3
    assert not (tmp_path / "replaced/unfinished.txt").exists()
    for path in tmp_path.glob("*-*.h5"):
        (segment,) = results.load(path).segments
        config = from_flat(results.load(path).config)
        assert segment["code_sha256"] == code_hash.code_sha256(config)
        assert segment["git_commit"] == provenance.git_state()


def test_an_interrupted_fresh_call_goes_on_by_the_same_command(tmp_path: Path) -> None:
    path = tmp_path / "a-0123.h5"

    def call(code: str = "this") -> Replacing:
        replacing = Replacing(tmp_path)
        replacing.experiment(path, "0123", code)
        return replacing

    path.write_text("old")
    assert call().moved == 1
    path.write_text("begun")
    interrupted = call()
    assert interrupted.moved == 0
    assert path.read_text() == "begun"
    # What the interrupted call has computed is by other code, too, once the code is changed again.
    changed = call("that")
    assert changed.moved == 1
    path.write_text("begun again")
    assert call("that").moved == 0
    changed.finish()
    assert not (tmp_path / "replaced/unfinished.txt").exists()
    assert call("that").moved == 1
    assert sorted(p.read_text() for p in tmp_path.glob("replaced/*/*.h5*")) == ["begun", "begun again", "old"]


def test_quadratics_compute_their_candidates_again(script: Script, tmp_path: Path) -> None:
    words = ["--algorithms", "dpsgd@chain", "--nodes", 4, "--zeta2", 0.1, "--max_steps", 20, "--d", 2]
    words += ["--cache", tmp_path / "known.json"]
    script("quadratics.py", *words)
    before = (tmp_path / "known.json").read_text()
    script("quadratics.py", *words, "--fresh")
    (moved,) = tmp_path.glob("replaced/*/known.json")
    assert moved.read_text() == before
    assert (tmp_path / "known.json").read_text() == before
    assert not (tmp_path / "replaced/unfinished.txt").exists()
