"""Candidates in workers and from a file: the same table as one after another."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dml.errors import DamagedFileError
from dml.quadratics.cache import Cache
from dml.quadratics.setting import Setting, here
from dml.quadratics.table import Goal
from dml.quadratics.workers import Workers, run_task


def setting(name="relaysgd", graph="chain:n=6", zeta2=0.1, tune="fastest"):
    problem = {"d": 4, "r0": 1.0, "zeta2": zeta2, "noise": 0.0 if tune == "fastest" else 1e-3}
    goal = Goal(tune, 1e-6 if tune == "fastest" else 1e-2, 4.0, 200)
    return Setting(name, graph, 1, {}, problem, goal)


SETTINGS = [
    setting(),
    setting(zeta2=10.0),
    setting("dpsgd", "cycle:n=6"),
    setting("allreduce", "complete:n=5"),
    setting("dpsgd", "cycle:n=6", tune="plateau"),
]


def test_cells_searched_side_by_side_are_those_searched_one_after_another():
    alone = [one.cell(here(one)).record() for one in SETTINGS]
    with ThreadPoolExecutor(2) as pool:
        workers = Workers(SimpleNamespace(executors=[]), lambda text: pool.submit(run_task, text))
        beside = [cell.record() for cell in workers.cells(SETTINGS, lambda attempt, one: attempt)]
    assert json.dumps(beside) == json.dumps(alone)


def test_what_a_worker_cannot_do_is_told():
    wrong = setting("relaysgd", "barabasi_albert:n=6,m=2")
    wrong = replace(wrong, options={"tree": "given"})
    answer = json.loads(run_task(json.dumps([wrong.to_json(), 0.1, 10])))
    assert answer["error"].startswith("InputError: tree given")


def test_candidates_come_from_the_file_the_second_time(tmp_path):
    path, one = tmp_path / "candidates.json", SETTINGS[0]
    cache = Cache(path)
    first = one.cell(cache.wrap(here(one), one)).record()
    cache.write()

    def never(lrs, limit):
        raise AssertionError(f"{lrs} were tried")

    assert one.cell(Cache(path).wrap(never, one)).record() == first
    other = SETTINGS[1]
    with pytest.raises(AssertionError, match="were tried"):
        other.cell(Cache(path).wrap(never, other))


def test_other_code_finds_none_of_them(tmp_path, monkeypatch):
    path, one = tmp_path / "candidates.json", SETTINGS[0]
    cache = Cache(path)
    cache.wrap(here(one), one)([0.5], 20)
    cache.write()
    monkeypatch.setattr("dml.quadratics.cache._code", lambda: "another")
    tried = []
    Cache(path).wrap(lambda lrs, limit: tried.extend(lrs) or here(one)(lrs, limit), one)([0.5], 20)
    assert tried == [0.5]


@pytest.mark.parametrize("text", ["", "[1]", '{"a": {"b": 1}}'])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path, text):
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(DamagedFileError, match="holds no candidates"):
        Cache(path)
    assert path.read_text() == text
