"""Cores for each worker."""

import pytest

from dml.errors import InputError
from dml.parallel.affinity import affinity_for, affinity_groups


def test_an_affinity_for_each_worker_is_left_as_it_is() -> None:
    assert affinity_for("list:0:1:2:3", accelerators=2, each=2) == "list:0:1:2:3"
    assert affinity_for("none", accelerators=2, each=2) == "none"
    assert affinity_for("list:0-2:4-6", accelerators=2, each=2) == "list:0:1-2:4:5-6"


def test_only_a_list_has_groups() -> None:
    assert affinity_groups("list:1-8,105-112:9-16") == ["1-8,105-112", "9-16"]
    with pytest.raises(ValueError, match="block is not a list of cores"):
        affinity_groups("block")


@pytest.mark.parametrize(
    ("affinity", "each", "words"),
    [
        ("list:0:1:2", 1, "must have a group of cores for each of 2 accelerators or 2 workers, not 3"),
        ("list:0:1", 2, "a group has too few cores for 2 workers"),
        ("list:0-:1", 1, "must be list:a-b"),
    ],
)
def test_another_number_of_groups_or_cores_is_refused(affinity: str, each: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        affinity_for(affinity, accelerators=2, each=each)
