"""Train and score one network of a comparison; `fusion_comparison.py` starts this, one process for each.

    python benchmarks/comparison_run.py OUT NETWORK SEED

OUT/plan.json holds the settings. OUT/NETWORK-seedSEED becomes a training run's directory with two more files:
`scores.json`, and `matrices.npz` with one confusion matrix per test frame. A stopped run is resumed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from geminifusion_model.checkpoint import CONFIG_NAME, read_info
from geminifusion_model.config import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.data.registry import open_dataset
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.evaluation.corruptions import Condition
from geminifusion_model.evaluation.evaluate import Scores, evaluate
from geminifusion_model.fusions.registry import FUSIONS
from geminifusion_model.network import GeminiFusion
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError, DataChangedError, RunRecordError, TrainingError
from geminifusion_model.training.loop.run import TrainingRun
from geminifusion_model.training.loop.state import STATE_NAME
from geminifusion_runtime.allocator import keep_freed_memory

RGB_ONLY = "rgb_only"
NETWORKS = (RGB_ONLY, *FUSIONS)
PROTOCOL = "native-labels"
PLAN_NAME, SCORES_NAME, MATRICES_NAME, COST_NAME = "plan.json", "scores.json", "matrices.npz", "cost.json"
_MODALITIES = ("rgb", "depth")
_FULL_CROP = (384, 512)
_FULL_SCALE = (0.76, 1.8)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings that all networks of a comparison share.

    Args:
        data: the data set's folder; `dataset` is the name of its layout.
        classes: number of classes.
        imagenet: a classifier's file, as `geminifusion distil` writes one, that every stream's encoder starts from;
            random weights if empty.
        steps, batch_size, learning_rate, precision: of training.
        input_scale: by which frames are reduced, in training and evaluation; crops and the range of scales follow it.
        test_frames: only the first of the test split; 0 for all.
        threads: of torch.
    """

    data: str
    dataset: str = "nyuv2"
    classes: int = 13
    encoder: str = "mit_b0"
    imagenet: str = ""
    steps: int = 3000
    batch_size: int = 8
    learning_rate: float = 5e-4
    precision: Literal["float32", "bfloat16"] = "float32"
    input_scale: float = 0.25
    test_frames: int = 0
    threads: int = 2

    def configuration(self, network: str, seed: int) -> TrainingConfig:
        """The training of one network: the same start, the same frames and variations in the same order for one seed.

        No frames are held out and the last weights are kept, so nothing is chosen for any network.
        """
        fusion, modalities = ("none", _MODALITIES[:1]) if network == RGB_ONLY else (network, _MODALITIES)
        height, width = (round(side * self.input_scale) for side in _FULL_CROP)
        low, high = (factor * self.input_scale for factor in _FULL_SCALE)
        return TrainingConfig(
            network=GeminiFusionConfig(
                encoder=self.encoder,
                num_classes=self.classes,
                modalities=modalities,
                fusion=fusion,
                drop_path_rate=0.05,
            ),
            imagenet=self.imagenet or None,
            augmentation=Augmentation(crop=(height, width), scale=(low, high)),
            precision=self.precision,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            decoder_factor=2.0,
            weight_decay=0.03,
            warmup_steps=min(150, self.steps // 10),
            gradient_clip=5.0,
            ema_decay=0.998,
            input_scale=self.input_scale,
            seed=seed,
        )


def read_plan(out: Path) -> Plan:
    """The plan of a comparison's folder."""
    return Plan(**json.loads((out / PLAN_NAME).read_text(encoding="utf-8")))


def run_directory(out: Path, network: str, seed: int) -> Path:
    """The directory of one network's run."""
    return out / f"{network}-seed{seed}"


def train(plan: Plan, network: str, seed: int, directory: Path) -> None:
    """Train to the last step, from the stored state if there is one; adds what it took to `cost.json`."""
    config = plan.configuration(network, seed)
    frames = open_dataset(
        plan.dataset, plan.data, "train", num_classes=plan.classes, modalities=config.network.modalities
    )
    resume = (directory / STATE_NAME).is_file()
    run = TrainingRun(config, frames, directory, resume=resume, data_directory=Path(plan.data))
    first_step, start, cpu = run.state.step, time.perf_counter(), time.process_time()
    try:
        run.train()
    finally:
        _add_cost(
            directory / COST_NAME,
            {
                "steps": run.state.step - first_step,
                "seconds": time.perf_counter() - start,
                "processor_seconds": time.process_time() - cpu,
            },
        )


def _add_cost(path: Path, part: dict[str, float]) -> None:
    """Sum over the parts of a run that was stopped in between; memory is the largest."""
    cost = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    cost = {name: cost.get(name, 0) + value for name, value in part.items()} | {
        "peak_memory_gb": max(
            cost.get("peak_memory_gb", 0.0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        )
    }
    path.write_text(json.dumps(cost), encoding="utf-8")


def _cost_per_step(path: Path) -> dict[str, float | None]:
    """Time and memory of training; None where the process was killed before it could record them."""
    cost = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    steps = cost.get("steps")
    return {
        "seconds_per_step": cost["seconds"] / steps if steps else None,
        "processor_seconds_per_step": cost["processor_seconds"] / steps if steps else None,
        "peak_memory_gb": cost.get("peak_memory_gb"),
    }


def score(plan: Plan, network: str, seed: int, directory: Path) -> None:
    """Score the trained weights intact and without each modality; writes `matrices.npz`, then `scores.json`."""
    checkpoint = directory / "final"
    net, task = GeminiFusion.from_pretrained(checkpoint), read_info(checkpoint).task
    assert task is not None
    names = tuple(modality.name for modality in task.modalities)
    frames = open_dataset(
        plan.dataset, plan.data, "test", num_classes=plan.classes, modalities=names, limit=plan.test_frames or None
    )

    def scores_without(*missing: str) -> Scores:
        corruption = Condition(scenario="EMM", corrupted=missing).corruption(task, torch.Generator())
        return evaluate(net, frames, protocol=PROTOCOL, task=task, corruption=lambda _: corruption)

    intact = scores_without()
    without: dict[str, float | None] = dict.fromkeys(_MODALITIES)
    if len(names) > 1:
        without |= {name: scores_without(name).miou for name in names}
    else:
        without["depth"] = intact.miou  # it never had any
    np.savez_compressed(directory / MATRICES_NAME, matrices=intact.matrices)
    cost = _cost_per_step(directory / COST_NAME)
    result = {
        "network": network,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "protocol": intact.protocol,
        "test_frames": intact.frames,
        "miou": intact.miou,
        "pixel_accuracy": intact.pixel_accuracy,
        "miou_without": without,
        **cost,
    }
    partial = directory / f".{SCORES_NAME}.partial"
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / SCORES_NAME)


def main() -> None:
    """Finish one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    plan = read_plan(options.out)
    keep_freed_memory()
    torch.set_num_threads(plan.threads)
    directory = run_directory(options.out, options.network, options.seed)
    try:
        if not (directory / "final" / CONFIG_NAME).is_file():
            train(plan, options.network, options.seed, directory)
        score(plan, options.network, options.seed, directory)
    except (ConfigError, DataChangedError, DatasetError, RunRecordError, TrainingError) as error:
        sys.exit(f"{directory.name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def plan_values(plan: Plan) -> dict[str, object]:
    """The plan as a plain dict for JSON."""
    return dataclasses.asdict(plan)


if __name__ == "__main__":
    main()
