"""What a kill in the last writes leaves is removed by the next call, which finds the experiment finished."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dml import experiment
from dml.config import ExperimentConfig
from dml.files import temporary
from dml.parallel.scheduler import Scheduler
from dml.plan import make_plan
from dml.results import checkpoint
from dml.results.lock import lock_of, locked
from dml.results.writer import Result

Small = Callable[..., ExperimentConfig]


class Killed(BaseException):
    """The end of a process at this place."""


def killed_after_the_last_result(config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that is killed between its last result and the removal of its checkpoint."""
    write = Result.write

    def write_and_end(result: Result, path: Path) -> None:
        write(result, path)
        if result.status == "complete":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Result, "write", write_and_end)
        with pytest.raises(Killed):
            experiment.run(config)
    path = make_plan(config).result
    # What a process that ends by itself removes.
    lock_of(path, path.stem[-12:]).touch()
    temporary(checkpoint.path_of(path)).write_text("half a checkpoint")
    return path


@pytest.mark.parametrize("again", ["single", "sweep"])
def test_nothing_but_the_result_is_left(small: Small, monkeypatch: pytest.MonkeyPatch, again: str) -> None:
    config = small(keep_checkpoint=False, checkpoint_every=1)
    path = killed_after_the_last_result(config, monkeypatch)
    assert len(list(path.parent.iterdir())) == 4
    before = path.read_bytes()
    if again == "single":
        experiment.run(config)
    else:
        assert Scheduler([make_plan(config)], path.parent).outcome.skipped == 1
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_checkpoint_that_was_kept_on_purpose_stays(small: Small) -> None:
    path = experiment.run(small())
    experiment.run(small(keep_checkpoint=False))
    assert checkpoint.path_of(path).exists()


def test_a_sweep_leaves_files_alone_that_another_process_may_be_writing(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(keep_checkpoint=False, checkpoint_every=1)
    path = killed_after_the_last_result(config, monkeypatch)
    with locked(path, path.stem[-12:]):
        assert Scheduler([make_plan(config)], path.parent).outcome.skipped == 1
        assert len(list(path.parent.iterdir())) == 4
