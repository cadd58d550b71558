"""The partitions by name. A partition is one file of this folder, and one line here."""

from dml.data.partition import Partition
from dml.registry import Registry
from dml.section import Section

PARTITIONS = Registry[Partition[Section]](
    "dml.data.partitions", {"budgets": "budgets:BUDGETS", "equal": "equal:EQUAL"}
)
