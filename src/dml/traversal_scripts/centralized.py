"""The command line that trains one model in one place, as published with Traversal Learning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dml.main import CallConfig, run
from dml.training import learning_rate
from dml.traversal_scripts.config import PublishedConfig, config_of, loss_text, parse, plan_of

if TYPE_CHECKING:
    from dml.results import Loaded

DESCRIPTION = (
    "Trains one model on the data of all nodes in one place, as published with Traversal Learning, and "
    "writes one HDF5 file."
)


TAKEN = ("out_dir",)
"""Further flags of experiments that it takes."""


class CentralizedConfig(PublishedConfig, CallConfig):
    """The flags of ``centralized.py`` that are no flags of experiments."""


def main(argv: Sequence[str]) -> int:
    """Runs the experiment, and prints its losses and accuracies by epoch, and the path of its file.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code, as that of ``decentralized_main.py``.
    """
    chosen, given = parse(CentralizedConfig, TAKEN, argv, prog="centralized.py", description=DESCRIPTION)
    planned = plan_of(config_of(chosen, given, algorithm="centralized", epochs=1))
    return run(planned, fresh=chosen.fresh, text=by_epoch)


def by_epoch(result: "Loaded") -> str:
    """A table with one line per epoch: learning rate, training loss, test loss and test accuracy."""
    from dml.results.record import FINAL
    from dml.results.status import Status

    settings, a = result.config, result.arrays
    schedule = learning_rate.parse(settings["lr_schedule"])
    lines = [
        f"{settings['dataset']}, {settings['model']}, batches of {settings['batch_size']}, "
        f"seed {settings['seed']}" + (": diverged" if result.attributes["status"] == Status.DIVERGED else ""),
        f"{'epoch':>5}{'lr':>12}{'train loss':>14}{'test loss':>14}{'test accuracy':>16}",
    ]
    samples = a["data/samples"]
    for row in np.flatnonzero(a["metrics/epoch"] != FINAL).tolist():
        epoch = int(a["metrics/round"][row])
        loss = float(a["metrics/train_loss"][row].astype(np.float64) @ samples / samples.sum())
        test_loss, test_acc = (float(a[f"metrics/test_{name}"][row, 0]) for name in ("loss", "acc"))
        rate = settings["lr"] * schedule.factor(epoch)
        # The answers of a model whose loss is not finite mean nothing.
        shown = f"{test_acc:.4f}" if np.isfinite(test_loss) else "not finite"
        losses = f"{loss_text(loss):>14}{loss_text(test_loss):>14}"
        lines.append(f"{epoch + 1:>5}{rate:>12.6g}{losses}{shown:>16}")
    return "\n".join(lines)
