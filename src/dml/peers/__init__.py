"""Synchronous algorithms with one process per node, which talk over the network."""
