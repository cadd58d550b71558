"""The status of an experiment, in the words of its file."""

import json

from dml.results import load
from dml.results.status import Status


def test_a_status_is_what_a_file_holds(tiny):
    assert load(tiny).attributes["status"] == Status.COMPLETE
    assert Status("diverged") is Status.DIVERGED


def test_a_status_is_text_wherever_it_is_written():
    assert json.dumps(Status.RUNNING) == '"running"'
    assert f"{Status.DIVERGED}" == "diverged"
