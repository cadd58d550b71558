"""Cuts of a model into a lower part, which nodes compute, and an upper part, which the server computes.

A cut needs a sequence of layers: an ``nn.Sequential``, or a model that says what its layers are. Its layers
with parameters are counted; those without (activations, pooling, dropout) belong to the layer before them.
The lower part of cut k is its first k layers. A parameter that both parts use, as the embedding of a decoder,
is in both of them, and its gradient is the sum of theirs. The three phases of ``legacy3`` need a perceptron:
linear layers, each perhaps with a ReLU behind it.
"""

import itertools

from torch import nn

from dml.errors import InputError
from dml.models.layers import InLayers
from dml.traversal.batch_norm import is_batch_norm


def layers_of(module: nn.Module) -> list[list[nn.Module]]:
    """The layers that are counted, each with those without parameters around it; empty without a sequence."""
    sequence = module.in_layers() if isinstance(module, InLayers) else module
    # A class of its own may have more in it than its layers.
    if type(sequence) is not nn.Sequential:
        return []
    found: list[list[nn.Module]] = [[]]
    for layer in sequence:
        has_parameters = any(True for _ in layer.parameters())
        if has_parameters and any(True for own in found[-1] for _ in own.parameters()):
            found.append([])
        found[-1].append(layer)
    return found


def cut(
    module: nn.Module, k: int, name: str, instead: str = "; give grads"
) -> tuple[nn.Sequential, nn.Sequential]:
    """The two parts of a model; their layers, and so their parameters, are those of the model.

    Args:
        module: the model.
        k: how many layers with parameters the lower part has.
        name: of the model, for the error.
        instead: what to do about a model that has no cut at all, for the error.

    Raises:
        InputError: the model has no such cut.
    """
    layers = layers_of(module)
    if len(layers) < 2:
        why = (
            f"{name} cannot be cut, as it is no sequence of layers" if not layers else f"{name} has one layer"
        )
        raise InputError("mode", f"cut={k}", f"{why}{instead}")
    if k >= len(layers):
        last = "" if len(layers) == 2 else f" to cut={len(layers) - 1}"
        raise InputError("mode", f"cut={k}", f"{name} has the cuts cut=1{last}")
    lower, upper = (nn.Sequential(*itertools.chain(*part)) for part in (layers[:k], layers[k:]))
    return lower, upper


def separate(module: nn.Module, k: int, name: str) -> tuple[nn.Sequential, nn.Sequential]:
    """The two parts of a model for algorithms that change each of them where it is; arguments as for a cut.

    Raises:
        InputError: the model has no such cut, or parameters that are in both parts.
    """
    lower, upper = cut(module, k, name, instead="")
    below = {id(parameter) for parameter in lower.parameters()}
    if any(id(parameter) in below for parameter in upper.parameters()):
        right = f"{name} has parameters that are needed below and above the cut; take --algorithm traversal"
        raise InputError("mode", f"cut={k}", right)
    return lower, upper


def half(module: nn.Module) -> int:
    """The cut behind half of the layers with parameters, rounded down, but never below the first one."""
    return max(1, len(layers_of(module)) // 2)


def blocks(module: nn.Module, name: str) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """The first two blocks of a perceptron, and the other ones; their layers are those of the model.

    Args:
        module: the model: linear layers with biases, each perhaps with a ReLU, on inputs that are flattened.
        name: of the model, for the error.

    Raises:
        InputError: the model has another layer, or fewer than three linear ones.
    """
    layers = layers_of(module)
    if len(layers) < 3 or not is_perceptron(module):
        right = f"{name} is no perceptron of three linear layers or more; give grads, or cut=K"
        raise InputError("mode", "legacy3", right)
    first, second = (nn.Sequential(*layer) for layer in layers[:2])
    return first, second, nn.Sequential(*itertools.chain(*layers[2:]))


def is_perceptron(module: nn.Module) -> bool:
    """Whether a model is linear layers with biases, each perhaps with a ReLU, on flattened inputs."""
    layers = layers_of(module)
    if layers and isinstance(layers[0][0], nn.Flatten):
        layers[0] = layers[0][1:]
    return bool(layers) and all(map(_is_block, layers))


def _is_block(layer: list[nn.Module]) -> bool:
    kinds = [type(own) for own in layer]
    return kinds in ([nn.Linear], [nn.Linear, nn.ReLU]) and layer[0].bias is not None


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a layer takes statistics over the batch that it sees."""
    return any(map(is_batch_norm, module.modules()))
