"""The feed-forward sublayer in parts against the plain one."""

from typing import List, Tuple

import pytest
import torch
from torch import Tensor, nn

from spacy_bert.encoder import BertConfig, BertEncoder, pack
from spacy_bert.encoder import feed_forward as module
from spacy_bert.encoder.activations import ACTIVATIONS
from spacy_bert.encoder.feed_forward import feed_forward


def make(dtype: torch.dtype = torch.float32) -> Tuple[Tensor, nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    up, down = nn.Linear(6, 10).to(dtype), nn.Linear(10, 6).to(dtype)
    return torch.randn(11, 6, dtype=dtype, requires_grad=True), up, down


def gradients(output: Tensor, rows: Tensor, up: nn.Linear, down: nn.Linear) -> List[Tensor]:
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    inputs = [rows, *up.parameters(), *down.parameters()]
    return list(torch.autograd.grad((output * weights).sum(), inputs))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("n_at_once", [1, 4, 11, 50])
def test_equals_the_plain_one(
    activation: str, n_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an activation that is another's, rows that are lost between parts, and a gradient
    that is not that of the values."""
    monkeypatch.setattr(module, "PART", 10 * n_at_once)
    rows, up, down = make()
    output = feed_forward(rows, up, down, activation=activation)
    assert "_FeedForward" in str(output.grad_fn)
    expected = down(ACTIVATIONS[activation].function(up(rows)))
    torch.testing.assert_close(output, expected)
    for found, wanted in zip(
        gradients(output, rows, up, down), gradients(expected, rows, up, down), strict=True
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_finite_differences(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a derivative that both ways above share."""
    monkeypatch.setattr(module, "PART", 40)
    rows, up, down = make(torch.float64)
    assert torch.autograd.gradcheck(
        lambda *_: feed_forward(rows, up, down, activation=activation),
        (rows, *up.parameters(), *down.parameters()),
    )


def test_autocast() -> None:
    """Catches products that are not in the precision that is asked for, and gradients that are."""
    rows, up, down = make()
    with torch.autocast("cpu", torch.bfloat16):
        output = feed_forward(rows, up, down, activation="gelu")
        plain = down(ACTIVATIONS["gelu"].function(up(rows)))
    assert output.dtype == plain.dtype == torch.bfloat16
    assert torch.equal(output, plain)
    exact = gradients(down(ACTIVATIONS["gelu"].function(up(rows))), rows, up, down)
    for found, wanted in zip(gradients(output, rows, up, down), exact, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.02)


def test_nothing_is_kept_where_nothing_learns() -> None:
    """Catches prediction and frozen encoders that pay for training."""
    rows, up, down = make()
    with torch.no_grad():
        assert feed_forward(rows, up, down, activation="gelu").grad_fn is None
    up.requires_grad_(False)
    down.requires_grad_(False)
    output = feed_forward(rows, up, down, activation="gelu")
    assert "_FeedForward" not in str(output.grad_fn)


def test_backward_under_autocast() -> None:
    """Catches products of the gradient that a caller's autocast takes out of the precision of the values."""
    rows, up, down = make()
    output = feed_forward(rows, up, down, activation="gelu")
    expected = torch.autograd.grad(output.sum(), rows, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(output.sum(), rows)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_hooks_and_adapters_run() -> None:
    """Catches a layer that somebody watches or has replaced, and that is passed by."""

    class Adapter(nn.Linear):
        def forward(self, rows: Tensor) -> Tensor:
            return super().forward(rows) + 1.0

    rows, up, down = make()
    plain = feed_forward(rows, up, down, activation="relu")
    seen: List[Tensor] = []
    up.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    torch.testing.assert_close(feed_forward(rows, up, down, activation="relu"), plain)
    assert len(seen) == 1
    adapter = Adapter(10, 6)
    adapter.load_state_dict(down.state_dict())
    output = feed_forward(rows, make()[1], adapter, activation="relu")
    torch.testing.assert_close(output, plain + 1.0)


def test_recomputing_layers() -> None:
    """Catches tensors that gradient checkpointing does not know of: they would be kept anyway, or
    be those of another pass."""
    torch.manual_seed(0)
    encoder = BertEncoder(BertConfig.from_size("tiny", vocab_size=20, max_positions=8)).train()
    results = []
    for recompute in (False, True):
        encoder.gradient_checkpointing = recompute
        encoder.zero_grad()
        torch.manual_seed(1)
        encoder(pack([torch.arange(8).numpy()])).square().sum().backward()
        results.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    for found, wanted in zip(*results, strict=True):
        assert torch.equal(found, wanted)
