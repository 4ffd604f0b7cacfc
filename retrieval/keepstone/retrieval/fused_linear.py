"""Faster linear layers on a CPU: weights laid out once for oneDNN, bias and GELU computed inside the product.

PyTorch's own `Linear` copies the bias over the output and lays the weight out anew at every call; for small encoders
that is a quarter of the time. The operators are those that torch.compile emits on a CPU, used here without compiling.
They are not public API, so `fuse_linears` checks what they give and leaves the model alone when they cannot be used.
"""

from __future__ import annotations

import structlog
import torch
from torch import Tensor, nn

log = structlog.get_logger(__name__)

_MIN_COSINE = 0.999


class FusedLinear(nn.Module):
    """A linear layer, optionally followed by GELU, with the weight in oneDNN's own layout.

    Args:
        linear: the layer that it stands for.
        gelu: whether to apply the exact GELU to the result.
    """

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)  # noqa: SLF001
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._activation, self._algorithm = ("gelu", "none") if gelu else ("none", "")

    def forward(self, x: Tensor) -> Tensor:
        """Return `gelu(x @ W.T + b)`, or the same without GELU."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            x, self._weight, self._bias, self._activation, [], self._algorithm
        )
        return out


def fuse_linears(model: nn.Module, inputs: dict[str, Tensor]) -> bool:
    """Replace the linear layers of a transformer that is used for inference on a CPU.

    Args:
        model: a transformers encoder in evaluation mode; changed in place.
        inputs: an example of its inputs, on which old and new layers are compared.

    Returns:
        Whether the layers were replaced. If not, the model is as it was.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        with torch.inference_mode():
            expected = model(**inputs).last_hidden_state.float().flatten(1)
            _replace_in(model, replaced)
            got = model(**inputs).last_hidden_state.float().flatten(1)
        agrees = bool((torch.nn.functional.cosine_similarity(expected, got) > _MIN_COSINE).all())
    except (AttributeError, RuntimeError, TypeError, NotImplementedError) as error:
        log.info("linear_layers_not_fused", reason=type(error).__name__)
        agrees = False
    if not agrees:
        for parent, name, original in reversed(replaced):
            setattr(parent, name, original)
    return agrees


def _replace_in(module: nn.Module, replaced: list[tuple[nn.Module, str, nn.Module]]) -> None:
    def put(parent: nn.Module, name: str, new: nn.Module) -> None:
        replaced.append((parent, name, getattr(parent, name)))
        setattr(parent, name, new)

    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            put(module, name, FusedLinear(child))
        elif (dense := _dense_before_gelu(child)) is not None:
            put(child, "dense", FusedLinear(dense, gelu=True))
            put(child, "intermediate_act_fn", nn.Identity())
        else:
            _replace_in(child, replaced)


def _dense_before_gelu(module: nn.Module) -> nn.Linear | None:
    """Recognise the first half of the feed-forward block of BERT, RoBERTa, XLM-R and their kin."""
    dense, activation = getattr(module, "dense", None), getattr(module, "intermediate_act_fn", None)
    exact_gelu = type(activation).__name__ == "GELUActivation"
    return dense if isinstance(dense, nn.Linear) and exact_gelu else None
