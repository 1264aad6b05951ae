"""One training run in one directory.

config.yaml      the configuration        state.pt      the resumable state, replaced atomically
metrics.jsonl    one line per evaluation  best/ final/  checkpoints (config.json + model.safetensors)
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import nn

from geminifusion_model.data.loader import Batch, training_batches
from geminifusion_model.data.sample import Dataset, Subset
from geminifusion_model.evaluation.evaluate import Scores, evaluate
from geminifusion_model.fusions.registry import fusion_penalty
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task
from geminifusion_model.training.loss import segmentation_losses
from geminifusion_model.training.optimizer import build_optimizer
from geminifusion_model.training.recipes import TrainingConfig
from geminifusion_model.training.schedule import warmup_poly
from geminifusion_model.training.state import STATE_NAME, ExponentialAverage, TrainingState
from geminifusion_model.weights.checkpoint import load_network, write_checkpoint


class TrainingError(RuntimeError):
    """Training cannot start or go on; the last state on disk is intact."""


class TrainingRun:
    """Train a network on a data set.

    Args:
        directory: where everything is written; made if need be.
        resume: continue from `directory`'s state, bit for bit as if it had never stopped.

    Raises:
        TrainingError: the directory holds a run and `resume` is not given, or the reverse, or the configuration of the
            run in it differs, or classes or frames do not fit.
    """

    def __init__(self, config: TrainingConfig, dataset: Dataset, directory: Path, *, resume: bool = False) -> None:
        self.config, self.directory = config, directory
        self.task: Task = dataclasses.replace(dataset.task, input_scale=config.input_scale)
        self._check(dataset, resume)
        kept = len(dataset) - config.holdout
        self.frames = Subset(dataset, range(kept))
        self.holdout = Subset(dataset, range(kept, len(dataset)))
        torch.manual_seed(config.seed)
        net = self._start_network()
        optimizer = build_optimizer(
            net,
            learning_rate=config.learning_rate,
            decoder_factor=config.decoder_factor,
            weight_decay=config.weight_decay,
        )
        self.net = net
        self.state = TrainingState(net, optimizer, ExponentialAverage(net, config.ema_decay))
        self._started_at_step = 0
        if resume:
            self.state.restore(directory)
            self._started_at_step = self.state.step
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")

    def _start_network(self) -> GeminiFusion:
        """Random weights, or those of another checkpoint of the same network."""
        net = GeminiFusion(self.config.network)
        if self.config.start_from is not None:
            start = load_network(Path(self.config.start_from))
            try:
                net.load_state_dict(start.state_dict())
            except RuntimeError as error:
                raise TrainingError(f"{self.config.start_from} does not fit the network: {error}") from None
        return net

    def train(self) -> Scores | None:
        """Run to the last step; returns the last scores on the held-out frames, if there are any.

        Raises:
            TrainingError: the loss is not finite.
            KeyboardInterrupt: after the state has been saved.
        """
        config, state = self.config, self.state
        scores: Scores | None = None
        batches = training_batches(
            self.frames,
            config.augmentation,
            batch_size=config.batch_size,
            seed=config.seed,
            first_step=state.step,
            last_step=config.steps,
        )
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns) as progress:
            bar = progress.add_task("training", total=config.steps, completed=state.step)
            try:
                for batch in batches:
                    loss = self._step(batch)
                    state.step += 1
                    progress.update(bar, completed=state.step, description=f"loss {loss:.3f}")
                    done = state.step == config.steps
                    if len(self.holdout) and (done or state.step % config.evaluate_every == 0):
                        scores = self._evaluate(loss)
                    if done or state.step % config.checkpoint_every == 0:
                        state.save(self.directory)
            except KeyboardInterrupt:
                state.save(self.directory)
                raise
        self._write_checkpoint("final", scores)
        return scores

    def _step(self, batch: Batch) -> float:
        """One optimiser step; returns the summed loss."""
        config, state = self.config, self.state
        factor = warmup_poly(
            state.step, warmup_steps=config.warmup_steps, total_steps=config.steps, power=config.decay_power
        )
        for group in state.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.net.train()
        if config.freeze_decoder_norm:
            self.net.decoder.norm.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            prediction = self.net(*batch.inputs)
        total = torch.stack(segmentation_losses(prediction, batch.labels, self.task.ignore_index)).sum()
        penalty = fusion_penalty(self.net)
        if penalty is not None:
            total = total + config.fusion_penalty * penalty
        value = total.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {state.step}; the last good state is {self.directory / STATE_NAME}. "
                "Lower learning_rate or set gradient_clip, then resume"
            )
        state.optimizer.zero_grad(set_to_none=True)
        total.backward()
        if config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), config.gradient_clip)
        state.optimizer.step()
        if config.ema_decay:
            state.average.update(self.net, state.step)
        return value

    def _evaluate(self, loss: float) -> Scores:
        net = GeminiFusion(self.config.network).eval()
        net.load_state_dict(self.state.averaged())
        scores = evaluate(net, self.holdout, task=self.task)
        line = {
            "step": self.state.step,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "loss": round(loss, 4),
            "miou": round(scores.miou, 3),
            "pixel_accuracy": round(scores.pixel_accuracy, 3),
        }
        with (self.directory / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if scores.miou > self.state.best_miou:
            self.state.best_miou = scores.miou
            self._write_checkpoint("best", scores)
        return scores

    def _write_checkpoint(self, name: str, scores: Scores | None) -> None:
        net = GeminiFusion(self.config.network)
        net.load_state_dict(self.state.averaged())
        training: dict[str, object] = {
            "data": self.task.data,
            "frames": len(self.frames),
            "steps": self.state.step,
            "start": self.config.start_from or "random weights, no ImageNet",
            "config": self.config.model_dump(mode="json"),
        }
        if scores is not None:
            training["holdout"] = {"frames": len(self.holdout), "miou": scores.miou}
        write_checkpoint(net, self.directory / name, task=self.task, training=training)

    def _check(self, dataset: Dataset, resume: bool) -> None:
        config, directory = self.config, self.directory
        if len(dataset.task.class_names) != config.network.num_classes:
            raise TrainingError(
                f"the data has {len(dataset.task.class_names)} classes, the network {config.network.num_classes}; "
                "set network.num_classes"
            )
        if len(dataset) <= config.holdout:
            raise TrainingError(f"the data has {len(dataset)} frames, {config.holdout} are to be held out; use fewer")
        exists = (directory / STATE_NAME).is_file()
        if exists and not resume:
            raise TrainingError(f"{directory} already holds a run; resume it with --resume or choose another directory")
        if resume and not exists:
            raise TrainingError(f"{directory} holds no {STATE_NAME} to resume from")
        if resume and TrainingConfig.from_yaml(directory / "config.yaml") != config:
            raise TrainingError(
                f"the configuration differs from {directory / 'config.yaml'}; resume needs the same one"
            )
