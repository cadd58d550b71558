"""distributed_ml: decentralized learning experiments on a graph of nodes.

Importing `dml` imports nothing heavy; each part is imported where it is used.
"""

__version__ = "0.1.0"

NUMBERS_VERSION = 1
"""Raised when a change alters the numbers an experiment gives; part of every experiment's id."""
