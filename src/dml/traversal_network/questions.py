"""What goes over the wire: the kinds of messages, and the tensors of an answer.

The orchestrator opens each visit with the parameters and a first question, and may ask more about the same
samples. Every message has a number of its own, so a question that is asked again is another message.

    kind            from            scalars and tensors
    hello           node            num_nodes
    experiment      orchestrator    flags, versions, code: what the node computes its part and model from
    ready           node            samples, sha256: of its part
    refused         orchestrator    why
    parameters      orchestrator    the parameters that the node needs
    question        orchestrator    method, total, parameters (a number); first ones: pass, samples
    answer          node            the tensors that the method returns, and the sums of losses and hits
    leaving         node            why
    end             orchestrator    code, why
"""

from collections.abc import Sequence

from torch import Tensor

HELLO, EXPERIMENT, READY, REFUSED = "hello", "experiment", "ready", "refused"
PARAMETERS, QUESTION, ANSWER, LEAVING, END = "parameters", "question", "answer", "leaving", "end"

FIRST = frozenset({"gradients", "activations", "outputs"})
"""The questions that open a visit, by the method of a node."""

LATER = frozenset({"loss_gradient", "lower_gradients", "second_block", "first_block"})
"""Those about the same samples."""

COUNTING = frozenset({"gradients", "outputs", "loss_gradient"})
"""Those by which a node counts losses and hits."""


def numbered(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Tensors by their place, as a message names them."""
    return {str(place): tensor for place, tensor in enumerate(tensors)}
