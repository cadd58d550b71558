"""Traversal Learning over a network: the orchestrator and its nodes are processes, on one host or several."""
