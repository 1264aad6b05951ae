"""Part c: a training step on a GPU: gradients against the CPU's, speed against the original formulation, and DDP."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from geminifusion_export.benchmarking.original_formulation import OriginalFormulation
from geminifusion_export.benchmarking.paired import paired_ratio, paired_seconds
from geminifusion_export.gpu_acceptance.networks import NUM_CLASSES, SIZE, random_network
from geminifusion_export.gpu_acceptance.requirements import require_torch_gpu
from geminifusion_export.gpu_acceptance.result import Report
from geminifusion_export.gpu_acceptance.timing import synchronized
from geminifusion_model import GeminiFusion
from geminifusion_model.network import Prediction
from geminifusion_model.training.loop.loss import segmentation_losses
from geminifusion_model.training.loop.optimizer import build_optimizer
from geminifusion_model.training.loop.step_parts import autocast

TARGET = 2.0  # times the original formulation
LARGEST_GRADIENT_DIFFERENCE = 1e-3  # of the gradient's norm, in float32
_SMALL = (2, 96, 128)
_BATCHES = {"mit_b0": 8, "mit_b3": 4}
_RUNS = 5


def examine(report: Report) -> None:
    """Gradients first, then speed, then DDP."""
    require_torch_gpu()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    gpu = torch.device("cuda", 0)
    report.figure("gpu", torch.cuda.get_device_name())
    report.attempt("gradients on the GPU as on the CPU", partial(gradients_agree, gpu))
    report.attempt("DDP on one device", partial(_data_parallel, gpu))
    for encoder, batch in _BATCHES.items():
        report.attempt(f"{encoder} speed", partial(_speed, report, encoder, batch))


def gradients_agree(device: torch.device) -> str:
    """A step's gradient on a device against the CPU's in float32; what was found.

    Raises:
        ValueError: they differ by more than rounding.
    """
    expected = gradients(random_network("mit_b0"), torch.device("cpu"))
    found = gradients(random_network("mit_b0"), device)
    difference = relative_difference(found, expected)
    if not difference <= LARGEST_GRADIENT_DIFFERENCE:
        raise ValueError(f"they differ by {difference:.1e} of their norm; expected {LARGEST_GRADIENT_DIFFERENCE:g}")
    return f"within {difference:.1e} of their norm"


def gradients(
    net: GeminiFusion, device: torch.device, wrap: Callable[[nn.Module], nn.Module] = lambda net: net
) -> Tensor:
    """The gradient of the training loss on a fixed small batch, over all parameters, on the CPU.

    Nothing is random: dropout and stochastic depth are off.
    """
    net = net.to(device).eval()
    model = wrap(net)
    images, labels = (tuple(each.to(device) for each in images) for images in _batch(*_SMALL))
    losses = segmentation_losses(model(*images), labels[0])
    torch.stack(losses).sum().backward()
    return torch.cat([p.grad.flatten().cpu() for p in net.parameters() if p.grad is not None])


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """L2 of the difference over L2 of what is expected."""
    return float((found - expected).norm() / expected.norm())


def _batch(batch: int, height: int, width: int) -> tuple[tuple[Tensor, ...], tuple[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = tuple(torch.randn(batch, 3, height, width, generator=generator) for _ in range(2))
    return images, (torch.randint(0, NUM_CLASSES, (batch, height, width), generator=generator),)


def _data_parallel(device: torch.device) -> str:
    """The gradient through DDP in a group of this process alone."""
    with tempfile.TemporaryDirectory() as folder:
        distributed.init_process_group("nccl", init_method=f"file://{Path(folder) / 'group'}", rank=0, world_size=1)
        try:
            found = gradients(
                random_network("mit_b0"),
                device,
                lambda net: DistributedDataParallel(net, device_ids=[0], gradient_as_bucket_view=True),
            )
        finally:
            distributed.destroy_process_group()
    difference = relative_difference(found, gradients(random_network("mit_b0"), device))
    if not difference <= LARGEST_GRADIENT_DIFFERENCE:
        raise ValueError(f"its gradient differs by {difference:.1e} of the norm; expected rounding alone")
    return f"NCCL, gradient within {difference:.1e} of the one without"


def _speed(report: Report, encoder: str, batch: int) -> str:
    """Steps of forward, losses, backward and AdamW, in turns with the original formulation."""
    images, labels = (tuple(each.cuda() for each in images) for images in _batch(batch, *SIZE))
    original = OriginalFormulation(random_network(encoder)).cuda().train()
    ours = random_network(encoder).cuda().train()
    optimizers = {
        "original": torch.optim.AdamW(original.parameters(), lr=6e-5),
        "ours": build_optimizer(ours, learning_rate=6e-5, decoder_factor=10.0, weight_decay=0.01),
    }

    def step(optimizer: torch.optim.Optimizer, prediction: Prediction) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack(segmentation_losses(prediction, labels[0])).sum().backward()
        optimizer.step()

    def original_step(precision: str) -> None:
        with autocast(precision, torch.device("cuda")):
            per_stream, ensemble = original(*images)
        step(optimizers["original"], Prediction(tuple(per_stream), ensemble))

    def our_step(precision: str) -> None:
        with autocast(precision, torch.device("cuda")):
            prediction = ours(*images)
        step(optimizers["ours"], prediction)

    calls: dict[str, Callable[[], object]] = {}
    for precision in ("float32", "bfloat16"):
        calls[f"original {precision}"] = synchronized(partial(original_step, precision))
        calls[f"ours {precision}"] = synchronized(partial(our_step, precision))
    seconds = paired_seconds(calls, runs=_RUNS, warm_up=2)
    for name, values in seconds.items():
        torch.cuda.reset_peak_memory_stats()
        calls[name]()
        report.figure(f"{encoder} {name} pairs/s", batch / statistics.median(values))
        report.figure(f"{encoder} {name} peak GB", torch.cuda.max_memory_allocated() / 1e9)
    ratios = {p: paired_ratio(seconds[f"original {p}"], seconds[f"ours {p}"])[0] for p in ("float32", "bfloat16")}
    for precision, ratio in ratios.items():
        report.target(f"{encoder} training, {precision}", TARGET, ratio, "x the original")
    return f"{ratios['float32']:.2f}x the original in float32, {ratios['bfloat16']:.2f}x in bfloat16, batch {batch}"
