"""Train one detector of a comparison and store what it finds; `compare.py` starts this, one process for each.

    python benchmarks/detection/compared_run.py OUT NETWORK SEED

OUT/plan.json holds the settings. OUT/NETWORK-seedSEED becomes a training run's directory with the detector's result
files in `results/`, those with every change of the sensors in `results-CHANGE/`, and `finished.json` when all is done.
A stopped run is resumed, and result folders that are complete are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from geminifusion_model.checkpoint import CONFIG_NAME, CheckpointError
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.config import DetectorConfig
from geminifusion_model.detection.data.augment import DetectionAugmentation
from geminifusion_model.detection.data.kitti import KittiFrames
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.evaluation.detecting import Change, detect_all
from geminifusion_model.detection.evaluation.robustness import CHANGES
from geminifusion_model.detection.run import DetectionRun
from geminifusion_model.detection.training_config import DetectionTrainingConfig
from geminifusion_model.training.errors import ConfigError, DataChangedError, RunRecordError, TrainingError
from geminifusion_model.training.loop.state import STATE_NAME
from geminifusion_runtime.allocator import keep_freed_memory

PLAN_NAME, FINISHED_NAME, COST_NAME = "plan.json", "finished.json", "cost.json"

NETWORKS: dict[str, dict[str, str]] = {
    "lidar": {"fusion": "none", "fusion_layers": "last"},
    "sum-last": {"fusion": "sum", "fusion_layers": "last"},
    "sum-both": {"fusion": "sum", "fusion_layers": "both"},
    "geminifusion-last": {"fusion": "geminifusion", "fusion_layers": "last"},
    "geminifusion-both": {"fusion": "geminifusion", "fusion_layers": "both"},
}
"""What is compared: the last two pairs separate the fusion from the number of layers that have one."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings that all detectors of a comparison share.

    Args:
        data: a folder in KITTI's layout with the lists `train` and `val`.
        height, width: that images are fitted into.
        reach: metres ahead and half as many to either side that are looked at.
        pillar: side of a pillar in metres.
        image_encoder: of those that see images.
        imagenet: start weights of the image encoder; random if empty.
        steps, batch_size, learning_rate: of training, for every detector.
        train_frames, val_frames: only the first; 0 for all.
        robustness: also with every change of the sensors.
        threads: of torch.
    """

    data: str
    height: int = 128
    width: int = 416
    reach: float = 40.96
    pillar: float = 0.16
    image_encoder: str = "mit_b0"
    imagenet: str = ""
    steps: int = 2000
    batch_size: int = 2
    learning_rate: float = 1e-3
    train_frames: int = 0
    val_frames: int = 0
    robustness: bool = True
    threads: int = 1

    def configuration(self, network: str, seed: int) -> DetectionTrainingConfig:
        """The training of one detector: the same frames and variations in the same order for one seed.

        No frames are held out and the last weights are kept, so nothing is chosen for any detector.
        """
        reach = self.reach
        detector = DetectorConfig.from_dict(
            DetectorConfig().to_dict()
            | NETWORKS[network]
            | {
                "image_encoder": self.image_encoder,
                "point_range": [0.0, -reach / 2, -3.0, reach, reach / 2, 1.0],
                "voxel_size": [self.pillar, self.pillar, 4.0],
            }
        )
        return DetectionTrainingConfig(
            network=detector,
            image_size=(self.height, self.width),
            augmentation=DetectionAugmentation(rotation=0.2, image_scale=(0.9, 1.1)),
            imagenet=(self.imagenet or None) if detector.uses_images else None,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=min(100, self.steps // 10),
            ema_decay=0.998,
            seed=seed,
        )

    def frames(self, split: str) -> KittiFrames:
        """The frames of a split."""
        count = self.train_frames if split == "train" else self.val_frames
        return KittiFrames(Path(self.data), split, limit=count or None)


def read_plan(out: Path) -> Plan:
    """The plan of a comparison's folder."""
    return Plan(**json.loads((out / PLAN_NAME).read_text(encoding="utf-8")))


def plan_values(plan: Plan) -> dict[str, object]:
    """The plan as a plain dict for JSON."""
    return dataclasses.asdict(plan)


def run_directory(out: Path, network: str, seed: int) -> Path:
    """The directory of one detector's run."""
    return out / f"{network}-seed{seed}"


def results_directory(directory: Path, change: str | None) -> Path:
    """Where the result files with a change of the sensors are, or those without."""
    return directory / ("results" if change is None else f"results-{change.replace(' ', '-')}")


def train(plan: Plan, network: str, seed: int, directory: Path) -> None:
    """Train to the last step, from the stored state if there is one; adds what it took to `cost.json`."""
    resume = (directory / STATE_NAME).is_file()
    run = DetectionRun(
        plan.configuration(network, seed),
        plan.frames("train"),
        directory,
        resume=resume,
        data_directory=Path(plan.data),
    )
    first_step, start = run.state.step, time.perf_counter()
    try:
        run.train()
    finally:
        path = directory / COST_NAME
        cost = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"steps": 0, "seconds": 0.0}
        cost["steps"] += run.state.step - first_step
        cost["seconds"] += time.perf_counter() - start
        path.write_text(json.dumps(cost), encoding="utf-8")


def detect(plan: Plan, directory: Path) -> None:
    """Store what the trained detector finds, with every change that the plan asks for; writes `finished.json`."""
    net, frames = Detector.from_pretrained(directory / "final"), plan.frames("val")
    changes: dict[str, Change | None] = {"": None}
    if plan.robustness:
        changes |= CHANGES
    for name, change in changes.items():
        if change is CHANGES.get("blank image") and not net.config.uses_images:
            change = None  # it sees none: the results are those without
        folder = results_directory(directory, name or None)
        if not all((folder / f"{frame}.txt").is_file() for frame in frames.names):
            detect_all(net, frames, (plan.height, plan.width), change=change, results=folder)
    path = directory / COST_NAME
    cost = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"steps": 0}
    finished = {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "seconds_per_step": cost["seconds"] / cost["steps"] if cost["steps"] else None,
    }
    partial = directory / f".{FINISHED_NAME}.partial"
    partial.write_text(json.dumps(finished) + "\n", encoding="utf-8")
    partial.replace(directory / FINISHED_NAME)


def main() -> None:
    """Finish one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    plan = read_plan(options.out)
    keep_freed_memory()
    torch.set_num_threads(plan.threads)
    directory = run_directory(options.out, options.network, options.seed)
    try:
        if not (directory / "final" / CONFIG_NAME).is_file():
            train(plan, options.network, options.seed, directory)
        detect(plan, directory)
    except (CheckpointError, ConfigError, DataChangedError, DatasetError, RunRecordError, TrainingError) as error:
        sys.exit(f"{directory.name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
