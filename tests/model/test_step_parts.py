"""What the steps of all tasks share."""

import math

import pytest
import torch
from torch import nn

from geminifusion_model.training.errors import DivergedError
from geminifusion_model.training.loop.distributed import Processes
from geminifusion_model.training.loop.step_parts import any_wants_stop, check_finite, clip_gradient, prepare


def with_gradient(value):
    net = nn.Linear(4, 1, bias=False)
    net.weight.grad = torch.full((1, 4), value)
    return net


def test_groups_keep_their_own_base_rate_and_gradients_are_gone():
    net, other = with_gradient(1.0).eval(), nn.Linear(1, 1)
    groups = [{"params": net.parameters(), "base_lr": 0.5}, {"params": other.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=9.0)
    assert prepare(net, optimizer, learning_rate=2.0, factor=0.5) == 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 1.0]
    assert net.weight.grad is None
    assert net.training


def test_a_gradient_is_bounded_and_its_norm_before_is_told():
    net = with_gradient(3.0)
    assert clip_gradient(net, 1.5, step=0) == 6.0
    assert net.weight.grad.norm().item() == pytest.approx(1.5, rel=1e-5)
    assert clip_gradient(with_gradient(3.0), None, step=0) == 6.0


def test_what_is_no_number_is_named_with_its_step():
    with pytest.raises(DivergedError, match="the gradient is inf at step 7; start a new run with a lower"):
        clip_gradient(with_gradient(math.inf), 1.0, step=7)
    assert clip_gradient(with_gradient(math.inf), None, step=7, may_overflow=True) == math.inf
    with pytest.raises(DivergedError, match="the loss is nan at step 3"):
        check_finite("loss", math.nan, 3)


@pytest.mark.parametrize("asked", [True, False])
def test_one_process_stops_when_it_is_asked(asked):
    assert any_wants_stop(Processes(), lambda: asked) is asked
