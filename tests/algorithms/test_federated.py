"""The algorithms with a server, against plain rounds in float64, and what each of them is for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from rules import THROUGH_SERVER
from torch import Tensor

from dml import config, experiment, results
from dml.algorithms import reference
from dml.algorithms.build import build
from dml.algorithms.registry import ALGORITHMS
from dml.algorithms.rule import Rule
from dml.errors import InputError
from dml.exchange.traffic import BYTES_PER_NUMBER
from dml.plan import make_plan
from dml.quadratics.problem import RandomQuadratics, run
from dml.results import checkpoint
from dml.topology import make

N, D, STEPS, LR = 10, 6, 5, 0.05
GRAPH = make(f"chain:n={N}")
PROBLEM = RandomQuadratics(N, d=D, zeta2=4.0, r0=3.0, seed=1)

PLAIN: dict[str, Callable[[float], Any]] = {
    "fedavg": lambda g: reference.FedAvg(g),
    "fedprox": lambda g: reference.FedProx(g, mu=0.4),
    "scaffold": lambda g: reference.Scaffold(N, g),
    "huscaffold": lambda g: reference.HuScaffold(N, g),
    "hscaffold": lambda g: reference.HScaffold(N, g),
    "mifa": lambda g: reference.Mifa(N, g),
    "fedau": lambda g: reference.FedAU(N, g),
}


def gradient(i: int, x: reference.Vector) -> reference.Vector:
    return PROBLEM.H[i] @ (x - PROBLEM.optimum) + PROBLEM.g[i]


def clients_of(number: int) -> list[int]:
    """Some clients, everybody now and then, and nobody in one round of eleven."""
    rng = np.random.default_rng([5, number])
    if number % 11 == 4:
        return []
    return list(range(N)) if number % 7 == 0 else np.flatnonzero(rng.random(N) < 0.4).tolist()


def built(name: str, **options: Any) -> Callable[[Tensor], Rule]:
    return lambda X: build(name, GRAPH, X, prox_coeff=0.4, **options)


def test_every_one_of_them_has_a_plain_form_here() -> None:
    assert set(PLAIN) == set(THROUGH_SERVER)


@pytest.mark.parametrize("server_lr", [1.0, 0.6])
@pytest.mark.parametrize("name", THROUGH_SERVER)
def test_it_is_the_plain_round_over_50_rounds(name: str, server_lr: float) -> None:
    models: list[np.ndarray] = []
    plain, w = PLAIN[name](server_lr), np.zeros(D)
    expected = []
    for number in range(50):
        w = plain.round(w, clients_of(number), gradient, LR, STEPS)
        expected.append(w)

    def taking_part(number: int) -> np.ndarray:
        chosen = np.zeros(N, bool)
        chosen[clients_of(number)] = True
        return chosen

    def watched(X: Tensor) -> Rule:
        rule = built(name, server_lr=server_lr)(X)
        after = rule.after

        def keep(X: Tensor, t: int, lr: float) -> None:
            after(X, t, lr)
            models.append(X.numpy().copy())

        rule.after = keep  # type: ignore[method-assign]
        return rule

    run(PROBLEM, watched, LR, 50, local_steps=STEPS, taking_part=taking_part)
    for found, right in zip(models, expected, strict=True):
        np.testing.assert_allclose(found, np.tile(right, (N, 1)), rtol=0, atol=1e-12)
    assert np.abs(expected[-1]).max() > 0.1


@pytest.mark.parametrize("name", THROUGH_SERVER)
def test_bytes_are_the_vectors_of_each_way_times_the_clients(name: str) -> None:
    X = torch.zeros(N, D)
    rule, entry = built(name)(X), ALGORITHMS[name]
    clients = np.arange(N) < 3
    for number in range(2):
        rule.before(X, number, clients)
        down = rule.traffic()
        rule.after(X, number, 0.1)
        up = rule.traffic()
        each = 3 * D * BYTES_PER_NUMBER
        assert down.server.tolist() == [0, entry.vectors * each]
        assert up.server.tolist() == [entry.vectors_back * each, 0]
        assert (down.path.hops, up.path.hops) == (1, 1)


def test_fedprox_ends_nearer_to_the_optimum_than_fedavg_when_local_losses_pull_apart() -> None:
    """With many local steps of all clients, FedAvg ends at a weighted mean of the clients' own optima."""
    errors = [
        run(
            PROBLEM, lambda X, name=name: build(name, GRAPH, X, prox_coeff=2.0), 0.1, 400, local_steps=50
        ).errors
        for name in ("fedavg", "fedprox")
    ]
    assert errors[1][-1] < errors[0][-1] / 4


def tenths(number: int) -> np.ndarray:
    """10 % of 20 clients."""
    chosen = np.zeros(20, bool)
    chosen[np.random.default_rng([6, number]).permutation(20)[:2]] = True
    return chosen


def errors_of(name: str, rounds: int, **options: Any) -> np.ndarray:
    """The errors with 10 % participation on different losses."""
    problem, graph = RandomQuadratics(20, d=5, zeta2=4.0, r0=3.0, seed=2), make("chain:n=20")
    of = {"local_steps": 5, "taking_part": tenths}
    return run(problem, lambda X: build(name, graph, X, **options), 0.1, rounds, **of).errors


def test_with_a_tenth_of_the_clients_scaffold_reaches_the_optimum_and_fedavg_does_not() -> None:
    assert errors_of("scaffold", 800)[-1] < 1e-20
    assert errors_of("fedavg", 800)[-100:].min() > 1e-3


def test_short_answers_change_scaffold_by_rounding_alone() -> None:
    whole, short = (errors_of(name, 60, server_lr=0.8) for name in ("scaffold", "huscaffold"))
    np.testing.assert_allclose(whole, short, rtol=1e-10)


def test_with_all_clients_the_estimate_of_hscaffold_is_that_of_scaffold() -> None:
    """In the second round it is the mean gradient of the first, as c is; both end at the optimum."""
    first = [run(PROBLEM, built(name), 0.1, 300, local_steps=5).errors for name in ("scaffold", "hscaffold")]
    np.testing.assert_allclose(first[0][:3], first[1][:3], rtol=1e-12)
    assert first[0][-1] < 1e-20
    assert first[1][-1] < 1e-20


@pytest.mark.parametrize("name", ["scaffold", "huscaffold", "hscaffold"])
def test_a_round_without_learning_leaves_control_variates_as_they_are(name: str) -> None:
    """Even if all clients take part, and their shifts stand in the place of their control variates."""
    X, everybody = PROBLEM.start(), np.ones(N, bool)
    rule = built(name)(X)
    kept = torch.empty(0)
    for number, lr in enumerate((LR, LR, 0.0)):
        kept = rule.memory()["own_variates"].clone()
        rule.before(X, number, everybody)
        X -= lr * (PROBLEM.gradients(X, number) + rule.correction().shift)
        rule.after(X, number, lr)
    assert kept.abs().max() > 0.1
    torch.testing.assert_close(rule.memory()["own_variates"], kept, rtol=1e-14, atol=1e-14)


def seldom(number: int) -> np.ndarray:
    """Clients from 5 on take part in one round of ten, the others in every second one."""
    return np.random.default_rng([7, number]).random(N) < np.where(np.arange(N) < 5, 0.5, 0.1)


@pytest.mark.parametrize("name", ["mifa", "fedau"])
def test_clients_that_take_part_seldom_are_not_forgotten(name: str) -> None:
    """FedAvg goes to the optimum of those that often take part."""
    found = {
        other: run(PROBLEM, built(other), lambda t: 0.1 / (1 + t / 50), 1500, taking_part=seldom).errors[-1]
        for other in ("fedavg", name)
    }
    assert found[name] < found["fedavg"] / 10


def test_gaps_are_cut() -> None:
    plain, X = reference.FedAU(N, longest=3), PROBLEM.start()
    rule, w = build("fedau", GRAPH, X, longest_gap=3), np.zeros(D)
    for number in range(30):
        clients = seldom(number)
        w = plain.round(w, np.flatnonzero(clients).tolist(), gradient, LR, 1)
        rule.before(X, number, clients)
        X[clients] -= LR * PROBLEM.gradients(X, number)[clients]
        rule.after(X, number, LR)
        np.testing.assert_allclose(X[0].numpy(), w, rtol=0, atol=1e-13)
    assert max(map(max, plain.gaps)) == 3


def test_control_variates_are_mean_gradients_where_nodes_take_different_numbers_of_steps(tmp_path) -> None:
    """After the first round, w has moved by the mean of K_i lr c_i, K_i being each node's own steps."""
    flags = {"topology_file": "star:n=4", "sample_alpha": 1.0, "label_alpha": 1.0, "epochs": 2, "rounds": 1}
    flags |= {"algorithm": "scaffold", "lr": 0.02, "batch_size": 32, "threads": 1}
    saved, samples = [], np.empty(0)
    for train in (True, False):
        own = (
            flags
            if train
            else {key: flags[key] for key in ("topology_file", "algorithm", "threads", "rounds")}
        )
        made = config.make({**own, "train": train, "out_dir": tmp_path / str(train)})
        path = experiment.run(made)
        saved.append(checkpoint.read(checkpoint.path_of(path), make_plan(made).identity.id))
        samples = results.load(path).arrays["data/samples"] if train else samples
    steps = 2 * -(-samples // 32)
    assert len(set(steps.tolist())) > 1
    variates = saved[0].algorithm["rule_own_variates"].astype(np.float64)
    moved = saved[1].X[0, : variates.shape[1]] - 0.02 * (steps[:, None] * variates).mean(0)
    np.testing.assert_allclose(saved[0].X[0, : variates.shape[1]], moved, rtol=0, atol=1e-6)
    np.testing.assert_allclose(saved[0].algorithm["rule_variate"], variates.mean(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"momentum": 0.9}, "momentum 0.9: must be 0 for control variates"),
        ({"optimizer": "adam"}, "optimizer adam: must be sgd for control variates"),
        ({"init": "different"}, "init different: must be same"),
        ({"server_lr": 0}, "server_lr 0: must be above 0"),
        ({"longest_gap": 5}, "longest_gap 5: has no effect in this experiment: take --algorithm fedau"),
        ({"prox_coeff": 0.1}, "prox_coeff 0.1: has no effect"),
    ],
)
@pytest.mark.parametrize("name", ["scaffold", "huscaffold", "hscaffold"])
def test_what_cannot_be_right_is_refused(name: str, flags: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=f"^{told}"):
        config.make({"algorithm": name, **flags})
