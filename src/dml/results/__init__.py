"""Result files: what is in them, how they are written, and how they are read (without torch).

>>> import dml.results
>>> result = dml.results.load("results/single/digits-..-s0-0123456789ab.h5")
>>> result.table.groupby("node").ood_acc.max()
"""

from dml.results.reader import Loaded, differences, load, same

__all__ = ["Loaded", "differences", "load", "same"]
