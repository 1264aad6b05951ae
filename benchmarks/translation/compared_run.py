"""Train and score one network of a comparison; `compare.py` starts this, one process for each.

    python benchmarks/translation/compared_run.py OUT NETWORK SEED

OUT/plan.json holds the settings. OUT/NETWORK-seedSEED becomes a training run's directory with two more files:
`scores.json`, and `values.npz` with the measures of every test view. A stopped run is resumed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from geminifusion_model.checkpoint import CONFIG_NAME
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.evaluation.evaluation_run import EvaluationError
from geminifusion_model.training.errors import ConfigError, DataChangedError, RunRecordError, TrainingError
from geminifusion_model.training.loop.state import STATE_NAME
from geminifusion_model.translation.config import TRANSLATOR_FUSIONS, TranslatorConfig
from geminifusion_model.translation.dataset import TranslationDataset, open_views
from geminifusion_model.translation.domains import DomainError, relation
from geminifusion_model.translation.evaluation import evaluate_translator
from geminifusion_model.translation.frechet import lite_features
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.run import TranslationRun
from geminifusion_model.translation.training_config import TranslationTrainingConfig
from geminifusion_model.translation.transforms import TranslationAugmentation
from geminifusion_runtime.allocator import keep_freed_memory

PLAN_NAME, SCORES_NAME, VALUES_NAME, COST_NAME = "plan.json", "scores.json", "values.npz", "cost.json"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings that all networks of a comparison share.

    Args:
        data: the data set's folder; `dataset` is the name of its layout.
        inputs: two domains; `target` is that of what is made of them.
        generator: its size, `gen_b0` to `gen_b2`.
        height, width: of all images, in training and in the test.
        steps, batch_size, learning_rate: of training, for every network.
        adversarial_weight: of the discriminator; 0 trains for the difference from the target alone.
        test_views: only the first of the test split; 0 for all.
        distances: also those of the features, for a target of photographs.
        threads: of torch.
    """

    data: str
    dataset: str
    inputs: tuple[str, str] = ("rgb", "edge_occlusion")
    target: str = "depth"
    generator: str = "gen_b0"
    height: int = 128
    width: int = 128
    steps: int = 2000
    batch_size: int = 4
    learning_rate: float = 2e-4
    adversarial_weight: float = 0.0
    test_views: int = 0
    distances: bool = False
    threads: int = 1

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of what can be compared: fusions, and each input alone."""
        return (*TRANSLATOR_FUSIONS, *self.inputs)

    def inputs_of(self, network: str) -> tuple[str, ...]:
        """Both inputs for a fusion, the named one otherwise."""
        return (network,) if network in self.inputs else self.inputs

    def configuration(self, network: str, seed: int) -> TranslationTrainingConfig:
        """The training of one network: random weights, the same views and variations in the same order for one seed.

        No views are held out and the last weights are kept, so nothing is chosen for any network.
        """
        return TranslationTrainingConfig(
            network=TranslatorConfig(
                size=self.generator,
                inputs=self.inputs_of(network),
                target=self.target,
                fusion="none" if network in self.inputs else network,
                drop_path_rate=0.05,
            ),
            size=(self.height, self.width),
            augmentation=TranslationAugmentation(),
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            adversarial_weight=self.adversarial_weight,
            schedule="cosine",
            warmup_steps=min(50, self.steps // 10),
            ema_decay=0.998,
            seed=seed,
        )

    def opened(self, network: str, split: str, limit: int | None = None) -> TranslationDataset:
        """The views of a split as a network takes them."""
        inputs = self.inputs_of(network)
        # both inputs, so that every network sees the same list of views
        views = open_views(self.dataset, self.data, split, (*self.inputs, self.target), limit=limit)
        augmentation = self.configuration(network, 0).augmentation
        return TranslationDataset(
            views, inputs=inputs, target=self.target, size=(self.height, self.width), augmentation=augmentation
        )


def read_plan(out: Path) -> Plan:
    """The plan of a comparison's folder."""
    values = json.loads((out / PLAN_NAME).read_text(encoding="utf-8"))
    return Plan(**{**values, "inputs": tuple(values["inputs"])})


def plan_values(plan: Plan) -> dict[str, object]:
    """The plan as a plain dict for JSON."""
    return {**dataclasses.asdict(plan), "inputs": list(plan.inputs)}


def run_directory(out: Path, network: str, seed: int) -> Path:
    """The directory of one network's run."""
    return out / f"{network}-seed{seed}"


def train(plan: Plan, network: str, seed: int, directory: Path) -> None:
    """Train to the last step, from the stored state if there is one; adds what it took to `cost.json`."""
    resume = (directory / STATE_NAME).is_file()
    run = TranslationRun(
        plan.configuration(network, seed),
        plan.opened(network, "train"),
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


def _seconds_per_step(path: Path) -> float | None:
    """None where the process was killed before it could record them."""
    cost = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"steps": 0}
    return cost["seconds"] / cost["steps"] if cost["steps"] else None


def score(plan: Plan, network: str, seed: int, directory: Path) -> None:
    """Score the trained weights; writes `values.npz`, then `scores.json`."""
    net = Generator.from_pretrained(directory / "final")
    dataset = plan.opened(network, "test", plan.test_views or None)
    scores = evaluate_translator(net, dataset, spaces=[lite_features()] if plan.distances else [])
    np.savez_compressed(directory / VALUES_NAME, values=scores.values[scores.kept], views=np.array(scores.views))
    inputs = plan.inputs_of(network)
    result = {
        "network": network,
        "seed": seed,
        "inputs": {name: relation(name, inputs, plan.target, dataset.views.domains) for name in inputs},
        "data": dataset.views.data,
        "views": len(scores.views),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "measures": {measure.name: scores.average(measure) for measure in scores.measures},
        "distances": {
            name: value
            for found in scores.distances
            for name, value in ((found.space.frechet, found.frechet), (f"{found.space.kernel} x100", found.kernel))
        },
        "seconds_per_step": _seconds_per_step(directory / COST_NAME),
    }
    partial = directory / f".{SCORES_NAME}.partial"
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / SCORES_NAME)


def main() -> None:
    """Finish one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("network")
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
    except (
        ConfigError,
        DataChangedError,
        DatasetError,
        DomainError,
        EvaluationError,
        RunRecordError,
        TrainingError,
    ) as error:
        sys.exit(f"{directory.name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
