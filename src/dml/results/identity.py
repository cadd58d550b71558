"""The identity of an experiment: an id that stands for its numbers, and a name for people."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dml.config import ExperimentConfig, label_of
from dml.data.catalogue import DATASETS, absolute_dataset
from dml.data.dataset import DatasetSpec
from dml.models.registry import MODELS
from dml.topology import Topology

NAME_LENGTH = 80


@dataclass(frozen=True)
class Identity:
    """The id and the name of an experiment.

    Args:
        id: the first 12 hex digits of the sha256 of everything that decides the numbers.
        name: ``<dataset>-<topology>-<strategy or algorithm>[-ood<node>]-s<seed>``, at most 80 characters.
    """

    id: str
    name: str

    def result(self, out_dir: Path, there: Mapping[str, Path] | None = None) -> Path:
        """The result file: an existing one with this id and any name, otherwise the one to write.

        The same graph may be given by a file or by its generator; the name differs, but not numbers and id.

        Args:
            out_dir: the folder of the results.
            there: the result of :func:`files_by_id`, for callers that ask for many experiments.
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

    The id is a hash of the fields that the experiment reads. The graph's edges and weights replace the text
    that names it, and the fingerprint of a folder of images, or of the files of a pretrained model, its path.
    The number of rounds is left out, so that more rounds continue the same file. Fields that only other
    experiments read are left out, too, so that a new flag does not change old ids.
    """
    decides = config.id_fields()
    decides["topology_file"] = {
        "n": topology.n,
        "edges": topology.edges.tolist(),
        "weights": [repr(float(w)) for w in topology.weights],
    }
    decides |= dict(dataset.marks) | dict(MODELS[config.training.model].marks(config.training.model_options))
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
