"""The command line that compares Traversal Learning with centralized training on the same batches."""

import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dml.errors import EXIT_FAILED
from dml.field_types import MAX_COEFFICIENT
from dml.traversal_scripts.config import PublishedConfig, config_of, parse, plan_of

if TYPE_CHECKING:
    from dml.plan import Plan

DESCRIPTION = (
    "Trains Traversal Learning, each node by itself, and centralized training side by side on the same "
    "batches. Prints the largest differences of losses, gradients and parameters, and the bytes of all "
    "messages next to the formulas. The exit code is 1 if a difference is above the tolerance or the bytes "
    "differ. Nothing is written."
)

TAKEN = ("mode", "labels")
"""Further flags of experiments that it takes: those of Traversal Learning."""

TOLERANCES = {False: 1e-4, True: 1e-9}
"""By whether it computes in float64."""


class CompareConfig(PublishedConfig):
    """The flags of ``tl_compare.py`` that are no flags of experiments."""

    float64: bool = Field(False, description="compute both in float64; experiments compute in float32")
    tolerance: float | None = Field(
        None,
        ge=0,
        le=MAX_COEFFICIENT,
        description=f"the largest difference that is allowed (default: {TOLERANCES[False]:g}, or "
        f"{TOLERANCES[True]:g} with --float64)",
    )


def main(argv: Sequence[str]) -> int:
    """Compares, and prints the report.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code: 1 if training or bytes are not what they should be.
    """
    chosen, given = parse(CompareConfig, TAKEN, argv, prog="tl_compare.py", description=DESCRIPTION)
    both = plans(chosen, given)
    tolerance = TOLERANCES[chosen.float64] if chosen.tolerance is None else chosen.tolerance

    # Imported here, because they import torch.
    from dml.traversal_scripts.report import text
    from dml.traversal_scripts.side_by_side import compare

    found = compare(*both, chosen.epochs, chosen.float64)
    if math.isnan(found.largest):
        print("warning: training is no longer finite; try a smaller --lr", file=sys.stderr)
    print(text(both[1], found, tolerance))
    return 0 if found.bytes_agree and found.largest <= tolerance else EXIT_FAILED


def plans(chosen: CompareConfig, given: Mapping[str, Any]) -> tuple["Plan", "Plan"]:
    """Centralized training and Traversal Learning, whose rounds are single batches.

    Raises:
        InputError: a value is wrong.
    """
    ways = {flag: given[flag] for flag in TAKEN if flag in given}
    same = {flag: value for flag, value in given.items() if flag not in ways}
    # Nothing is written, so the folder only has to be there.
    fixed = {"local_steps": 1, "out_dir": tempfile.gettempdir()}
    one = config_of(chosen, same, algorithm="centralized", **fixed)
    # The star's centre visits the others.
    fixed |= {"visits": "apart", "orchestrator": 0}
    return plan_of(one), plan_of(config_of(chosen, same, algorithm="traversal", **ways, **fixed))
