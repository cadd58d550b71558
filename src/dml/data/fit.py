"""Checks whether the kind of OOD data and the model fit the data set, given its description."""

from dml.data.config import DataConfig
from dml.data.dataset import NEXT_TOKEN, DatasetSpec
from dml.errors import InputError
from dml.models.registry import MODELS


def check_fit(config: DataConfig, model: str, dataset: DatasetSpec) -> None:
    """Refuses a kind of OOD data or a model that does not fit the data set.

    Args:
        config: names the data set and the kind of OOD data.
        model: the name of the model.
        dataset: the description of the data set.

    Raises:
        InputError: they do not fit; the error names ``ood_kind``, ``ood_class`` or ``model``.
    """
    _check_ood(config, dataset)
    spec = MODELS[model]
    spec.check()
    if not spec.fits(dataset.shape):
        shape = " x ".join(map(str, dataset.shape)) + (" tokens" if dataset.task == NEXT_TOKEN else "")
        fitting = ", ".join(name for name, other in MODELS.items() if other.fits(dataset.shape))
        right = f"takes {spec.takes}, but {config.dataset} has {shape}; models that fit: {fitting or 'none'}"
        raise InputError("model", model, right)


def _check_ood(config: DataConfig, dataset: DatasetSpec) -> None:
    kind, name = config.ood_kind, config.dataset
    # Where a label stands in the sequences, their kinds are something else, of which one can be held out.
    possible = ("trigger", "heldout_class") if dataset.choices else ("trigger",)
    if dataset.task == NEXT_TOKEN and kind not in possible:
        words = "trigger and heldout_class are" if dataset.choices else "only trigger is"
        raise InputError("ood_kind", kind, f"needs images; for {name} {words} possible")
    if kind == "rotated" and (len(dataset.shape) != 3 or dataset.shape[1] != dataset.shape[2]):
        raise InputError("ood_kind", kind, f"needs square images, and those of {name} are not square")
    if kind == "heldout_class" and config.ood_class >= dataset.labels:
        raise InputError("ood_class", config.ood_class, f"{name} has the classes 0 to {dataset.labels - 1}")
