"""A loaded result file answers for its metrics, whichever of them it has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edited import edited

from dml import results
from dml.results.record import METRICS


@pytest.fixture
def changed(tiny: Path, tmp_path: Path) -> Callable[..., results.Loaded]:
    """``tiny``, with some datasets replaced, added, or (None) removed."""

    def make(**arrays: object) -> results.Loaded:
        path = tmp_path / "changed.h5"
        path.write_bytes(tiny.read_bytes())
        with edited(path) as file:
            for name, array in arrays.items():
                name = name.replace("__", "/")
                if name in file:
                    del file[name]
                if array is not None:
                    file[name] = array
        return results.load(path)

    return make


def test_values_of_a_node_whose_loss_is_not_finite_do_not_count(diverged: Callable[..., Path]) -> None:
    """Its accuracy would be that of class 0, which is the trigger's."""
    loaded = results.load(diverged(nodes=(1,)))
    for metric in ("test_acc", "ood_acc", "ood_asr"):
        found = loaded.values(metric, -1)
        assert np.isnan(found).tolist() == [False, True, False]
        assert np.isfinite(loaded.values(metric, 0)).all()
        assert found[0] == loaded.arrays[f"metrics/{metric}"][-1, 0]


def test_a_series_that_was_not_measured_is_nan(changed: Callable[..., results.Loaded]) -> None:
    loaded = changed(metrics__bytes=None)
    rows = len(loaded.arrays["metrics/round"])
    assert np.isnan(loaded.series("bytes")).tolist() == [True] * rows
    assert np.isnan(loaded.table["bytes"]).all()
    assert np.isfinite(loaded.series("updates")).all()


def test_a_metric_that_only_this_file_has_is_known_by_its_shape(
    changed: Callable[..., results.Loaded],
) -> None:
    """[T, n] is a metric of each node, and has a column of its own; [T] is a series, and has not."""
    plain = changed()
    rows, n = plain.arrays["metrics/test_acc"].shape
    loaded = changed(
        metrics__energy=np.arange(rows * n, dtype=np.float32).reshape(rows, n),
        metrics__elsewhere=np.zeros(rows),
    )
    assert loaded.metrics == (*plain.metrics, "energy")
    assert set(METRICS) <= set(loaded.metrics)
    assert loaded.table["energy"].tolist() == list(range(rows * n))
    assert "elsewhere" not in loaded.table


def test_single_models_are_those_that_the_file_has(changed: Callable[..., results.Loaded]) -> None:
    assert changed().singles == ("mean_model",)
    measured = {name for name in changed().arrays if name.startswith("mean_model/")}
    without = changed(**{name.replace("/", "__"): None for name in measured})
    assert without.singles == ()


def test_only_models_of_next_tokens_have_a_perplexity(tiny: Path) -> None:
    loaded = results.load(tiny)
    assert loaded.perplexities == ()
    assert not [column for column in loaded.table if column.endswith("perplexity")]


def test_attributes_alone_are_those_of_the_whole_file(tiny: Path) -> None:
    from dml.results import reader

    alone, loaded = reader.attributes(tiny), results.load(tiny)
    assert alone.pop("config") == loaded.config
    assert {name: alone[name] for name in ("experiment_id", "status", "rounds_done", "auc_ood")} == {
        name: loaded.attributes[name] for name in ("experiment_id", "status", "rounds_done", "auc_ood")
    }
