"""Room: what an experiment holds, and that what cannot fit is refused before anything is allocated."""

from types import SimpleNamespace

import psutil
import pytest

from dml import config, room
from dml import plan as planning
from dml.errors import InputError
from dml.models.registry import build


@pytest.mark.parametrize(
    ("flags", "copies"),
    [
        ({}, 1),
        ({"momentum": 0.9}, 2),
        ({"optimizer": "adam"}, 3),
        ({"optimizer": "adamw", "prox_coeff": 0.1}, 4),
        ({"train": False}, 1),
    ],
)
def test_training_holds_its_optimisers_state_beside_the_models(tmp_path, flags, copies):
    made = planning.make(config.make({"topology_file": "cycle:n=4", "out_dir": tmp_path, **flags}))
    assert room.population(4810, made) == 4 * 4 * 4810
    assert room.held(4810, made) == copies * 4 * 4 * 4810


def test_nodes_that_do_not_fit_are_refused(small, monkeypatch):
    made = planning.make(small(optimizer="adam"))
    made.result.parent.mkdir(parents=True)

    def model():
        return build("mlp", (1, 8, 8), 10)

    needed = 3 * 4 * 4 * 4810
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    assert room.check(model, made) == 4810
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    with pytest.raises(InputError, match="--model mlp: 4 nodes need"):
        room.check(model, made)
