"""Causal language models of ``transformers`` in a population, whole or with the adapters of ``peft``.

With adapters (LoRA, Hu et al., arXiv 2106.09685), a weight W of a chosen layer stays as it is. The product of
two small matrices is trained and added to it: W x + (alpha / r) B A x, with A [r, in] drawn at random and B
[out, r] zero at the start. All models of a process share the memory of the weights that stay.

The dropout of pretrained models is switched off: its masks would depend on the order of training.
"""

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dml.errors import InputError
from dml.models import opt_layers, pretrained
from dml.models.layers import InLayers

TINY_WIDTH, TINY_LAYERS, TINY_HEADS = 16, 2, 2

NOT_DROPPED = ("dropout", "pdrop", "layerdrop")
"""How the names of probabilities of dropout end in the configurations of ``transformers``."""


class LanguageModel(InLayers):
    """Tokens in, logits of the next token at every place out.

    Args:
        model: a causal language model of ``transformers``.
        length: the length of the longest sequence.
        tokens: the number of different tokens, V; further outputs of the model are left out.
        name: the model as the user named it.

    Raises:
        InputError: the model knows fewer tokens, or takes only shorter sequences.
    """

    def __init__(self, model: Any, length: int, tokens: int, name: str) -> None:
        super().__init__()
        known, longest = model.config.vocab_size, getattr(model.config, "max_position_embeddings", length)
        if known < tokens:
            right = f"knows {known} tokens, but the data have {tokens}; give the model's own tokenizer"
            raise InputError("base_model", name, right)
        if longest < length:
            raise InputError("base_model", name, f"takes up to {longest} tokens, but the data have {length}")
        self.model, self._tokens, self._name = model, tokens, name

    def forward(self, tokens: Tensor) -> Tensor:
        """Integer tokens [b, T] -> logits of the token after each place, [b, T, V].

        There is no mask: padding comes last, and no place sees a later one.
        """
        # Without the places, OPT would sum them up from a mask, which cannot be repeated on a card.
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        logits: Tensor = self.model(input_ids=tokens.long(), position_ids=places, use_cache=False).logits
        return logits[..., : self._tokens]

    def in_layers(self) -> nn.Sequential | None:
        """The layers of OPT; None for other models, whose parts are put together in ways of their own."""
        return opt_layers.layers_of(self.model, self._tokens)

    def with_adapters(self, rank: int, alpha: float, targets: Sequence[str]) -> "LanguageModel":
        """Freezes the model, and gives the layers whose names end like this adapters, which are trained.

        Raises:
            InputError: there are no such layers.
        """
        from peft import LoraConfig, inject_adapter_in_model

        options = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), lora_dropout=0.0)
        try:
            self.model = inject_adapter_in_model(options, self.model)
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise InputError(
                "lora_targets", list(targets), f"{self._name} cannot have them ({first})"
            ) from None
        return self


def tiny(length: int, tokens: int) -> Any:
    """A small OPT with random weights, drawn from torch's global generator."""
    transformers = pretrained.library("model", "opt")
    options = transformers.OPTConfig(
        vocab_size=tokens,
        hidden_size=TINY_WIDTH,
        word_embed_proj_dim=TINY_WIDTH,
        ffn_dim=2 * TINY_WIDTH,
        num_hidden_layers=TINY_LAYERS,
        num_attention_heads=TINY_HEADS,
        max_position_embeddings=length,
        # Every token is one of the data.
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return transformers.OPTForCausalLM(_without_dropout(options))


def load(name: str, *, share: bool) -> Any:
    """A pretrained model in fp32; on the meta device, its shapes. The process reads its files once.

    Args:
        name: a folder, or the name of a model in the cache of Hugging Face.
        share: whether its weights, which must not be changed then, have one memory in the whole process.

    Raises:
        InputError: it is not there, or cannot be loaded.
    """
    path = pretrained.find(name, "base_model")
    library = pretrained.library("base_model", name)
    if torch.get_default_device().type == "meta":
        return library.AutoModelForCausalLM.from_config(_configuration(library, path, name))
    kept = _loaded(path, pretrained.fingerprint(path, pretrained.WEIGHTS, "base_model", name), name)
    # What is in this table is not copied; a parameter that occurs twice (tied embeddings) stays one.
    own = {id(p): nn.Parameter(p.detach() if share else p.detach().clone()) for p in kept.parameters()}
    return copy.deepcopy(kept, own)


@lru_cache(maxsize=1)
def _loaded(path: Path, mark: str, name: str) -> Any:
    library = pretrained.library("base_model", name)
    options = _configuration(library, path, name)
    # Loading may draw numbers; the caller's generator must not depend on whether it has been done before.
    with torch.random.fork_rng(devices=[]):
        try:
            return library.AutoModelForCausalLM.from_pretrained(
                path, config=options, dtype=torch.float32, local_files_only=True
            )
        except Exception as error:
            raise _unusable(name, error) from None


def _configuration(library: Any, path: Path, name: str) -> Any:
    try:
        return _without_dropout(library.AutoConfig.from_pretrained(path, local_files_only=True))
    except Exception as error:
        raise _unusable(name, error) from None


def _unusable(name: str, error: Exception) -> InputError:
    """The libraries raise nearly anything for files that are damaged, or are no causal language model."""
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return InputError("base_model", name, f"cannot be loaded ({reason})")


def _without_dropout(options: Any) -> Any:
    for key, value in options.to_dict().items():
        if key.endswith(NOT_DROPPED) and isinstance(value, int | float):
            setattr(options, key, 0.0)
    return options
