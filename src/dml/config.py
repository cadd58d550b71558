"""The one definition of an experiment: sections of fields, flat by name everywhere a user meets them.

`make` turns flags into an :class:`ExperimentConfig`: defaults that depend on the data set or the
optimiser are filled in, and a field that nothing reads in this experiment is refused when it was given.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from dml.algorithms import config as algorithms
from dml.algorithms.config import AlgorithmConfig
from dml.algorithms.registry import EXPERIMENTS, Options
from dml.coefficients.config import StrategyConfig
from dml.coefficients.strategies import STRATEGIES
from dml.data.config import DATASETS, NEXT_TOKEN, PRESETS, DataConfig, known
from dml.errors import InputError
from dml.models.registry import MODELS
from dml.section import MAX_COUNT, Section, UserPath, input_error
from dml.topology.config import TopologyConfig
from dml.training.config import OPTIMIZERS, TrainingConfig, obstacle

MAX_THREADS = 4 * (os.cpu_count() or 1)
"""More threads than that only wait for one another, so long that nothing else is heard."""


class RunConfig(Section):
    """How long, how measured, and where the results go."""

    rounds: int = Field(10, ge=1, le=MAX_COUNT, description="communication rounds")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of every random number")
    eval_every: Literal["epoch"] | Annotated[int, Field(ge=1, le=MAX_COUNT)] = Field(
        "epoch", description="measure after each local epoch, or K: after the last epoch of every K-th round"
    )
    out_dir: UserPath = Field(Path("results/single"), description="folder of the results")
    checkpoint_every: int = Field(10, ge=1, le=MAX_COUNT, description="rounds between checkpoints")
    checkpoint_minutes: float = Field(15.0, gt=0, description="minutes between checkpoints, at most")
    keep_checkpoint: bool = Field(
        True, description="keep the checkpoint at the end, so that more rounds can go on from it"
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=MAX_THREADS,
        description="torch threads; where not given 1 under 1 M parameters, else all cores",
    )
    engine: Literal["auto", "loop", "batched"] = Field(
        "auto",
        description="train nodes one after another (loop) or all at once (batched): equal but for rounding; "
        "auto takes the faster one, and stays with that of a file's last rounds",
    )
    accelerator: str = Field("auto", description="what the models train on: auto, cpu, cuda:0, xpu:0 ..")
    ipex: bool = Field(
        False, description="use the kernels of intel_extension_for_pytorch, on a CPU or Intel's GPUs"
    )

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers; rounds only make them more."""
        return {"seed", "eval_every"}


class ExperimentConfig(Section):
    """One experiment, complete: everything that decides its numbers, and where they go."""

    topology: TopologyConfig
    data: DataConfig
    training: TrainingConfig
    algorithm: AlgorithmConfig
    strategy: StrategyConfig
    run: RunConfig

    def flat(self) -> dict[str, Any]:
        """All fields by flag name, JSON-able: the form that files and tasks carry."""
        return {k: v for section in self.model_dump(mode="json").values() for k, v in section.items()}

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers, by flag name."""
        parts: list[Any] = [self.data, self.training, self.algorithm, self.run]
        parts += [self.strategy] if self.algorithm.averages else []
        return {"topology_file"}.union(*(part.reads() for part in parts)) - self.algorithm.unread()

    def decides(self) -> dict[str, Any]:
        """What the experiment's id is made of, but for its graph: the fields it reads, and their values."""
        flat = self.flat()
        return {f: flat[f] for f in sorted(self.reads()) if f not in LATER or flat[f] != LATER[f]}

    @property
    def complete(self) -> bool:
        """Whether a strategy has all nodes exchange models, whatever the edges."""
        return self.algorithm.averages and STRATEGIES[self.strategy.aggregation_strategy].complete

    def options(self) -> Options:
        """What the algorithm's rule reads."""
        return self.algorithm.options(self.run.seed, self.training.momentum)

    def obstacle(self) -> str | None:
        """What keeps the nodes from training at once, in words; None where they can."""
        return obstacle(self.training, self.data.augment)


SECTIONS: dict[str, type[Section]] = {
    name: info.annotation  # type: ignore[misc]
    for name, info in ExperimentConfig.model_fields.items()
}
NOT_NUMBERS = set(RunConfig.model_fields) - RunConfig().reads() | {"data_dir"}
"""Fields that never change an experiment's numbers: every experiment reads them."""

LEAST_LR = 1e-30
"""Algorithms divide by the learning rate, in fp32."""

LATER: dict[str, Any] = {
    "algorithm": "decentralized",
    "local_steps": None,
    "keep_optimizer": False,
    "drop_probability": 0.0,
    "loss_rule": None,
    "failing_nodes": [],
    "scheduler": None,
    "self_weight": None,
    "augment": False,
    "prox_coeff": 0.0,
    "precision": "fp32",
    "train_test_val": None,
    "ood_kind": "trigger",
    "random_bd": False,
    "random_data_placement": True,
    "partition": "budgets",
    "label_placement": "drawn",
}
"""Fields that were added after version 0.1, with the value that gives the numbers from before: while a field
holds it, it stays out of an experiment's id, so that old ids and files stay good."""


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every field as (section, flag, pydantic's description of it), in the order of the help."""
    for name, section in SECTIONS.items():
        for flag, info in section.model_fields.items():
            yield name, flag, info


def shown_defaults() -> dict[str, str]:
    """The default of every flag, as the help prints it."""
    return {flag: _shown_default(flag, info) for _, flag, info in fields()}


def _shown_default(flag: str, info: FieldInfo) -> str:
    by_dataset = [f"{name} {spec.defaults[flag]}" for name, spec in DATASETS.items() if flag in spec.defaults]
    if by_dataset:
        rest = [] if len(by_dataset) == len(DATASETS) else [f"else {info.default}"]
        return ", ".join(by_dataset + rest)
    by_optimizer = [
        f"{name} {spec.defaults[flag]}" for name, spec in OPTIMIZERS.items() if flag in spec.defaults
    ]
    if by_optimizer:
        return ", ".join(by_optimizer)
    if info.default_factory_takes_validated_data:
        return "None"
    default = str(info.get_default(call_default_factory=True))
    if flag in algorithms.DEFAULTS:
        return f"{default}; {algorithms.DEFAULTS[flag]} where --algorithm is not decentralized"
    if flag in algorithms.STEP_DEFAULTS:
        return f"{default}; {algorithms.STEP_DEFAULTS[flag]} with local_steps"
    own = [f"{name} {values[flag]}" for name, values in algorithms.OWN_DEFAULTS.items() if flag in values]
    return ", ".join([*own, f"else {default}"]) if own else default


def make(given: Mapping[str, Any], *, drop_unread: bool = False) -> ExperimentConfig:
    """The configuration that flags describe.

    Args:
        given: values by flag name, those alone that were given.
        drop_unread: leave fields that nothing reads at their default, as a sweep does, whose
            flags are meant for those of its experiments that read them.

    Raises:
        InputError: an unknown flag, a value that cannot be right, or a flag that nothing reads.
    """
    flags = dict(given)
    preset = PRESETS.get(str(flags.get("dataset")), {})
    named = {"dataset": preset.get("dataset", flags.get("dataset", "digits"))}
    dataset = known(str(named["dataset"]))
    defaults = dict(dataset.defaults) if dataset else {}
    optimizer = OPTIMIZERS.get(str(flags.get("optimizer", defaults.get("optimizer", "sgd"))))
    by_algorithm = algorithms.defaults(str(flags.get("algorithm", "decentralized")), flags)
    by_optimizer = dict(optimizer.defaults) if optimizer else {}
    values = defaults | by_optimizer | by_algorithm | dict(preset) | flags | named
    parts = {}
    for name, section in SECTIONS.items():
        own = {flag: values.pop(flag) for flag in section.model_fields if flag in values}
        try:
            parts[name] = section(**own)
        except ValidationError as error:
            fault = input_error(error, section)
            if fault.field == "nesterov" and "nesterov" not in flags:
                # It is the algorithm's own default, and not what the user has to change.
                fault = InputError("momentum", flags["momentum"], f"must be above 0 for {flags['algorithm']}")
            raise fault from None
    for flag in values:
        raise InputError(flag, values[flag], "there is no such flag; --help lists them")
    config = ExperimentConfig(**parts)
    read = config.reads() | NOT_NUMBERS
    unread = [flag for flag in flags if flag not in read]
    if unread and not drop_unread:
        about = next(info.description for _, flag, info in fields() if flag == unread[0])
        remedy = _switch_that_reads(unread[0], flags)
        right = f"nothing in this experiment reads it: {remedy or 'leave it out'} ({about})"
        raise InputError(unread[0], flags[unread[0]], right)
    if unread:
        return make({k: v for k, v in flags.items() if k not in unread})
    _check_fit(config)
    return config


def _switch_that_reads(flag: str, flags: Mapping[str, Any]) -> str:
    """What to do with a flag that nothing reads: the switch that would have it read, if there is one."""
    for _, switch, info in fields():
        if info.annotation is bool and switch not in flags:
            try:
                other = make({**flags, switch: not info.default}, drop_unread=True)
            except InputError:
                continue
            if flag in other.reads():
                return f"add --{'no_' if info.default else ''}{switch}, or leave it out"
    return ""


def label_of(flat: Mapping[str, Any]) -> str:
    """What names an experiment's algorithm in files, tables and pictures: its strategy, or the algorithm.

    Args:
        flat: its fields by flag name, also of a file from before there were algorithms.
    """
    algorithm, strategy = flat.get("algorithm", "decentralized"), str(flat["aggregation_strategy"])
    if algorithm == "decentralized":
        return strategy
    own = algorithms.OWN_DEFAULTS.get(algorithm, {}).get("aggregation_strategy", strategy)
    return str(algorithm) if own == strategy else f"{algorithm}_{strategy}"


def from_flat(flat: Mapping[str, Any]) -> ExperimentConfig:
    """The complete configuration that :meth:`ExperimentConfig.flat` gave."""
    return ExperimentConfig(
        **{name: section(**{f: flat[f] for f in section.model_fields}) for name, section in SECTIONS.items()}
    )


def _check_fit(config: ExperimentConfig) -> None:
    _check_algorithm(config)
    model, data = MODELS[config.training.model], config.data.spec()
    if config.run.engine == "batched" and config.obstacle():
        right = f"cannot train all nodes at once, because {config.obstacle()}; use loop or auto"
        raise InputError("engine", "batched", right)
    if data.task == NEXT_TOKEN and config.data.ood_kind != "trigger":
        right = f"needs images; {config.data.dataset} has trigger alone"
        raise InputError("ood_kind", config.data.ood_kind, right)
    if config.data.ood_kind == "rotated" and (len(data.shape) != 3 or data.shape[1] != data.shape[2]):
        raise InputError(
            "ood_kind", "rotated", f"needs square images, and those of {config.data.dataset} are not"
        )
    if config.data.ood_kind == "heldout_class" and config.data.ood_class >= data.labels:
        right = f"{config.data.dataset} has the classes 0 to {data.labels - 1}"
        raise InputError("ood_class", config.data.ood_class, right)
    if not model.fits(data.shape):
        shape = " x ".join(map(str, data.shape)) + (" tokens" if data.task == NEXT_TOKEN else "")
        fitting = ", ".join(name for name, spec in MODELS.items() if spec.fits(data.shape))
        raise InputError(
            "model",
            config.training.model,
            f"takes {model.takes}, and {config.data.dataset} has {shape}; there fit: {fitting}",
        )


def _check_algorithm(config: ExperimentConfig) -> None:
    chosen, training = config.algorithm, config.training
    if training.train and training.lr < LEAST_LR:
        raise InputError("lr", training.lr, f"must be at least {LEAST_LR:g}")
    known = EXPERIMENTS[chosen.algorithm].loss_rules
    if chosen.loss_rule is not None and chosen.loss_rule not in known:
        raise InputError("loss_rule", chosen.loss_rule, f"{chosen.algorithm} knows {', '.join(known)}")
    if chosen.algorithm == "quasi_global_momentum" and training.train and training.optimizer != "sgd":
        right = "quasi_global_momentum is a momentum of sgd; give --optimizer sgd"
        raise InputError("optimizer", training.optimizer, right)
    if chosen.algorithm == "quasi_global_momentum" and training.train and not training.momentum:
        raise InputError("momentum", training.momentum, "must be above 0 for quasi_global_momentum")
