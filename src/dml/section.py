"""The base of the sections that make up a configuration; each stands beside the part that owns it."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen fields with a description each; an unknown name, NaN or infinity is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
