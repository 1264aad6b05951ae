"""What seeing images, and the fusion, cost a detector: a training step and the exported graph of each, in turn.

    geminifusion data streets STREETS
    python benchmarks/detection/cost.py STREETS [--height 128 --width 416 --batch 2 --threads 2 --runs 9]

The detectors are those of `compare.py`, with random weights. A training step is loss, backward and update on frames of
STREETS; the graph runs in ONNX Runtime on one random frame of as many points as the first of them has.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from compared_run import NETWORKS, Plan

from geminifusion_export.detection.graph import DetectionGraph, example_inputs, export_onnx
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.detection.data.batches import training_batches
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.state import build_state
from geminifusion_model.detection.step import DetectionStep
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_runtime.backends.onnx_runtime import open_session

sys.path.append(str(Path(__file__).resolve().parents[1]))

from cost_table import Contenders, cost_parser, print_costs


def main() -> None:
    """Measure and print."""
    parser = cost_parser(__doc__, height=128, width=416, batch=2)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = Plan(
        data=str(options.data),
        height=options.height,
        width=options.width,
        batch_size=options.batch,
        train_frames=options.batch,
    )
    try:
        frames = plan.frames("train")
    except DatasetError as error:
        sys.exit(str(error))
    steps: Contenders = {}
    graphs: Contenders = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            config = plan.configuration(name, 0)
            (batch,) = training_batches(
                frames,
                config.network,
                config.augmentation,
                image_size=config.image_size,
                batch_size=options.batch,
                seed=0,
                first_step=0,
                last_step=1,
            )
            training = DetectionStep(config, build_state(config, torch.device("cpu")), Processes())
            steps[name] = partial(training.take, batch)
            graph = DetectionGraph(Detector(config.network).eval(), config.image_size)
            path = Path(folder) / f"{name}.onnx"
            export_onnx(graph, path)
            session = open_session(path, threads=options.threads)
            read = {value.name for value in session.get_inputs()}
            frame = example_inputs(graph, len(batch.inputs.points[0]), config.image_size)
            graphs[name] = partial(session.run, None, {key: value for key, value in frame.items() if key in read})
        print_costs(options, steps, graphs)


if __name__ == "__main__":
    main()
