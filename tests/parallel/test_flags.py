"""The command line of a sweep."""

import pytest

from dml import config
from dml.errors import InputError
from dml.parallel import flags
from dml.parallel.config import SweepConfig


def parse(*words: str):
    return flags.parse(words, prog="bd_scheduler.py", description="A sweep.")


def test_the_schedulers_flags_and_those_of_the_experiments_are_told_apart():
    sweep, rest = parse(
        "--preset", "quickstart", "--seeds", "3", "4", "--control", "--lr", "0.1", "--no_train"
    )
    assert (sweep.preset, sweep.seeds, sweep.control) == ("quickstart", (3, 4), True)
    assert rest == {"lr": "0.1", "train": False}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "digits"], "dataset: a sweep varies it; it is set by --datasets"),
        (["--no_backdoor"], "backdoor: a sweep varies it"),
        (["--topology-file=x"], "topology_file: a sweep varies it"),
        (["--seedz", "1"], r"seedz: there is no such flag \(did you mean --seeds\?\)"),
        (["--seeds"], "seeds: name at least one"),
    ],
)
def test_what_cannot_be_right_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        parse(*words)


def test_the_help_has_every_flag_once_with_the_defaults_of_the_presets(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    expected = {*SweepConfig.model_fields, *(flag for _, flag, _ in config.fields())} - set(flags.FACTORS)
    for flag in expected:
        assert text.count(f" --{flag} ") + text.count(f" --{flag}, ") >= 1, flag
    assert "communication rounds (default: 40 in" in text
    assert "(default: 1 per worker)" in text
    assert "(default: results/<preset, or name of the file>)" in text
