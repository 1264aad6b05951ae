"""The processes that train one network together, as started by `torchrun`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from geminifusion_model.training.errors import TrainingError

# The longest that one waits for another: the first evaluates alone. A process that ends is noticed at once.
_PATIENCE = timedelta(hours=4)

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process's place among all, and its device.

    Args:
        rank: 0 to `count - 1`; 0 writes, evaluates and logs.
        count: number of processes.
        on_this_machine: how many of them share this machine's cores.
    """

    rank: int = 0
    count: int = 1
    on_this_machine: int = 1
    device: torch.device = _CPU

    @property
    def is_first(self) -> bool:
        """True for the process that writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum a tensor of one shape over all processes; all of them get the sum."""
        if self.count > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.sum(torch.zeros(1, device=self.device)).item()

    def wrap(self, net: nn.Module) -> nn.Module:
        """Wrap `net` so that after a backward pass every process holds the mean of all gradients."""
        if self.count == 1:
            return net
        # depth-wise weights have an axis of size 1, whose stride means nothing, but torch compares it
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return DistributedDataParallel(
            net,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )


@contextmanager
def joined_processes(device: str, environment: Mapping[str, str]) -> Iterator[Processes]:
    """Join the processes that `environment` (RANK, WORLD_SIZE, … as set by `torchrun`) describes, or be the only one.

    Args:
        device: `cpu`, `cuda` or `auto`, which is CUDA if there is a device.

    Raises:
        TrainingError: `device` is `cuda` and there is none for this process.
    """
    count = int(environment.get("WORLD_SIZE", "1")) if "RANK" in environment else 1
    local_rank = int(environment.get("LOCAL_RANK", "0"))
    chosen = choose_device(device, local_rank)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if count == 1:
        yield Processes(device=chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    yield Processes(
        rank=distributed.get_rank(),
        count=count,
        on_this_machine=int(environment.get("LOCAL_WORLD_SIZE", str(count))),
        device=chosen,
    )
    # Not after an error: the others may then be anywhere, and destroying the group could wait forever.
    distributed.destroy_process_group()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device `name` means for the `local_rank`-th process of this machine.

    Raises:
        TrainingError: it is `cuda`, or `auto` on a machine with CUDA, and there are fewer devices than processes.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not available):
        return torch.device("cpu")
    if local_rank >= available:
        raise TrainingError(
            f"device is {name} and this is process {local_rank + 1} of this machine, where torch {torch.__version__} "
            f"finds {available} CUDA devices; start fewer processes, or choose --device cpu"
        )
    return torch.device("cuda", local_rank)
