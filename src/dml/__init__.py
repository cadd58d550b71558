"""distributed_ml: decentralized learning experiments on graphs of nodes.

Importing `dml` imports nothing heavy; each part is imported where it is used.
"""

__version__ = "0.1.0"
