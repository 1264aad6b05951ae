"""What the fusion costs a translator: a training step and the exported graph, with each fusion and without, in turn.

    python benchmarks/translation/cost.py [--height 256 --width 256 --batch 4 --threads 2 --runs 9]

All are `gen_b0` with two inputs. Weights and images are random, which time does not depend on. A training step is the
difference from the target, backward and update; the graph runs in ONNX Runtime on one view.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from geminifusion_export.translation.graph import TranslationGraph, export_onnx, random_batch
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.translation.config import TranslatorConfig
from geminifusion_model.translation.dataset import TranslationBatch
from geminifusion_model.translation.domains import FRAME_DOMAINS
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.state import build_state
from geminifusion_model.translation.step import TranslationStep
from geminifusion_model.translation.task import TranslationTask
from geminifusion_model.translation.training_config import TranslationTrainingConfig
from geminifusion_model.translation.transforms import TranslationAugmentation
from geminifusion_runtime.backends.onnx_runtime import open_session

sys.path.append(str(Path(__file__).resolve().parents[1]))

from cost_table import Contenders, cost_parser, print_costs

_FUSIONS = ("none", "token_exchange", "geminifusion")
_INPUTS, _TARGET = ("rgb", "edge_occlusion"), "depth"


def main() -> None:
    """Measure and print."""
    options = cost_parser(__doc__, height=256, width=256, batch=4).parse_args()
    torch.set_num_threads(options.threads)
    size = (options.height, options.width)
    shape, mask = (options.batch, 3, *size), torch.ones(options.batch, *size, dtype=torch.bool)
    batch = TranslationBatch(
        inputs=tuple(torch.randn(shape) for _ in _INPUTS), target=torch.randn(shape), counted=mask, measured=mask
    )
    domains = tuple(FRAME_DOMAINS[name] for name in _INPUTS)
    task = TranslationTask(data="noise", inputs=domains, target=FRAME_DOMAINS[_TARGET], size=size)
    steps: Contenders = {}
    graphs: Contenders = {}
    with tempfile.TemporaryDirectory() as folder:
        for fusion in _FUSIONS:
            network = TranslatorConfig(size="gen_b0", inputs=_INPUTS, target=_TARGET, fusion=fusion)
            config = TranslationTrainingConfig(
                network=network,
                size=size,
                augmentation=TranslationAugmentation(),
                steps=1000,
                batch_size=options.batch,
                adversarial_weight=0.0,
            )
            training = TranslationStep(config, build_state(config, torch.device("cpu")), Processes())
            steps[fusion] = partial(training.take, batch)
            graph = TranslationGraph(Generator(network).eval(), task)
            path = Path(folder) / f"{fusion}.onnx"
            export_onnx(graph, path)
            session = open_session(path, threads=options.threads)
            graphs[fusion] = partial(session.run, None, random_batch(graph, (1, *size)))
        print_costs(options, steps, graphs)


if __name__ == "__main__":
    main()
