"""Random walks over a graph: where they start, where they go, and how long they take to return."""
