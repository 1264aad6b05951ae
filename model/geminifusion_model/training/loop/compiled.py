"""torch.compile, used only after its gradients have been compared with plain ones.

On a CPU, torch 2.13's default backend (`inductor`) gave MiT and Swin networks of this package the right predictions and
gradients off by their own size, for some input sizes and not for others; its graph alone (`aot_eager`) was right. Such
a run would train badly, without any error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from geminifusion_model.network import GeminiFusion, Prediction
from geminifusion_model.training.errors import TrainingError

# Wrong ones were off by 0.7 and more, right ones in float32 by 1e-6; half precision rounds elsewhere when compiled.
_MOST_DIFFERENCE = 0.1


def compile_network(net: GeminiFusion) -> None:
    """Compile the calls of `net`, in place; its names in the state dict stay, and `net.forward` stays as it was."""
    import torch._inductor.config as settings  # heavy, and only needed here

    settings.fallback_random = True  # dropped paths are then the same with and without
    net.compile()


def check_compiled(
    net: GeminiFusion, loss_of: Callable[[Callable[..., Prediction]], Tensor], parameters: Sequence[Tensor]
) -> bool:
    """Compare the gradients of a compiled network's call with those of its plain `forward`; `net` does not change.

    Args:
        loss_of: the loss of a part of a batch by a given forward function, with the same random numbers at each call.
        parameters: of `net`, that are trained.

    Returns:
        True if there was anything to compare: a part without labels has no gradient.

    Raises:
        TrainingError: they differ.
    """
    statistics = {name: values.clone() for name, values in net.decoder.norm.state_dict().items()}
    plain = torch.autograd.grad(loss_of(net.forward), parameters)
    compiled = torch.autograd.grad(loss_of(net), parameters)
    net.decoder.norm.load_state_dict(statistics)
    expected = torch.nn.utils.get_total_norm(plain).item()
    difference = torch.nn.utils.get_total_norm([a - b for a, b in zip(compiled, plain, strict=True)]).item()
    if not 0.0 < expected < float("inf"):
        return False
    if not difference <= _MOST_DIFFERENCE * expected:
        raise TrainingError(
            f"compiled by torch {torch.__version__} for {parameters[0].device.type}, the network has wrong gradients: "
            f"they differ by {difference / expected:.1g} of their norm from those without; set compile to false"
        )
    return True
