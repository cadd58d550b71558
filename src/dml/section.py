"""The base of the sections that make up a configuration; each stands beside the part that owns it."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

MAX_COUNT = 2**31 - 1
"""The largest count: what a 32-bit integer holds."""


def _expand(path: Path) -> Path:
    # Not Path.expanduser, which fails where a container has no home folder.
    return Path(os.path.expanduser(path))


UserPath = Annotated[Path, AfterValidator(_expand)]
"""A path as a user types it, in which ~ stands for the home folder also where no shell saw it."""


class Section(BaseModel):
    """Frozen fields with a description each; an unknown name, NaN or infinity is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
