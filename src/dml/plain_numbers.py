"""Numbers as users write them."""

import re

_PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def odd_number(text: str) -> str | None:
    """The objection to a number in a form that only Python reads, such as ``1_000``, ``" 1"`` or ``\u0661``.

    Such a form is more often a slip than meant. The objection is None for a plain number, and for a text that
    is no finite number, which the type of its field refuses.
    """
    if _PLAIN.fullmatch(text):
        return None
    try:
        float(text)
    except ValueError:
        return None
    if text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return None
    return "must be in plain digits, as 1000 or 1e-3"
