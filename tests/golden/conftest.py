"""One torch thread: the golden numbers were made with one."""

from one_thread import one_thread

__all__ = ["one_thread"]
