"""The torch module inside Thinc: its mode, its bytes, its copies."""

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, List

import numpy as np
import pytest
import torch

import spacy_bert
from spacy_bert.layers import shim as shim_module
from spacy_bert.layers.doc_encoder import find_part, shim_of
from spacy_bert.layers.optimizer import AdamW
from spacy_bert.models.encoder import Bert
from spacy_bert.wordpiece import WordPieceTokenizer

from .conftest import examples_of, is_same, weights_of
from .reference import network_of


def build(nlp: Any, **changes: Any) -> Any:
    """A model like that of a pipeline, without weights."""
    settings = {**nlp.get_pipe_config("bert")["model"], **changes}
    return Bert(**{key: value for key, value in settings.items() if key != "@architectures"})


@pytest.fixture
def unloaded(tiny_nlp: Any) -> Any:
    return build(tiny_nlp)


def perturb(model: Any) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in network_of(model).parameters():
            parameter += 0.1 * torch.randn_like(parameter)


def vectors_of(model: Any, nlp: Any) -> Any:
    return model.predict([nlp.make_doc("Alice lives in Paris")]).tokens[0]


# Modes


@pytest.fixture
def dropout_nlp(make_checkpoint: Callable[..., Path]) -> Any:
    """A pipeline whose encoder has dropout in training."""
    nlp = spacy_bert.from_checkpoint(make_checkpoint(hidden_dropout=0.5, attention_dropout=0.5))
    nlp.add_pipe(
        "toy_head", config={"model": {"@architectures": "spacy-bert.BertListener.v1", "width": 32}}
    )
    nlp.initialize(lambda: examples_of(nlp, ["Bob"]))
    return nlp


def test_mode(dropout_nlp: Any, texts: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that prediction puts into training mode for a moment (Thinc's does): a race between
    threads. And one that is not in training mode in training, or stays in it."""
    nlp = dropout_nlp
    network = network_of(nlp.get_pipe("bert").model)
    switches: List[bool] = []
    original = network.train
    monkeypatch.setattr(network, "train", lambda mode=True: switches.append(mode) or original(mode))
    assert not network.training
    first, second = nlp(texts[0]).tensor, nlp(texts[0]).tensor
    assert switches == [] and np.array_equal(first, second)

    examples = examples_of(nlp, texts[:1])
    trained = []
    for _ in range(2):
        nlp.get_pipe("bert").update(examples)
        trained.append(nlp.get_pipe("toy_head").model.begin_update([examples[0].predicted])[0][0])
        assert not any(part.training for part in network.modules())
    assert switches == [True, False] * 2
    assert not np.allclose(trained[0], trained[1]) and not np.allclose(trained[0], first)
    np.testing.assert_array_equal(nlp(texts[0]).tensor, first)


def test_mode_after_failure(dropout_nlp: Any, texts: List[str]) -> None:
    """A forward pass that fails (memory) and leaves the module in training mode: whoever predicts
    next gets dropout."""
    nlp = dropout_nlp
    network = network_of(nlp.get_pipe("bert").model)
    hook = network.encoder.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))
    hook.remove()
    assert not any(part.training for part in network.modules())
    # And training goes on.
    nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))


def test_backward_that_fails(dropout_nlp: Any, texts: List[str]) -> None:
    """A backward pass that ends half way (memory, Ctrl-C), and whose gradients are added to those of
    the next batch."""
    nlp = dropout_nlp
    network = network_of(nlp.get_pipe("bert").model)
    weight = network.encoder.layers[0].attention.qkv.weight
    hook = weight.register_hook(lambda gradient: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nlp.update(examples_of(nlp, texts), sgd=False)
    hook.remove()
    assert all(parameter.grad is None for parameter in network.parameters())
    nlp.update(examples_of(nlp, texts), sgd=False)
    assert weight.grad.any()


def test_prediction_keeps_no_graph(tiny_nlp: Any) -> None:
    """Activations that prediction keeps for a backward pass."""
    shim = shim_of(tiny_nlp.get_pipe("bert").model)
    flags: List[bool] = []
    shim._model.encoder.register_forward_hook(lambda m, i, o: flags.append(o.requires_grad))
    tiny_nlp("Bob")
    assert flags == [False]


# Bytes


def test_bytes(tiny_nlp: Any, unloaded: Any) -> None:
    """Weights or vocabulary that are not what was saved: those of the checkpoint, say."""
    model = tiny_nlp.get_pipe("bert").model
    original = vectors_of(model, tiny_nlp)
    perturb(model)
    data = model.to_bytes()
    unloaded.from_bytes(data)
    assert unloaded.to_bytes() == data
    assert not np.allclose(vectors_of(model, tiny_nlp), original)
    np.testing.assert_array_equal(vectors_of(unloaded, tiny_nlp), vectors_of(model, tiny_nlp))
    slots = [find_part(m, "doc-windows").attrs["tokenizer"] for m in (model, unloaded)]
    assert slots[0].get() == slots[1].get()
    assert all(p.requires_grad for p in network_of(unloaded).parameters())
    assert not network_of(unloaded).training


def test_bytes_over_other_weights(tiny_nlp: Any, make_checkpoint: Callable[..., Path]) -> None:
    """A loaded model that keeps its own weights or vocabulary when it is given others."""
    reversed_words = list(WordPieceTokenizer.from_disk(make_checkpoint()).pieces)
    reversed_words[5:] = reversed_words[:4:-1]
    other = spacy_bert.from_checkpoint(make_checkpoint(seed=3, vocabulary=reversed_words))
    tiny_nlp.get_pipe("bert").from_bytes(other.get_pipe("bert").to_bytes())
    np.testing.assert_array_equal(tiny_nlp("Bob works").tensor, other("Bob works").tensor)
    assert tiny_nlp("Bob")._.bert.ids.tolist() == other("Bob")._.bert.ids.tolist()


def test_bytes_of_an_unloaded_model(unloaded: Any, tiny_nlp: Any) -> None:
    """A model without weights that cannot be saved, or that comes back with some: random ones, or
    those of the model it is loaded into."""
    data = unloaded.to_bytes()
    assert len(data) < 10_000
    other = unloaded.copy().from_bytes(data)
    assert not shim_of(other).is_loaded
    loaded = tiny_nlp.get_pipe("bert").model
    loaded.from_bytes(data)
    assert not shim_of(loaded).is_loaded
    with pytest.raises(ValueError, match="neither weights nor vocabulary"):
        loaded.predict([tiny_nlp.make_doc("Bob")])


def test_bytes_of_another_network(tiny_nlp: Any) -> None:
    """Weights that do not fit: an error of torch's that names dozens, or half of them loaded."""
    data = shim_of(tiny_nlp.get_pipe("bert").model).to_bytes()
    wide = shim_of(build(tiny_nlp, width=64))
    with pytest.raises(
        ValueError, match=r"pieces.weight': saved \(\d+, 32\), expected \(\d+, 64\)"
    ):
        wide.from_bytes(data)
    assert not wide.is_loaded
    deep = shim_of(build(tiny_nlp, depth=3))
    with pytest.raises(ValueError, match=r"layers.2.* saved None, expected"):
        deep.from_bytes(data)
    shallow = shim_of(build(tiny_nlp, depth=1))
    with pytest.raises(ValueError, match="not those of this network"):
        shallow.from_bytes(data)


def test_disk(tiny_nlp: Any, tmp_path: Path) -> None:
    """What to_disk writes and from_disk does not read."""
    shim = shim_of(tiny_nlp.get_pipe("bert").model)
    perturb(tiny_nlp.get_pipe("bert").model)
    shim.to_disk(tmp_path / "shim")
    before = weights_of(tiny_nlp)
    perturb(tiny_nlp.get_pipe("bert").model)
    shim.from_disk(tmp_path / "shim")
    assert is_same(before, weights_of(tiny_nlp))


# Copies and devices


@pytest.mark.parametrize("make_copy", [lambda model: model.copy(), copy.deepcopy])
def test_copies(tiny_nlp: Any, make_copy: Callable[[Any], Any]) -> None:
    """A copy that shares weights with the original, or lost its vocabulary or its weights."""
    model = tiny_nlp.get_pipe("bert").model
    other = make_copy(model)
    before = vectors_of(model, tiny_nlp)
    np.testing.assert_array_equal(vectors_of(other, tiny_nlp), before)
    perturb(other)
    np.testing.assert_array_equal(vectors_of(model, tiny_nlp), before)
    assert not np.allclose(vectors_of(other, tiny_nlp), before)


def test_copy_of_an_unloaded_model(unloaded: Any) -> None:
    """A model that cannot be copied, or moved to a device, before it has weights."""
    other = unloaded.copy()
    assert not shim_of(other).is_loaded and shim_of(other).id != shim_of(unloaded).id
    other.to_cpu()
    shim_of(other).to_device("cpu", -1)
    assert not shim_of(other).is_loaded


def test_construction_is_free() -> None:
    """A model of BERT-large's size that takes a gigabyte before it is loaded."""
    sizes = dict(width=1024, depth=24, heads=16, intermediate_width=4096)
    network = network_of(Bert(**sizes))
    assert all(parameter.is_meta for parameter in network.parameters())
    assert all(buffer.is_meta for buffer in network.buffers())


def test_memory_of_a_gpu_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches CuPy and torch each keeping memory that the other lacks, unless a config says otherwise."""

    class OnGpu:
        pass

    calls: List[str] = []
    pool = SimpleNamespace(free_all_blocks=lambda: calls.append("freed"))
    cupy = SimpleNamespace(get_default_memory_pool=lambda: pool)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(shim_module, "CupyOps", OnGpu)
    monkeypatch.setattr(shim_module, "set_gpu_allocator", calls.append)
    shim_module.BertShim(torch.nn.Linear(1, 1))
    assert calls == []  # this is a processor
    monkeypatch.setattr(shim_module, "get_current_ops", OnGpu)
    shim_module.BertShim(torch.nn.Linear(1, 1))
    assert calls == ["pytorch", "freed"]


def test_to_device(tiny_nlp: Any) -> None:
    """A loaded model that loses its weights when it is sent to where it is."""
    shim = shim_of(tiny_nlp.get_pipe("bert").model)
    before = weights_of(tiny_nlp)
    shim.to_device("cpu", -1)
    assert shim.is_loaded and is_same(before, weights_of(tiny_nlp))
