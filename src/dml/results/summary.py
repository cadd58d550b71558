"""The summary of one experiment, as text: what a user wants to know when it has ended."""

import json
import math
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.config import label_of
from dml.results.reader import Loaded
from dml.results.record import FINAL


def summary(result: Loaded) -> str:
    """IID and OOD accuracies after the last aggregation, AUCs, time and traffic, in at most 80 columns.

    What a model answers whose loss is not finite means nothing, and is never shown as an accuracy.
    """
    a, config = result.arrays, result.config
    status, done = result.attributes["status"], result.attributes["rounds_done"]
    n = len(a["data/samples"])
    what = f"{config['dataset']}, {result.attributes['topology_source']}, {label_of(config)}"
    lines = [
        *textwrap.wrap(what, 80),
        f"{n} nodes, {done} rounds, seed {config['seed']}" + ("" if status == "complete" else f": {status}"),
    ]
    if "tree" in result.attributes:
        factor = float(result.attributes["lr_factor"])
        times = "" if factor == 1 else f"; learning rate {config['lr']:g} x {factor:.3f}"
        lines += textwrap.wrap(f"relayed over {result.attributes['tree']}{times}", 80)
    for failure in json.loads(result.attributes.get("failures", "[]")):
        nodes = ", ".join(map(str, failure["nodes"]))
        tree = f"; from then on over {failure['tree']}" if "tree" in failure else ""
        lines += textwrap.wrap(f"failed in round {failure['round']}: {nodes}{tree}", 80)
    if not len(a["metrics/round"]):
        return "\n".join([*lines, "nothing was measured"])
    lines += ["", f"{'accuracy after the last round':<34}{'mean':>8}{'worst node':>19}{'best node':>19}"]
    lost, ood_lost = _lost(result, "test"), _lost(result, "ood")
    lines += [_nodes("IID test set", a["metrics/test_acc"][-1], lost[-1])]
    lines += [_nodes("OOD test set", a["metrics/ood_acc"][-1], ood_lost[-1])]
    lines += [_nodes("OOD, target class left out (asr)", a["metrics/ood_asr"][-1], ood_lost[-1])]
    lines += _mean_model(result)
    for name, key in (("own test share", "local_test_acc"), ("own validation share", "local_val_acc")):
        if f"metrics/{key}" in a:
            lines += [_nodes(name, a[f"metrics/{key}"][-1], lost[-1])]
    for name, words, own in (("test", "IID", lost), ("ood", "OOD", ood_lost)):
        if name in result.perplexities:
            values = result.perplexity(name)[-1]
            lines += [_nodes(f"perplexity, {words} test set", values, own[-1], best=np.argmin)]
    if "metrics/consensus_distance" in a:  # not in files from before it was measured, nor the F1
        f1 = "not finite" if lost[-1].any() else f"{result.attributes['final_f1']:.3f}"
        lines.append(f"{'F1 over the classes, IID test set':<34}{f1:>8}")
        distances = a["metrics/consensus_distance"][-1]
        lines += [_nodes("distance to the mean model", distances, lost[-1], best=np.argmin)]
    lines += _by_hops(result, ood_lost[-1])
    points = result.attributes["auc_points"]
    lines += ["", f"{f'AUC over {points} measurements':<34}{'sum':>8}{'a point':>19}"]
    counted = a["metrics/epoch"] != FINAL
    for name, key, own in (
        ("IID test set", "auc_test", lost),
        ("OOD test set", "auc_ood", ood_lost),
        ("asr", "auc_asr", ood_lost),
    ):
        total = float(result.attributes[key])
        if own[counted].any():
            lines.append(f"{name:<34}{'not finite':>8}")
        elif points and math.isfinite(total):
            lines.append(f"{name:<34}{total:>8.1f}{total / points:>19.3f}")
    lines.append("")
    seconds = float(a["time/round_s"].sum())
    sent = int(a["communication/bytes_sent"].sum())
    engine = " then ".join(dict.fromkeys(segment["engine"] for segment in result.segments))
    lines += [f"{seconds:.1f} s in {done} rounds, engine {engine}; {_bytes(sent)} sent between nodes"]
    return "\n".join(lines)


def _lost(result: Loaded, name: str) -> NDArray[np.bool_]:
    """Whose loss on the IID (``test``) or OOD (``ood``) test set is not finite where it answered, [T, n]."""
    loss, answered = (result.arrays[f"metrics/{name}_{kind}"] for kind in ("loss", "acc"))
    lost: NDArray[np.bool_] = ~np.isfinite(loss) & ~np.isnan(answered)
    return lost


def _nodes(
    name: str,
    values: NDArray[Any],
    lost: NDArray[np.bool_],
    best: Callable[[NDArray[Any]], np.intp] = np.argmax,
) -> str:
    """Mean, worst and best of the nodes' values; ``best`` finds the best one. Nodes have up to 5 digits."""
    if lost.any():
        return f"{name:<34}{'not finite':>8}"
    if np.isnan(values).all():
        return f"{name:<34}{'not measured':>8}"
    if not np.isfinite(values).all():
        return f"{name:<34}{'not finite':>8}"
    first, last = int(best(-values)), int(best(values))
    low, high = f"{_short(values[first])} (node {first})", f"{_short(values[last])} (node {last})"
    return f"{name:<34}{_short(values.mean(dtype=np.float64)):>8}{low:>19}{high:>19}"


def _short(value: float) -> str:
    """Three decimals; what is larger than an accuracy in five letters or so, that columns never touch."""
    if value < 10:
        return f"{value:.3f}"
    if value < 9999.5:
        return f"{value:.4g}"
    return f"{value:.0f}" if value < 99999.5 else f"{value:.0e}"


def _mean_model(result: Loaded) -> list[str]:
    """The accuracies of the average of all models; nothing where it was not measured."""
    if "mean_model" not in result.singles:
        return []
    words = []
    for name, kind in (("IID", "test"), ("OOD", "ood")):
        accuracy, loss = (float(result.arrays[f"mean_model/{kind}_{what}"][-1]) for what in ("acc", "loss"))
        if math.isnan(accuracy):
            words.append(f"{name} not measured")
        else:
            words.append(f"{name} {accuracy:.3f}" if math.isfinite(loss) else f"{name} not finite")
    return [f"{'mean model (average of all nodes)':<34}{words[0]:>26}{words[1]:>18}"]


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _by_hops(result: Loaded, lost: NDArray[np.bool_]) -> list[str]:
    distance = result.arrays.get("topology/distance_to_ood")
    if distance is None:
        return ["no node holds OOD data: this is the control (--backdoor puts them on a node)"]
    final, nodes = result.arrays["metrics/ood_acc"][-1], result.config["backdoor_node_idx"]
    if np.isnan(final).all():
        return ["no test sample holds the trigger: --ood_test_proportion takes more of them"]
    where = "node " + ", ".join(map(str, nodes))
    lines = textwrap.wrap(f"OOD data on {where}; OOD accuracy by hops from there:", 78)
    lines = [f"  {line}" for line in lines]
    groups = [
        ("1 hop " if hops == 1 else f"{hops} hops", distance == hops)
        for hops in np.unique(distance[distance >= 0])
    ]
    if (distance < 0).any():
        groups.append(("cut off", distance < 0))
    for far, at in groups:
        mean = "not finite" if lost[at].any() else f"{final[at].mean(dtype=np.float64):.3f}"
        lines.append(f"    {far} {mean:>{12 - len(far)}}   ({_count(int(at.sum()))})")
    return lines


def _bytes(count: int) -> str:
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} B"
