"""AdamW: torch's own arithmetic for encoder and heads, with BERT's groups, clipping and schedules."""

import contextlib
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import numpy as np
import pytest
import torch
from spacy import registry
from thinc.api import Adam, Linear, Optimizer, warmup_linear

from spacy_bert.layers.doc_encoder import shim_of
from spacy_bert.layers.optimizer import IDLE_STEPS, AdamW

from .conftest import examples_of, head_weights, is_same, listener_config, weights_of
from .reference import network_of

LINEAR = {"@architectures": "toy.Linear.v1", "tok2vec": listener_config("tokens")}
SETTINGS: Dict[str, Any] = dict(weight_decay=0.1, beta1=0.8, beta2=0.95, eps=1e-4)


@pytest.fixture
def shim(make_nlp: Callable) -> Any:
    """The encoder of a pipeline."""
    return shim_of(make_nlp(one="tokens").get_pipe("bert").model)


def set_gradients(module: torch.nn.Module, *, seed: int, size: float = 1.0) -> None:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = size * torch.randn_like(parameter)


def state_of(module: torch.nn.Module) -> Dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def torch_reference(module: torch.nn.Module, rate: float, layer_decay: float = 1.0) -> Any:
    """torch's AdamW on a copy of the parameters: -> (the copies by name, the optimizer). The groups
    are written out here for the tiny encoder's two layers."""
    copies, groups = {}, []
    for name, parameter in module.named_parameters():
        copies[name] = torch.nn.Parameter(parameter.detach().clone())
        exempt = name.endswith(".bias") or "norm" in name
        below = {"encoder.embeddings": 3, "encoder.layers.0": 2, "encoder.layers.1": 1, "pooler": 0}
        distance = next(value for start, value in below.items() if name.startswith(start))
        groups.append(
            {
                "params": [copies[name]],
                "weight_decay": 0.0 if exempt else SETTINGS["weight_decay"],
                "lr": rate * layer_decay**distance,
            }
        )
    betas = (SETTINGS["beta1"], SETTINGS["beta2"])
    return copies, torch.optim.AdamW(groups, betas=betas, eps=SETTINGS["eps"])


@pytest.mark.parametrize("layer_decay", [1.0, 0.6])
@pytest.mark.parametrize("size", [1e-4, 10.0])
def test_encoder(shim: Any, layer_decay: float, size: float) -> None:
    """Decay of biases or LayerNorms, or none of matrices; a rate that does not fall from layer to
    layer; clipping array by array, or where there is nothing to clip; moments that are lost."""
    module = shim._model
    optimizer = AdamW(0.01, grad_clip=1.0, layer_decay=layer_decay, **SETTINGS)
    expected, reference = torch_reference(module, 0.01, layer_decay)
    for step in range(3):
        set_gradients(module, seed=step, size=size)
        for name, parameter in module.named_parameters():
            expected[name].grad = parameter.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(list(expected.values()), 1.0)
        assert (norm > 1.0) == (size == 10.0)
        reference.step()
        shim.finish_update(optimizer)
        for name, parameter in module.named_parameters():
            assert parameter.grad is None
            torch.testing.assert_close(parameter, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_heads(clip: float) -> None:
    """A head at the encoder's rate, without decay or with decay of its bias, or with Thinc's L2 in
    the place of AdamW's decay, or with Thinc's own idea of eps."""
    layer = Linear(3, 4)
    layer.initialize()
    layer.set_param("b", np.ones(3, dtype="f"))
    optimizer = AdamW(0.01, heads_scale=7.0, grad_clip=clip, **SETTINGS)
    copies = {n: torch.nn.Parameter(torch.tensor(layer.get_param(n))) for n in ("W", "b")}
    reference = torch.optim.AdamW(
        [
            {"params": [copies["W"]], "weight_decay": SETTINGS["weight_decay"]},
            {"params": [copies["b"]], "weight_decay": 0.0},
        ],
        lr=0.07,
        betas=(SETTINGS["beta1"], SETTINGS["beta2"]),
        eps=SETTINGS["eps"],
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        for name in ("W", "b"):
            gradient = rng.normal(size=copies[name].shape).astype("f") * 3
            layer.set_grad(name, gradient.copy())
            copies[name].grad = torch.tensor(gradient)
            if clip:
                torch.nn.utils.clip_grad_norm_([copies[name]], clip)
        reference.step()
        layer.finish_update(optimizer)
        for name in ("W", "b"):
            assert not layer.get_grad(name).any()
            expected = copies[name].detach().numpy()
            np.testing.assert_allclose(layer.get_param(name), expected, rtol=1e-5, atol=1e-6)


def test_schedule(make_nlp: Callable, texts: List[str]) -> None:
    """A rate that stays what it was when the optimizer was made (a warmup schedule would train at
    rate zero for ever), for encoder or heads; or one that the two do not share."""
    nlp = make_nlp(one=LINEAR)
    optimizer = AdamW(warmup_linear(0.1, 2, 4), heads_scale=1.0, weight_decay=0.0)
    rates = []
    for _ in range(5):
        before, head = weights_of(nlp), head_weights(nlp, "one")
        nlp.update(examples_of(nlp, texts), sgd=optimizer)
        stepped = not is_same(before, weights_of(nlp))
        assert stepped == (not np.array_equal(head[0], head_weights(nlp, "one")[0]))
        assert stepped == (optimizer.learn_rate > 0)
        rates.append(optimizer.learn_rate)
        optimizer.step_schedules()
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.05, 0.0])


def test_a_rate_of_zero_is_told(make_nlp: Callable, texts: List[str]) -> None:
    """A loop that trains for ever at the rate that a warm-up begins with, and says nothing."""
    nlp = make_nlp(one="tokens")
    optimizer = AdamW(warmup_linear(0.01, 5, 20))
    for i in range(2 * IDLE_STEPS):
        last = i == IDLE_STEPS - 1
        with pytest.warns(UserWarning, match="step_schedules") if last else not_warned():
            nlp.update(examples_of(nlp, texts), sgd=optimizer)
    optimizer = AdamW(warmup_linear(0.01, 2, 20))
    with not_warned():
        for _ in range(20):
            nlp.update(examples_of(nlp, texts), sgd=optimizer)
            optimizer.step_schedules()


@contextlib.contextmanager
def not_warned() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_changed_rate(shim: Any) -> None:
    """A rate set by hand between steps that has no effect on the encoder."""
    optimizer = AdamW(0.01)
    module = shim._model
    set_gradients(module, seed=0)
    shim.finish_update(optimizer)
    before = state_of(module)
    optimizer.learn_rate = 0.0
    set_gradients(module, seed=0)
    shim.finish_update(optimizer)
    assert is_same(before, state_of(module))


def averaging(optimizer: Any, nlp: Any, texts: List[str]) -> List[Dict[str, torch.Tensor]]:
    """Train for three steps: -> the weights after each."""
    states = []
    for _ in range(3):
        nlp.update(examples_of(nlp, texts), sgd=optimizer)
        states.append(weights_of(nlp))
    return states


def test_averages(make_nlp: Callable, texts: List[str], make_optimizer: Callable) -> None:
    """Averages that are kept under one name and looked up under another (Thinc's are), so that they
    never apply; that are not undone, or not when the body fails."""
    nlp = make_nlp(one=LINEAR)
    optimizer = make_optimizer(use_averages=True)
    states = averaging(optimizer, nlp, texts)
    shim = shim_of(nlp.get_pipe("bert").model)
    names = dict(shim._model.named_parameters())
    unused = {name for name in names if name.startswith("pooler")}
    kept = {name for key, name in optimizer.averages if key == shim.id}
    assert set(names) - unused <= kept
    tensor = nlp("Bob works").tensor
    with nlp.use_params(optimizer.averages):
        averaged = weights_of(nlp)
        for name in set(names) - unused:
            expected = torch.from_numpy(optimizer.averages[(shim.id, name)])
            torch.testing.assert_close(averaged[name], expected, rtol=0, atol=0)
        assert not np.allclose(nlp("Bob works").tensor, tensor)
    assert is_same(weights_of(nlp), states[-1])
    np.testing.assert_array_equal(nlp("Bob works").tensor, tensor)
    with pytest.raises(KeyError), shim.use_params(optimizer.averages):
        assert is_same(weights_of(nlp), averaged)
        raise KeyError
    assert is_same(weights_of(nlp), states[-1])
    try:
        with nlp.use_params(optimizer.averages):
            raise KeyError
    except KeyError:
        pass
    assert is_same(weights_of(nlp), states[-1])


def test_values_of_averages(make_nlp: Callable, texts: List[str]) -> None:
    """An average that forgets the last steps, or never forgets the first."""
    nlp = make_nlp(one="tokens")
    optimizer = AdamW(0.01, use_averages=True)
    name = "encoder.layers.0.up.weight"
    first, second, third = (state[name] for state in averaging(optimizer, nlp, texts))
    expected = first
    for step, state in ((2, second), (3, third)):
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * state
    shim = shim_of(nlp.get_pipe("bert").model)
    found = torch.from_numpy(optimizer.averages[(shim.id, name)])
    torch.testing.assert_close(found, expected)


def test_no_averages(shim: Any) -> None:
    """Memory for averages that nobody asked for."""
    optimizer = AdamW(0.01)
    set_gradients(shim._model, seed=0)
    shim.finish_update(optimizer)
    assert optimizer.averages is None


def test_copies_have_a_state_of_their_own(make_nlp: Callable, texts: List[str]) -> None:
    """A copied encoder (replace_listeners makes one) that shares moments or averages with the
    original, or steps it."""
    nlp = make_nlp(one="tokens")
    optimizer = AdamW(0.01, use_averages=True, weight_decay=0.0)
    bert = nlp.get_pipe("bert")
    copied = bert.model.copy()
    one, other = shim_of(bert.model), shim_of(copied)
    assert one.id != other.id and one._model is not other._model
    start = state_of(one._model)
    set_gradients(one._model, seed=0)
    one.finish_update(optimizer)
    assert is_same(start, state_of(other._model))
    set_gradients(other._model, seed=0)
    other.finish_update(optimizer)
    # With moments of its own, its first step is what the original's first step was.
    assert is_same(state_of(one._model), state_of(other._model))
    assert {key for key, _ in optimizer.averages} == {one.id, other.id}


def test_weights_that_were_replaced(shim: Any) -> None:
    """Loading weights makes new parameters: an optimizer that goes on stepping the old ones."""
    optimizer = AdamW(0.01)
    module = shim._model
    set_gradients(module, seed=0)
    shim.finish_update(optimizer)
    shim.from_bytes(shim.to_bytes())
    before = state_of(module)
    set_gradients(module, seed=1)
    shim.finish_update(optimizer)
    after = state_of(module)
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_unused_parameters(make_nlp: Callable, texts: List[str], make_optimizer: Callable) -> None:
    """A pooler that nobody listens to: a step that fails for want of its gradient, or decays it."""
    nlp = make_nlp(one="tokens")
    before = network_of(nlp.get_pipe("bert").model).pooler.dense.weight.detach().clone()
    nlp.update(examples_of(nlp, texts), sgd=make_optimizer())
    assert torch.equal(before, network_of(nlp.get_pipe("bert").model).pooler.dense.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_gradient_that_is_not_finite(shim: Any, make_optimizer: Callable, value: float) -> None:
    """One number among many that reaches the weights; half of them stepped when it is found."""
    module = shim._model
    optimizer = make_optimizer()
    before = state_of(module)
    set_gradients(module, seed=0)
    module.pooler.dense.bias.grad[3] = value
    with pytest.raises(FloatingPointError, match="encoder is not finite"):
        shim.finish_update(optimizer)
    assert is_same(before, state_of(module))
    assert all(p.grad is None for p in module.parameters())
    # As if the step had never been tried.
    set_gradients(module, seed=1)
    shim.finish_update(optimizer)
    found = state_of(module)
    module.load_state_dict(before)
    set_gradients(module, seed=1)
    shim.finish_update(make_optimizer())
    for name, value_ in state_of(module).items():
        torch.testing.assert_close(found[name], value_)


def test_head_gradient_that_is_not_finite() -> None:
    """A NaN in a head's array, and the array lost with it; the next batch's gradient added to it."""
    optimizer = AdamW(0.01)
    weights, gradient = np.ones((2, 2), dtype="f"), np.array([[1, np.nan], [1, 1]], dtype="f")
    with pytest.raises(FloatingPointError, match="'W' .model 5"):
        optimizer((5, "W"), weights, gradient)
    assert (weights == 1).all() and (gradient == 0).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"learn_rate": -0.1},
        {"learn_rate": float("nan")},
        {"heads_scale": -1.0},
        {"weight_decay": -0.1},
        {"grad_clip": -1.0},
        {"grad_clip": float("nan")},
        {"layer_decay": 0.0},
        {"layer_decay": 1.1},
        {"beta1": 0.0},
        {"beta1": 1.0},
        {"beta2": 0.0},
        {"eps": 0.0},
    ],
)
def test_bad_arguments(settings: Dict[str, float]) -> None:
    """A setting that cannot be meant, found in the first step or never."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        AdamW(**settings)


def test_from_config() -> None:
    """A name that the registry does not know; a schedule in the config that is not resolved; a
    misspelt key that is taken for something else."""
    config = {
        "@optimizers": "spacy-bert.AdamW.v1",
        "layer_decay": 0.9,
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": 2,
            "total_steps": 4,
            "initial_rate": 0.1,
        },
    }
    optimizer = registry.resolve({"optimizer": config})["optimizer"]
    assert isinstance(optimizer, AdamW) and isinstance(optimizer, Optimizer)
    assert optimizer.learn_rate == 0.0 and optimizer.layer_decay == 0.9
    optimizer.step_schedules()
    assert optimizer.learn_rate == pytest.approx(0.05)
    with pytest.raises(Exception, match="learning_rate"):
        registry.resolve({"optimizer": {"@optimizers": "spacy-bert.AdamW.v1", "learning_rate": 1}})


def test_stock_optimizer(make_nlp: Callable, texts: List[str]) -> None:
    """Thinc's own Adam that steps the encoder wrongly, or not, or without its averages."""
    nlp = make_nlp(one="tokens")
    shim = shim_of(nlp.get_pipe("bert").model)
    before = state_of(shim._model)
    settings: Dict[str, Any] = dict(L2=0.0, beta1=0.8, beta2=0.95, eps=1e-4, grad_clip=0.0)
    set_gradients(shim._model, seed=0)
    expected = {}
    reference = Adam(0.01, **settings)
    for name, parameter in shim._model.named_parameters():
        weights, gradient = parameter.detach().numpy().copy(), parameter.grad.numpy().copy()
        expected[name] = torch.from_numpy(reference((1, name), weights, gradient)[0])
    shim.finish_update(Adam(0.01, **settings))
    assert not is_same(before, state_of(shim._model))
    for name, value in state_of(shim._model).items():
        torch.testing.assert_close(value, expected[name])


def test_groups_of_a_real_encoder(minilm_path: Path) -> None:
    """Parameters that are in no group or in two, or decay though BERT's do not."""
    from spacy_bert.encoder import BertEncoder, read_config
    from spacy_bert.encoder.parameters import parameter_groups

    config = read_config(minilm_path / "config.json")
    with torch.device("meta"):
        encoder = BertEncoder(config)
    groups = parameter_groups(encoder, depth=config.depth, layer_decay=0.5)
    members = [id(p) for group in groups for p in group.parameters]
    assert sorted(members) == sorted(id(p) for p in encoder.parameters())
    decaying = {id(p) for group in groups if group.decays for p in group.parameters}
    for name, parameter in encoder.named_parameters():
        exempt = name.endswith("bias") or "norm" in name
        assert (id(parameter) in decaying) == (not exempt), name
    scale_of = {id(p): group.lr_scale for group in groups for p in group.parameters}
    assert scale_of[id(encoder.embeddings.norm.bias)] == 0.5**7
    assert scale_of[id(encoder.layers[0].up.weight)] == 0.5**6
    assert scale_of[id(encoder.layers[5].up.weight)] == 0.5
    encoder.embeddings.requires_grad_(False)
    groups = parameter_groups(encoder, depth=config.depth)
    frozen = {id(p) for p in encoder.embeddings.parameters()}
    assert not frozen & {id(p) for group in groups for p in group.parameters}
    assert {group.lr_scale for group in groups} == {1.0}
