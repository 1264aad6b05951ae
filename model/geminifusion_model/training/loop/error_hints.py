"""What a user can do about an error that torch raises in the middle of a step."""

from __future__ import annotations

import torch

from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.loop.distributed import Processes


def explanation(error: RuntimeError, config: TrainingConfig, processes: Processes) -> str | None:
    """What happened and what to do; None for an error that is not one of the expected."""
    cause = str(error).strip().partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in cause:
        return (
            f"{processes.device} has too little memory for a step of {config.batch_size} frames ({cause}); raise "
            "accumulate, set activation_checkpointing, or lower batch_size or augmentation.crop"
        )
    if config.compile and isinstance(error, torch._dynamo.exc.TorchDynamoException):
        return f"the network cannot be compiled here ({cause}); set compile to false"
    if processes.count > 1:
        return (
            f"process {processes.rank} of {processes.count} cannot go on ({cause}); most likely another one has ended, "
            "and its own message says why"
        )
    return None
