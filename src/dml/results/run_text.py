"""The text about one experiment that a user reads when it has ended, in at most 80 columns."""

import json
import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.config import label_of
from dml.messages import count
from dml.results.reader import Loaded
from dml.results.record import FINAL
from dml.results.status import Status

_NAME = 34
"""The width of the name of a line."""

_CONTROL = "no node holds OOD data: this is a control (--backdoor puts OOD data on a node)"


def run_text(result: Loaded) -> str:
    """Describes an experiment: accuracies after the last aggregation, AUCs, time and traffic.

    The answers of a model whose loss is not finite are meaningless, and never shown as an accuracy.
    """
    lines = _heading(result)
    if not len(result.arrays["metrics/round"]):
        return "\n".join([*lines, "nothing was measured"])
    # Without node models there is nothing at a distance either.
    of_nodes = [*_accuracies(result), *_by_hops(result)] if _has_nodes(result) else _of_walks(result)
    lines += ["", *of_nodes, "", *_aucs(result), "", *_cost(result)]
    return "\n".join(lines)


def _heading(result: Loaded) -> list[str]:
    """The experiment, its tree and its failed nodes."""
    attributes, config = result.attributes, result.config
    name = f"{config['dataset']}, {attributes['topology_source']}, {label_of(config)}"
    status = "" if attributes["status"] == Status.COMPLETE else f": {attributes['status']}"
    n, rounds = len(result.arrays["data/samples"]), attributes["rounds_done"]
    lines = [
        *textwrap.wrap(name, 80),
        f"{count(n, 'node')}, {count(rounds, 'round')}, seed {config['seed']}{status}",
    ]
    if "tree" in attributes:
        factor = float(attributes.get("lr_factor", 1))
        times = "" if factor == 1 else f"; learning rate {config['lr']:g} x {factor:.3f}"
        lines += textwrap.wrap(f"relayed over {attributes['tree']}{times}", 80)
    for failure in json.loads(attributes.get("failures", "[]")):
        nodes = ", ".join(map(str, failure["nodes"]))
        tree = f"; from then on over {failure['tree']}" if "tree" in failure else ""
        lines += textwrap.wrap(f"failed in round {failure['round']}: {nodes}{tree}", 80)
    lines += [f"failed after {when:g} s: {node}" for node, when in _failed_at(result)]
    return lines


def _failed_at(result: Loaded) -> Iterator[tuple[str, float]]:
    """The nodes that failed at a simulated time, which only asynchronous runs have, and these times."""
    end = float(result.attributes.get("simulated_s", math.nan))
    for text in result.config.get("failing_nodes", ()):
        node, _, when = text.partition("@")
        if when.endswith("s") and float(when[:-1]) <= end:
            yield node, float(when[:-1])


def _accuracies(result: Loaded) -> Iterator[str]:
    """One line per metric at the last row: the mean, the worst and the best node."""
    a, one = result.arrays, result.attributes.get("row_kind") == "one"
    lost, ood_lost = _lost(result, "test")[-1], _lost(result, "ood")[-1]
    # One model is that of all nodes: its values stand in the first column, once.
    line = _model_line if one else nodes_line
    columns = f"{'mean':>8}{'worst node':>19}{'best node':>19}"
    yield f"{'accuracy after the last round':<{_NAME}}" + (f"{'model':>8}" if one else columns)
    yield line("IID test set", a["metrics/test_acc"][-1], lost)
    yield line("OOD test set", a["metrics/ood_acc"][-1], ood_lost)
    yield line("OOD, target class left out (asr)", a["metrics/ood_asr"][-1], ood_lost)
    yield from [] if one else _singles(result)
    shares = [*_shares(result, lost)]
    yield from [] if one else shares
    for name, words, own in (("test", "IID", lost), ("ood", "OOD", ood_lost)):
        if name in result.perplexities:
            yield line(f"perplexity, {words} test set", result.perplexity(name)[-1], own, best=np.argmin)
    f1 = "not finite" if lost.any() else f"{result.attributes.get('final_f1', math.nan):.3f}"
    yield f"{'F1 over the classes, IID test set':<{_NAME}}{f1:>8}"
    if one:
        # Nodes have shares of their own also where they have no model of their own.
        yield from ["", f"{'accuracy on the data of nodes':<{_NAME}}{columns}", *shares] if shares else []
        return
    distance = a.get("metrics/consensus_distance", np.full_like(a["metrics/test_acc"], np.nan))
    yield nodes_line("distance to the mean model", distance[-1], lost, best=np.argmin)


def _shares(result: Loaded, lost: NDArray[np.bool_]) -> Iterator[str]:
    """One line per share of their own data on which nodes are measured."""
    for name, key in (("own test share", "local_test_acc"), ("own validation share", "local_val_acc")):
        if f"metrics/{key}" in result.arrays:
            yield nodes_line(name, result.arrays[f"metrics/{key}"][-1], lost)


def _has_nodes(result: Loaded) -> bool:
    of_walks = "walks/test_acc" in result.arrays
    return not of_walks or not np.isnan(result.arrays["metrics/test_acc"][-1]).all()


def _of_walks(result: Loaded) -> Iterator[str]:
    """The same if nodes have no models: what is delivered, and the models that walk over the graph."""
    a = result.arrays
    yield f"{'accuracy after the last round':<{_NAME}}{'mean':>8}{'worst walk':>19}{'best walk':>19}"
    for name, kind in (("IID test set", "test"), ("OOD test set", "ood")):
        loss, accuracy = a[f"walks/{kind}_loss"][-1], a[f"walks/{kind}_acc"][-1]
        yield nodes_line(name, accuracy, ~np.isfinite(loss) & ~np.isnan(accuracy), what="walk")
    yield from (line.replace("(average of all nodes)", "(average of all walks)") for line in _singles(result))
    if "topology/distance_to_ood" not in a:
        yield _CONTROL


def _lost(result: Loaded, name: str) -> NDArray[np.bool_]:
    """The nodes whose loss on the IID (``test``) or OOD (``ood``) test set is not finite, [T, n].

    Nodes that were not measured do not count.
    """
    loss, measured = (result.arrays[f"metrics/{name}_{kind}"] for kind in ("loss", "acc"))
    lost: NDArray[np.bool_] = ~np.isfinite(loss) & ~np.isnan(measured)
    return lost


def _judged_lost(result: Loaded, name: str) -> NDArray[np.bool_]:
    """At which rows the loss of a model on which the AUC is based is not finite, [T]."""
    judged_by = result.attributes.get("judged_by", "nodes")
    if judged_by == "nodes":
        return np.array([row.any() for row in _lost(result, name)], bool)
    loss, measured = (result.arrays[f"{judged_by}/{name}_{kind}"] for kind in ("loss", "acc"))
    lost: NDArray[np.bool_] = ~np.isfinite(loss) & ~np.isnan(measured)
    return lost


def nodes_line(
    name: str,
    values: NDArray[Any],
    lost: NDArray[np.bool_],
    best: Callable[[NDArray[Any]], np.intp] = np.argmax,
    what: str = "node",
) -> str:
    """One line of the table: the mean, the worst and the best of the nodes' values.

    Args:
        name: the name of the values.
        values: one value per node, [n]; at most 100,000 nodes.
        lost: the nodes whose values are meaningless, [n].
        best: returns the index of the best value, like ``numpy.argmax``.
        what: whose values they are, in one word.
    """
    if reason := _meaningless(values, lost):
        return f"{name:<{_NAME}}{reason:>8}"
    worst, first = int(best(-values)), int(best(values))
    low, high = f"{_short(values[worst])} ({what} {worst})", f"{_short(values[first])} ({what} {first})"
    return f"{name:<{_NAME}}{_short(values.mean(dtype=np.float64)):>8}{low:>19}{high:>19}"


def _model_line(
    name: str,
    values: NDArray[Any],
    lost: NDArray[np.bool_],
    best: Callable[[NDArray[Any]], np.intp] = np.argmax,
) -> str:
    """The same line where all nodes have one model, with its value alone."""
    return f"{name:<{_NAME}}{_meaningless(values, lost) or _short(values[best(values)]):>8}"


def _meaningless(values: NDArray[Any], lost: NDArray[np.bool_]) -> str:
    """Why the nodes' values are no numbers to show; empty if they are."""
    if lost.any():
        return "not finite"
    if np.isnan(values).all():
        return "not measured"
    return "" if np.isfinite(values).all() else "not finite"


def _short(value: float) -> str:
    """A number as at most six characters, so that columns never touch."""
    if value < 10:
        return f"{value:.3f}"
    if value < 9999.5:
        return f"{value:.4g}"
    return f"{value:.0f}" if value < 99999.5 else f"{value:.0e}"


_SINGLES = {
    "mean_model": "mean model (average of all nodes)",
    "deliverable": "the model that is delivered",
    "node0": "node 0's model",
}
"""The names of the single models in words."""


def _singles(result: Loaded) -> Iterator[str]:
    """One line per single model that was measured."""
    for model in result.singles:
        words = []
        for name, kind in (("IID", "test"), ("OOD", "ood")):
            accuracy, loss = (float(result.arrays[f"{model}/{kind}_{what}"][-1]) for what in ("acc", "loss"))
            if math.isnan(accuracy):
                words.append(f"{name} not measured")
            else:
                words.append(f"{name} {accuracy:.3f}" if math.isfinite(loss) else f"{name} not finite")
        yield f"{_SINGLES[model]:<{_NAME}}{words[0]:>26}{words[1]:>18}"


def _by_hops(result: Loaded) -> list[str]:
    """The mean OOD accuracy of the nodes at each distance from the OOD data."""
    distance = result.arrays.get("topology/distance_to_ood")
    if distance is None:
        return [_CONTROL]
    if result.attributes.get("row_kind") == "one":
        return []
    final, lost = result.arrays["metrics/ood_acc"][-1], _lost(result, "ood")[-1]
    if np.isnan(final).all():
        return ["no OOD test sample contains the trigger: raise --ood_test_proportion"]
    where = "node " + ", ".join(map(str, result.config["backdoor_node_idx"]))
    lines = textwrap.wrap(f"OOD data on {where}; OOD accuracy by hops from there:", 78)
    lines = [f"  {line}" for line in lines]
    groups = [
        ("1 hop " if hops == 1 else f"{hops} hops", distance == hops)
        for hops in np.unique(distance[distance >= 0])
    ]
    if (distance < 0).any():
        groups.append(("cut off", distance < 0))
    for name, there in groups:
        mean = "not finite" if lost[there].any() else f"{final[there].mean(dtype=np.float64):.3f}"
        lines.append(f"    {name} {mean:>{12 - len(name)}}   ({count(int(there.sum()), 'node')})")
    return lines


def _aucs(result: Loaded) -> Iterator[str]:
    """One line per AUC: its sum, and its mean over the measurements."""
    points = result.attributes["auc_points"]
    over = f"AUC over {count(points, 'measurement')}"
    yield f"{over:<{_NAME}}{'sum':>8}{'per point':>19}"
    counted = result.arrays["metrics/epoch"] != FINAL
    for name, key, kind in (
        ("IID test set", "auc_test", "test"),
        ("OOD test set", "auc_ood", "ood"),
        ("asr", "auc_asr", "ood"),
    ):
        total = float(result.attributes[key])
        if _judged_lost(result, kind)[counted].any():
            yield f"{name:<{_NAME}}{'not finite':>8}"
        elif points and math.isfinite(total):
            yield f"{name:<{_NAME}}{total:>8.1f}{total / points:>19.3f}"
    if result.attributes.get("judged_by", "nodes") != "nodes":
        yield f"  (of {_SINGLES[result.attributes['judged_by']]})"


def _cost(result: Loaded) -> Iterator[str]:
    seconds = float(result.arrays["time/round_s"].sum())
    sent = int(result.arrays["communication/bytes_sent"].sum())
    engine = " then ".join(dict.fromkeys(segment["engine"] for segment in result.segments))
    rounds = result.attributes["rounds_done"]
    server = result.arrays.get("communication/server_bytes")
    through = "" if server is None else f", {size(int(server.sum()))} to and from the server"
    ran = f"{seconds:.1f} s in {count(rounds, 'round')}, engine {engine}"
    yield f"{ran}; {size(sent)} sent between nodes{through}"
    if "simulated_s" in result.attributes:
        yield f"{result.attributes['simulated_s']:.5g} simulated seconds"


def size(number: int) -> str:
    """A number of bytes as text, in powers of 1000."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if number >= 1000**power:
            return f"{number / 1000**power:.1f} {unit}"
    return f"{number} B"
