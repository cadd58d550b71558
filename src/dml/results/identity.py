"""What an experiment is called: an id that says which numbers it gives, and a name that people read."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dml.config import ExperimentConfig, label_of
from dml.data.catalogue import DATASETS, absolute_dataset
from dml.data.dataset import DatasetSpec
from dml.topology import Topology

NAME_LENGTH = 80


@dataclass(frozen=True)
class Identity:
    """Id and name of an experiment.

    Args:
        id: first 12 hex digits of the sha256 of what decides the numbers.
        name: ``<dataset>-<topology>-<strategy or algorithm>[-ood<node>]-s<seed>``, at most 80 characters.
    """

    id: str
    name: str

    def result(self, out_dir: Path, there: Mapping[str, Path] | None = None) -> Path:
        """The result file: one with this id that is there already, by whatever name, or the one to write.

        The same graph may be given as a file or as its generator: the numbers, and the id, are the same.

        Args:
            out_dir: the folder of the results.
            there: what :func:`files_by_id` found in it, for a caller that asks for many experiments.
        """
        usual = out_dir / f"{self.name}-{self.id}.h5"
        found = files_by_id(out_dir, self.id) if there is None else there
        return found[self.id] if self.id in found and not usual.exists() else usual


def files_by_id(out_dir: Path, experiment_id: str = "*") -> dict[str, Path]:
    """The result files of a folder by id; the first by name if several have the same id."""
    paths = sorted(p for p in out_dir.glob(f"*-{experiment_id}.h5") if not p.name.startswith("."))
    return {path.stem.rpartition("-")[2]: path for path in reversed(paths)}


def identify(config: ExperimentConfig, topology: Topology, dataset: DatasetSpec) -> Identity:
    """The identity of an experiment whose OOD nodes are resolved.

    The id is over the fields that the experiment reads, with the graph's edges and weights in place of
    how it was given, and the fingerprint of a folder's images in place of its path. Rounds are not in it,
    so more rounds go on with the same file; a field that some other experiment reads is not in it either,
    so a new flag changes no old id.
    """
    decides = config.decides()
    decides["topology_file"] = {
        "n": topology.n,
        "edges": topology.edges.tolist(),
        "weights": [repr(float(w)) for w in topology.weights],
    }
    versions = {part: version for part, version in config.versions().items() if version > 1}
    if versions:
        decides["versions"] = versions
    name, mark = config.data.dataset, dataset.fingerprint
    if mark:
        decides["dataset"] = f"{name}-{mark}" if name in DATASETS else mark
        name = re.sub(r"[^A-Za-z0-9._+-]", "_", Path(absolute_dataset(name)).name).lstrip(".-") or "folder"
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    parts = [name, topology.label, label_of(config.flat())]
    if config.data.backdoor and config.data.backdoor_node_idx is not None:
        parts.append("ood" + "_".join(map(str, config.data.backdoor_node_idx)))
    parts.append(f"s{config.run.seed}")
    return Identity(hashlib.sha256(text.encode()).hexdigest()[:12], "-".join(parts)[:NAME_LENGTH])
