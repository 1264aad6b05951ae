"""One optimizer step by one process: parts, precision, recomputation, random numbers, and what it refuses."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

from geminifusion_model import GeminiFusion, GeminiFusionConfig
from geminifusion_model.data.loader import Batch
from geminifusion_model.training.errors import ConfigError, TrainingError
from geminifusion_model.training.loop.compiled import check_compiled
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.loss import segmentation_losses
from geminifusion_model.training.loop.preparation import build_network, build_state, checkpoint_activations
from geminifusion_model.training.loop.run import explanation
from geminifusion_model.training.loop.step import SMALLEST_SCALE, OptimizerStep
from geminifusion_runtime.allocator import keep_freed_memory

_spec = importlib.util.spec_from_file_location("training_scenarios", Path(__file__).parent / "training_scenarios.py")
scenarios = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scenarios)


def stepper(processes=None, weights=None, **settings):
    processes = processes or Processes()
    config = scenarios.config(**settings)
    net = build_network(config, processes)
    state = build_state(config, net, processes.device)
    return OptimizerStep(config, net, state, processes, ignore_index=255, class_weights=weights)


def gradients(step):
    return {name: p.grad for name, p in step.net.named_parameters() if p.grad is not None}


def trained(step):
    return (parameter for parameter in step.net.parameters() if parameter.requires_grad)


def weights_of(step):
    return {name: tensor.clone() for name, tensor in step.net.state_dict().items()}


def unlabeled(batch):
    return Batch(batch.inputs, torch.full_like(batch.labels, 255))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.1, 1.0, 2.0, 5.0, 10.0])])
def test_accumulated_parts_have_the_gradient_of_the_whole_batch(weights):
    """Though they have different numbers of labeled pixels, the first frame none at all."""
    settings = {"freeze_decoder_norm": True, "class_balance": 0.0 if weights is None else 1.0}
    whole, parts = (stepper(weights=weights, accumulate=count, **settings) for count in (1, 4))
    reports = [step.take(scenarios.batch(0)) for step in (whole, parts)]
    assert reports[1].losses == pytest.approx(reports[0].losses, rel=1e-5)
    torch.testing.assert_close(gradients(parts), gradients(whole), rtol=1e-4, atol=1e-6)


def test_parts_count_alike_where_pixels_are_chosen_by_hardness():
    step = stepper(freeze_decoder_norm=True, loss="ohem", accumulate=2, learning_rate=1e-12)
    found = step.take(scenarios.batch(0)).losses["rgb"]
    halves = scenarios.batch(0).parts(2)
    alone = stepper(freeze_decoder_norm=True, loss="ohem", learning_rate=1e-12)
    assert found == pytest.approx(sum(alone.take(half).losses["rgb"] for half in halves) / 2, rel=1e-5)


def test_batch_without_a_label_moves_nothing_but_by_decay():
    step = stepper(weight_decay=0.0)
    before = dict(step.net.named_parameters())
    before = {name: tensor.detach().clone() for name, tensor in before.items()}
    report = step.take(unlabeled(scenarios.batch(0)))
    assert report.loss == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in step.net.named_parameters())


def test_ensemble_is_learnt_from_only_where_its_weights_are_trained():
    step = stepper()
    assert list(step.take(scenarios.batch(0)).losses) == ["rgb", "depth"]
    assert step.net.ensemble_logits.grad is None
    trained = stepper(parameter_groups="deliver")
    report = trained.take(scenarios.batch(0))
    assert list(report.losses) == ["rgb", "depth", "ensemble"]
    assert report.loss == pytest.approx(report.losses["rgb"] + report.losses["depth"])
    assert trained.net.ensemble_logits.grad.abs().max() > 0


def test_penalty_of_a_fusion_is_reported_and_learnt_from():
    step = stepper(fusion="token_exchange")
    report = step.take(scenarios.batch(0))
    assert report.scalars()["penalty"] == report.penalty == pytest.approx(0.5 * 0.5, rel=0.05)  # scores start near 1/2
    assert "penalty" not in stepper().take(scenarios.batch(0)).scalars()


@pytest.mark.parametrize(
    "network",
    [
        GeminiFusionConfig(num_classes=5, decoder_channels=16, drop_path_rate=0.5),
        GeminiFusionConfig(num_classes=5, decoder_channels=16, drop_path_rate=0.5, fusion="token_exchange"),
        pytest.param(
            GeminiFusionConfig(num_classes=5, decoder_channels=16, drop_path_rate=0.5, encoder="swin_tiny"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["geminifusion", "token_exchange", "swin"],
)
def test_recomputed_activations_change_no_bit(network):
    plain, recomputing = (stepper(network=network, activation_checkpointing=on) for on in (False, True))
    small = scenarios.batch(0).parts(4)[1]
    assert recomputing.take(small) == plain.take(small)
    found, expected = gradients(recomputing), gradients(plain)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert weights_of(recomputing).keys() == GeminiFusion(network).state_dict().keys()


def test_recomputing_blocks_keep_less():
    def kept_bytes(net):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            net(*scenarios.batch(0).inputs)
        return total

    net = GeminiFusion(scenarios.config().network).train()
    plain = kept_bytes(net)
    checkpoint_activations(net)
    assert kept_bytes(net) < plain / 2


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_steps_near_the_full_one(precision):
    full, half = (stepper(precision=name) for name in ("float32", precision))
    small = scenarios.batch(0).parts(4)[1]
    assert half.take(small).losses == pytest.approx(full.take(small).losses, rel=0.02)
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients(half).values())


def test_gradient_that_float16_cannot_hold_is_skipped_at_half_the_scale():
    step = stepper(precision="float16")
    step.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    small, before = scenarios.batch(0).parts(4)[1], weights_of(step)
    report = step.take(small)
    assert report.loss < 10
    assert not torch.tensor(report.gradient_norm).isfinite()
    assert step.state.scaler.get_scale() == 2.0**119
    moved = [name for name, tensor in weights_of(step).items() if not torch.equal(before[name], tensor)]
    assert all(name.startswith("decoder.norm.") for name in moved), "only the statistics of the forward pass"


def test_float16_that_finds_no_scale_is_given_up():
    step = stepper(precision="float16")
    step.state.scaler = torch.amp.GradScaler("cpu", init_scale=SMALLEST_SCALE)
    step.net.decoder.classify.bias.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingError, match="float16 finds no scale"):
        step.take(scenarios.batch(0).parts(4)[1])


def test_gradient_that_is_not_finite_stops_before_the_weights_move():
    step = stepper(gradient_clip=1.0)
    step.net.decoder.classify.bias.register_hook(lambda gradient: gradient * torch.nan)
    before = {name: tensor.detach().clone() for name, tensor in step.net.named_parameters()}
    with pytest.raises(TrainingError, match=r"the gradient is nan at step 0; .* lower learning_rate"):
        step.take(scenarios.batch(0).parts(4)[1])
    assert all(torch.equal(before[name], tensor) for name, tensor in step.net.named_parameters())


def test_gradient_is_clipped_to_its_norm_and_reported_as_it_was():
    free, clipped = (stepper(gradient_clip=limit) for limit in (None, 0.01))
    small = scenarios.batch(0).parts(4)[1]
    assert clipped.take(small).gradient_norm == free.take(small).gradient_norm > 0.01
    norm = torch.stack([gradient.norm() for gradient in gradients(clipped).values()]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)


def test_dropped_paths_depend_on_seed_step_and_process_alone():
    network = GeminiFusionConfig(num_classes=5, decoder_channels=16, drop_path_rate=0.5)

    def loss(rank=0, step=0, seed=42):
        stepping = stepper(Processes(rank=rank), network=network, seed=42, learning_rate=1e-9)
        stepping.config = stepping.config.model_copy(update={"seed": seed})
        stepping.state.step = step
        torch.manual_seed(99 + rank)
        return stepping.take(scenarios.batch(0).parts(4)[1]).loss

    assert loss() == loss()
    assert len({loss(), loss(rank=1), loss(step=1), loss(seed=43)}) == 4


def test_class_weights_for_a_loss_without_use_for_them_are_refused():
    with pytest.raises(ConfigError, match="class_balance"):
        stepper(loss="ohem", class_balance=0.5)


def test_expected_errors_of_torch_are_explained():
    config, alone = scenarios.config(), Processes()
    too_large = explanation(torch.OutOfMemoryError("CUDA out of memory. Tried…\nmore"), config, alone)
    assert "CUDA out of memory. Tried…)" in too_large
    assert "activation_checkpointing" in too_large
    assert "accumulate" in explanation(RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), config, alone)
    lost = explanation(RuntimeError("Connection closed by peer"), config, Processes(rank=1, count=2))
    assert "process 1 of 2 cannot go on (Connection closed by peer)" in lost
    assert explanation(RuntimeError("something else"), config, alone) is None


def test_freed_memory_is_kept_where_malloc_can_be_told():
    assert keep_freed_memory() in (True, False)
    torch.testing.assert_close(torch.ones(1 << 20).sum().item(), float(1 << 20))


def loss_on(batch):
    """Of a forward function, with the same random numbers at each call."""

    def loss_by(forward):
        torch.manual_seed(1)
        return sum(segmentation_losses(forward(*batch.inputs), batch.labels))

    return loss_by


def test_compiled_network_is_trusted_if_its_gradients_are_right_and_left_as_it_was():
    step = stepper(network=GeminiFusionConfig(num_classes=5, decoder_channels=16))
    step.net.train()
    part, before, parameters = scenarios.batch(0).parts(4)[1], weights_of(step), list(trained(step))
    assert check_compiled(step.net, loss_on(part), parameters)
    assert not check_compiled(step.net, loss_on(unlabeled(part)), parameters), "there was nothing to compare"
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(step).items())
    assert not gradients(step)


def test_compiled_network_with_other_gradients_is_refused():
    """The compiler's place is taken by one that mistakes one input for the other."""
    step = stepper()
    step.net.train()
    step.net._compiled_call_impl = lambda *inputs: step.net.forward(*inputs[::-1])
    with pytest.raises(TrainingError, match=r"wrong gradients: they differ by .* set compile to false"):
        check_compiled(step.net, loss_on(scenarios.batch(0).parts(4)[1]), list(trained(step)))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # of torch, within its compiler
def test_compiled_network_trains_alike_under_its_own_names():
    network = GeminiFusionConfig(num_classes=5, decoder_channels=16, drop_path_rate=0.0, decoder_dropout=0.0)
    plain, compiled = (stepper(network=network, compile=on) for on in (False, True))
    small = scenarios.batch(0).parts(4)[1]
    assert compiled.take(small).losses == pytest.approx(plain.take(small).losses, rel=1e-4)
    torch.testing.assert_close(gradients(compiled), gradients(plain), rtol=1e-3, atol=1e-5)
    assert weights_of(compiled).keys() == GeminiFusion(network).state_dict().keys()
