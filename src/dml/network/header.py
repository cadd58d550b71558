"""The header of a message: what the message is, as JSON of at most 64 KiB."""

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from dml.network.contacts import LONGEST_NAME
from dml.network.errors import WireError
from dml.network.limits import HEADER

_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Word = Annotated[str, Field(max_length=LONGEST_NAME)]

Scalar = bool | int | FiniteFloat | str
"""A value of a header. Numbers are finite: what is not finite is told in words or by a bool of its own."""


class Key(NamedTuple):
    """What identifies a message. Of two messages from one process with the same key, the second is dropped.

    Args:
        sender: the name of the sender.
        kind: what it is, such as ``model``.
        number: of the round or the batch.
        phase: within the round or the batch.
        algorithm: the name of the algorithm.
    """

    sender: str
    kind: str
    number: int = 0
    phase: int = 0
    algorithm: str = ""

    def __str__(self) -> str:
        algorithm = f" of {self.algorithm}" if self.algorithm else ""
        return f"{self.kind} {self.number}, phase {self.phase}{algorithm}"


class Header(BaseModel):
    """The header of a message.

    ``run`` is the id of the run, which sender and receiver share; the rest is as in :class:`Key`. ``scalars``
    are values by name: numbers, texts, bools, or lists of these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: _Word
    sender: _Word
    kind: _Word
    number: _Count = 0
    phase: _Count = 0
    algorithm: _Word = ""
    scalars: dict[_Word, Scalar | list[Scalar]] = {}

    @property
    def key(self) -> Key:
        """What identifies the message."""
        return Key(self.sender, self.kind, self.number, self.phase, self.algorithm)

    @classmethod
    def checked(cls, **values: object) -> "Header":
        """A header of these values.

        Raises:
            WireError: a value is not allowed; the error names its field.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _damaged(error) from None

    def to_json(self) -> bytes:
        """The header as it is sent.

        Raises:
            WireError: it is too large.
        """
        text = self.model_dump_json().encode()
        if len(text) > HEADER:
            raise WireError("too large", f"a header of {len(text)} bytes; at most {HEADER} are allowed")
        return text

    @classmethod
    def from_json(cls, text: bytes) -> "Header":
        """Reads what :meth:`to_json` wrote.

        Raises:
            WireError: it is too large or is no header; the error names the field.
        """
        if len(text) > HEADER:
            raise WireError("too large", f"a header of {len(text)} bytes; at most {HEADER} are allowed")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _damaged(error) from None


def _damaged(error: ValidationError) -> WireError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"][:2])) or "the whole"
    return WireError("damaged", f"header, {place}: {first['msg']}")
