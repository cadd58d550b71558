"""Writes result files, reads them (without torch), and reports on them.

>>> import dml.results
>>> result = dml.results.load("results/single/digits-...-s0-0123456789ab.h5")
>>> result.table.groupby("node").ood_acc.max()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dml.results.reader import Loaded, differences, load, same
else:

    def __getattr__(name: str) -> Any:
        # Imported on demand, so that modules of this package that read no file do not import h5py.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from dml.results import reader

        return getattr(reader, name)


__all__ = ["Loaded", "differences", "load", "same"]
