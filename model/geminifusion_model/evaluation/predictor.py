"""What gives the label map of a frame: a network in torch, or a graph that is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol as Interface

import torch

from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.corruptions import Condition
from geminifusion_model.evaluation.prediction import Corruption, ScoredFrame, score_frame
from geminifusion_model.evaluation.protocols import Protocol
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task


class Predictor(Interface):
    """Predicts frames under a protocol."""

    @property
    def task(self) -> Task:
        """Encodings, classes and input scale."""

    def title(self) -> str:
        """What predicts, in a few words."""

    def facts(self) -> Mapping[str, str]:
        """What a report says of it, by name."""

    def score(
        self, sample: Sample, protocol: Protocol, *, index: int = 0, corruption: Corruption | None = None
    ) -> ScoredFrame:
        """The frame with truth and labels at the size that the protocol asks for.

        Args:
            index: the frame's place in the data set.
            corruption: of the encoded inputs, which a network alone shows.

        Raises:
            ValueError: the protocol cannot be followed, or the frame does not fit; the message says what to do.
        """


class NetworkPredictor:
    """The ensemble of a network in torch, under any protocol.

    Args:
        net: it is put into evaluation mode.
        task: encodings and input scale.
        without: modalities that the network does not see, as if they were never measured.

    Raises:
        ValueError: the network has no such modality, or none would be left.
    """

    def __init__(self, net: GeminiFusion, task: Task, *, without: tuple[str, ...] = ()) -> None:
        check_without(without, tuple(modality.name for modality in task.modalities))
        self.net, self.without = net.eval(), without
        self._task = task
        self._missing = Condition(scenario="EMM", corrupted=without)

    @property
    def task(self) -> Task:
        """Encodings, classes and input scale."""
        return self._task

    def title(self) -> str:
        """The encoder's name."""
        return self.net.config.encoder

    def facts(self) -> Mapping[str, str]:
        """The network and its input scale."""
        config = self.net.config
        return {
            "network": f"{config.encoder}, fusion {config.fusion}, {' and '.join(config.modalities)}",
            "input scale": f"{self.task.input_scale:g}",
        }

    def score(
        self, sample: Sample, protocol: Protocol, *, index: int = 0, corruption: Corruption | None = None
    ) -> ScoredFrame:
        """See `Predictor`."""
        missing = self._missing.corruption(self.task, torch.Generator()) if self.without else None

        def both(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            for corrupt in (corruption, missing):
                if corrupt is not None:
                    inputs = corrupt(inputs)
            return inputs

        return score_frame(self.net, sample, self.task, protocol, index=index, corruption=both)


def check_without(without: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Check that modalities can be left out of those of a model.

    Raises:
        ValueError: there is no such modality, or none would be left.
    """
    if unknown := [name for name in without if name not in names]:
        raise ValueError(f"there is no {unknown[0]} to leave out; the model takes {', '.join(names)}")
    if set(without) >= set(names):
        raise ValueError(f"without {' and '.join(without)} nothing is left of {', '.join(names)}; keep one of them")
