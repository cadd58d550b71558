"""The scheduler's own flags."""

from pathlib import Path

import pytest

from dml.errors import InputError
from dml.parallel.flags import separated


@pytest.mark.parametrize(
    ("flags", "name", "folder"),
    [
        ({}, "digits", "results/digits"),
        ({"preset": "paper"}, "paper", "results/paper"),
        ({"sweep": "my/own.yaml"}, "own", "results/own"),
        ({"preset": "paper", "tune_lr": "worst_test"}, "paper", "results/paper-tuning"),
        ({"preset": "paper", "out_dir": "here"}, "paper", "here"),
    ],
)
def test_a_sweep_is_named_for_its_preset_or_file(flags: dict[str, str], name: str, folder: str) -> None:
    sweep, _ = separated(flags)
    assert (sweep.name, sweep.folder) == (name, Path(folder))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tune_lr": "worst_test", "control": True}, "control: excludes --tune_lr"),
        ({"tune_lr": "worst_test", "ceiling": True}, "ceiling: excludes --tune_lr"),
        ({"tune_lr": "worst_test", "limit": "3"}, "limit 3: excludes --tune_lr"),
        ({"tune_lr": "loss"}, "tune_lr loss: must be 'worst', 'final'"),
        ({"sweep": "a.yaml", "preset": "digits"}, "preset digits: excludes --sweep"),
        ({"sweep": "a/digits.yaml"}, "sweep a/digits.yaml: results/digits is the folder of the preset"),
        ({"preset": "digit"}, r"preset digit: no such preset \(did you mean digits\?\)"),
        ({"datasets": ("nowhere",)}, "datasets nowhere: nowhere is not a data set"),
        ({"seeds": ("0", "-1")}, "seeds 0 -1: seeds are whole numbers from 0"),
        ({"ood_ranks": ("0",)}, "ood_ranks 0: must be at least 1"),
        ({"workers": "0"}, "workers 0: must be at least 1"),
    ],
)
def test_what_cannot_be_right_is_refused(flags: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match="^" + message):
        separated(flags)
