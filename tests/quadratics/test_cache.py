"""Candidates from a file: the same table as when they were run."""

import pytest

from dml.errors import DamagedFileError
from dml.quadratics.cache import Cache
from dml.quadratics.setting import Setting, here
from dml.quadratics.tuning import Goal


def setting(zeta2):
    problem = {"d": 4, "r0": 1.0, "zeta2": zeta2}
    return Setting("relaysgd", "chain:n=6", 1, {}, problem, Goal("fastest", 1e-6, 4.0, 200))


def test_candidates_come_from_the_file_the_second_time(tmp_path):
    path, one = tmp_path / "candidates.json", setting(0.1)
    cache = Cache(path)
    first = one.cell(cache.wrap(here(one), one)).record()
    cache.write()

    def never(lrs, limit):
        raise AssertionError(f"{lrs} were tried")

    assert one.cell(Cache(path).wrap(never, one)).record() == first
    other = setting(10.0)
    with pytest.raises(AssertionError, match="were tried"):
        other.cell(Cache(path).wrap(never, other))


def test_other_code_finds_none_of_them(tmp_path, monkeypatch):
    path, one = tmp_path / "candidates.json", setting(0.1)
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
