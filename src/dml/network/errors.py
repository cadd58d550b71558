"""What can go wrong between processes: a message that is not as it must be, and one that does not come."""


class WireError(ValueError):
    """A message is not as it must be; the message of the error names what differs.

    Args:
        reason: one of a few words by which refused messages are counted, such as ``damaged``.
        detail: what is wrong.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")

    def __reduce__(self) -> tuple[type["WireError"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class Late(TimeoutError):
    """Something did not happen before its deadline.

    Args:
        who: the name of the contact that it depended on; several are separated by commas.
        what: what was waited for, and for how long, in words.
        why: what is known about the cause; empty if nothing is.
    """

    def __init__(self, who: str, what: str, why: str = "") -> None:
        self.who, self.what, self.why = who, what, why
        super().__init__(f"{who}: {what}" + (f" ({why})" if why else ""))

    def __reduce__(self) -> tuple[type["Late"], tuple[str, str, str]]:
        return type(self), (self.who, self.what, self.why)
