"""Transformers are cut between their blocks: gradients against one place, messages, and models as layers."""

import numpy as np
import pytest
import torch
from language import needs_lm
from torch.nn import functional
from virtual_batches import SEED, Run, Spy

from dml.data.dataset import IGNORED, Choices
from dml.data.ood import NodeData
from dml.models.registry import build_model
from dml.models.transformer import VisionTransformer
from dml.population import Population, starts
from dml.training.config import TrainingConfig
from dml.traversal.account import phases_of
from dml.traversal.cut import layers_of
from dml.traversal.engine import UnionEngine, Way
from dml.traversal.plan import epoch_plan
from dml.traversal.request import BatchesRequest

LENGTH, TOKENS, ROWS, WIDTH = 9, 14, 26, 24


def vit():
    """A narrow one, with three blocks."""
    return VisionTransformer((1, 8, 8), TOKENS, 4, WIDTH, 3, 3)


def decoder():
    return build_model("decoder", (LENGTH,), TOKENS, {"n_layer": 2})


def opt(rank):
    return build_model("opt", (LENGTH,), TOKENS, {"base_model": "tiny", "lora_rank": rank})


CASES = [
    *(pytest.param(vit, k, id=f"vit, cut={k}") for k in (1, 2, 4, 5)),
    *(pytest.param(decoder, k, id=f"decoder, cut={k}") for k in (1, 2, 3, 4)),
    *(pytest.param(lambda: opt(0), k, id=f"opt, cut={k}", marks=needs_lm) for k in (1, 2, 3, 4)),
    *(pytest.param(lambda: opt(2), k, id=f"opt's adapters, cut={k}", marks=needs_lm) for k in (1, 2, 3)),
]


def data_of(build, n=4):
    """Samples in uneven parts. Sequences differ in how much is padding, whose answers do not count."""
    rng = np.random.default_rng(0)
    parts = np.split(np.arange(ROWS), np.sort(rng.permutation(np.arange(1, ROWS))[: n - 1]))
    choices = None
    if build is vit:
        x, y = rng.normal(size=(ROWS, 1, 8, 8)).astype(np.float32), rng.integers(TOKENS, size=ROWS)
    else:
        choices = Choices(TOKENS, (3, 4))
        x = rng.integers(TOKENS, size=(ROWS, LENGTH)).astype(np.int32)
        y = rng.integers(TOKENS, size=(ROWS, LENGTH)).astype(np.int32)
        ends = rng.integers(2, LENGTH - 1, size=ROWS)
        y[np.arange(ROWS), ends - 1] = TOKENS + 1
        y[np.arange(LENGTH) >= ends[:, None]] = IGNORED
    return NodeData(
        [x[part] for part in parts],
        [y[part] for part in parts],
        np.zeros((n, 1), np.int64),
        np.zeros(n, np.int64),
        parts,
        choices,
    )


def population_of(build, dtype):
    """The model; its frozen weights, which are in no row, have the type, too."""
    return Population(lambda: build().to(dtype), starts(1, SEED), dtype=dtype)


def of_torch(build, batch):
    """The gradient of the mean loss of one batch by torch's autograd, in float64."""
    data = data_of(build)
    population = population_of(build, torch.float64)
    x, y = (torch.from_numpy(np.concatenate(part)) for part in (data.x, data.y))
    x = x.double() if build is vit else x
    y = torch.where(y == TOKENS + 1, data.choices.tokens[1], y) if data.choices else y
    own = epoch_plan(data.samples, 12, SEED, 0)
    rows = own.samples[own.bounds[batch] : own.bounds[batch + 1]]
    logits = population.modules[0](x[rows])
    functional.cross_entropy(logits.flatten(0, -2), y[rows].flatten().long(), ignore_index=IGNORED).backward()
    return torch.cat([p.grad.flatten() for p in population.parameters(0)])


def gradient(build, way, batch, dtype):
    data = data_of(build)
    population = population_of(build, dtype)
    training = TrainingConfig(lr=0.1, batch_size=12, epochs=1)
    engine = UnionEngine(population, data, training, seed=SEED, way=way)
    plan = epoch_plan(data.samples, 12, SEED, 0)
    (parts,) = engine.visits.gradients(BatchesRequest(plan, batch, batch + 1, np.ones(1)))
    return torch.cat([part.flatten().clone() for part in parts])


@pytest.mark.parametrize(("build", "k"), CASES)
def test_the_gradient_of_a_batch_is_that_of_one_place(build, k):
    """Also where an embedding is below the cut and above it, and of sequences of different lengths."""
    for batch, stay in ((0, False), (2, True)):
        way, expected = Way(k, True, stay), of_torch(build, batch)
        found = gradient(build, way, batch, torch.float64)
        assert (found - expected).abs().max() <= 1e-12
        short = gradient(build, way, batch, torch.float32).double()
        assert (short - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize(("build", "k"), CASES)
def test_the_layers_of_a_model_are_the_model(build, k):
    """All parameters are in its layers, and the layers give its outputs, to the last bit."""
    module = build()
    layers = layers_of(module)
    assert len(layers) > k
    inside = {id(p) for layer in layers for part in layer for p in part.parameters()}
    assert inside == {id(p) for p in module.parameters()}
    data = data_of(build)
    x = y = torch.from_numpy(data.x[0])
    for layer in layers:
        for part in layer:
            y = part(y)
    assert torch.equal(y, module(x))


@pytest.mark.parametrize(
    ("build", "k", "row", "lower"),
    [
        # 4 patches and the class token; the last block passes on what it makes of the class token alone.
        (vit, 1, (5, WIDTH), 16 * WIDTH + WIDTH + WIDTH + 5 * WIDTH),
        (vit, 4, (WIDTH,), None),
        (decoder, 1, (LENGTH, 128), (TOKENS + LENGTH) * 128),
        pytest.param(
            lambda: opt(2), 2, (LENGTH, 16), 2 * 2 * (2 * 16), marks=needs_lm, id="opt's adapters, cut=2"
        ),
    ],
)
def test_messages_have_the_sizes_of_activations_of_whole_samples(build, k, row, lower):
    data, seen = data_of(build), []
    training = TrainingConfig(batch_size=12, epochs=1)
    run = Run(build=build, data=data, training=training, more={"way": Way(k, True)})
    run.engine.visits.nodes = [Spy(node, number, seen) for number, node in enumerate(run.engine.visits.nodes)]
    run.rounds(1)
    plan = epoch_plan(data.samples, 12, SEED, 0)
    visits = [visit for batch in range(plan.batches) for visit in plan.visits(batch)]
    sent = [got for _, name, _, got in seen if name == "activations"]
    back = [(given[0], got) for _, name, given, got in seen if name == "lower_gradients"]
    for visit, up, (down, gradients) in zip(visits, sent, back, strict=True):
        assert up.shape == down.shape == (len(visit.local), *row)
        if lower is not None:
            assert sum(part.numel() for part in gradients) == lower
    sample = torch.from_numpy(data.x[0][:1])
    sample = sample.double() if build is vit else sample
    labels = 1 if build is vit else LENGTH
    phases = phases_of(run.population.modules[0], k, False, sample, labels, "it")
    rows = plan.rows[0]
    assert phases[1].to_nodes(rows).tolist() == (4 * np.prod(row) * rows).tolist()
    assert phases[0].from_nodes(rows).tolist() == ((4 * np.prod(row) + 8 * labels) * rows).tolist()
    if lower is not None:
        assert phases[0].down == phases[1].up == 4 * lower


@needs_lm
def test_the_models_of_opt_without_a_last_norm_have_layers_too():
    """As that of 350 million parameters: projections around narrower embeddings, and norms after blocks."""
    from transformers import OPTConfig, OPTForCausalLM

    from dml.models.language_model import LanguageModel

    options = OPTConfig(
        vocab_size=TOKENS + 2, hidden_size=16, word_embed_proj_dim=8, ffn_dim=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, do_layer_norm_before=False, dropout=0.0,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LanguageModel(OPTForCausalLM(options), LENGTH, TOKENS, "it").eval()
    x = torch.arange(12).view(2, 6)
    assert torch.equal(model.in_layers()(x), model(x))
    assert {id(p) for p in model.in_layers().parameters()} == {id(p) for p in model.parameters()}
