"""The summary of one experiment, as text: what a user wants to know when it has ended."""

import math
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.results.reader import Loaded


def summary(result: Loaded) -> str:
    """IID and OOD accuracies after the last aggregation, AUCs, time and traffic, in at most 80 columns."""
    a, config = result.arrays, result.config
    status, done = result.attributes["status"], result.attributes["rounds_done"]
    n = len(a["data/samples"])
    what = f"{config['dataset']}, {result.attributes['topology_source']}, {config['aggregation_strategy']}"
    lines = [
        *textwrap.wrap(what, 80),
        f"{n} nodes, {done} rounds, seed {config['seed']}" + ("" if status == "complete" else f": {status}"),
    ]
    if not len(a["metrics/round"]):
        return "\n".join([*lines, "nothing was measured"])
    lines += ["", f"{'accuracy after the last round':<34}{'mean':>8}{'worst node':>18}{'best node':>18}"]
    lines += [_nodes("IID test set", a["metrics/test_acc"][-1])]
    lines += [_nodes("OOD test set", a["metrics/ood_acc"][-1])]
    lines += [_nodes("OOD, target class left out (asr)", a["metrics/ood_asr"][-1])]
    for name, key in (("own test share", "local_test_acc"), ("own validation share", "local_val_acc")):
        if f"metrics/{key}" in a:
            lines += [_nodes(name, a[f"metrics/{key}"][-1])]
    for name, words in (("test", "IID"), ("ood", "OOD")):
        if name in result.perplexities:
            lines += [_nodes(f"perplexity, {words} test set", result.perplexity(name)[-1], best=np.argmin)]
    if "metrics/consensus_distance" in a:  # not in files from before it was measured, nor the F1
        lines.append(f"{'F1 over the classes, IID test set':<34}{result.attributes['final_f1']:>8.3f}")
        lines += [_nodes("distance to the mean model", a["metrics/consensus_distance"][-1], best=np.argmin)]
    lines += _by_hops(result)
    points = result.attributes["auc_points"]
    lines += ["", f"{f'AUC over {points} measurements':<34}{'sum':>8}{'a point':>18}"]
    for name, key in (("IID test set", "auc_test"), ("OOD test set", "auc_ood"), ("asr", "auc_asr")):
        total = float(result.attributes[key])
        if points and math.isfinite(total):
            lines.append(f"{name:<34}{total:>8.1f}{total / points:>18.3f}")
    lines.append("")
    seconds = float(a["time/round_s"].sum())
    sent = int(a["communication/bytes_sent"].sum())
    engine = " then ".join(dict.fromkeys(segment["engine"] for segment in result.segments))
    lines += [f"{seconds:.1f} s in {done} rounds, engine {engine}; {_bytes(sent)} sent between nodes"]
    return "\n".join(lines)


def _nodes(name: str, values: NDArray[Any], best: Callable[[NDArray[Any]], np.intp] = np.argmax) -> str:
    """Mean, worst and best of the nodes' values; ``best`` finds the best one."""
    if np.isnan(values).all():
        return f"{name:<34}{'not measured':>8}"
    if not np.isfinite(values).all():
        return f"{name:<34}{'not finite':>8}"
    first, last = int(best(-values)), int(best(values))
    low, high = f"{values[first]:.3f} (node {first})", f"{values[last]:.3f} (node {last})"
    return f"{name:<34}{values.mean(dtype=np.float64):>8.3f}{low:>18}{high:>18}"


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _by_hops(result: Loaded) -> list[str]:
    distance = result.arrays.get("topology/distance_to_ood")
    if distance is None:
        return ["no node holds OOD data: this is the control (--backdoor puts them on a node)"]
    final, nodes = result.arrays["metrics/ood_acc"][-1], result.config["backdoor_node_idx"]
    if np.isnan(final).all():
        return ["no test sample holds the trigger: --ood_test_proportion takes more of them"]
    where = "node " + ", ".join(map(str, nodes))
    lines = textwrap.wrap(f"OOD data on {where}; OOD accuracy by hops from there:", 78)
    lines = [f"  {line}" for line in lines]
    for hops in np.unique(distance[distance >= 0]):
        at = distance == hops
        far = "1 hop " if hops == 1 else f"{hops} hops"
        lines.append(f"    {far} {final[at].mean(dtype=np.float64):6.3f}   ({_count(int(at.sum()))})")
    if (distance < 0).any():
        cut = distance < 0
        lines.append(f"    cut off {final[cut].mean(dtype=np.float64):5.3f}   ({_count(int(cut.sum()))})")
    return lines


def _bytes(count: int) -> str:
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} B"
