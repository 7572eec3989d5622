"""The precision that predictions are computed in: set, changed, saved, and never out of date."""

import pickle
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language

import spacy_bert
from spacy_bert.encoder import engine as engine_module
from spacy_bert.encoder.engine import make_engine
from spacy_bert.layers import shim as shim_module
from spacy_bert.layers.doc_encoder import shim_of
from spacy_bert.layers.shim import BertShim

from .heads import perturb

TEXTS = ["Anna met Bob in Paris .", "A word .", "", "the cat sat on the mat " * 12]


def tensors(nlp: Language) -> np.ndarray:
    return np.concatenate([doc.tensor for doc in nlp.pipe(TEXTS) if len(doc)])


def by_module(nlp: Language, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What the torch module itself makes of the texts."""
    with monkeypatch.context() as context:
        context.setattr(BertShim, "engine", lambda self: None)
        return tensors(nlp)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return torch.cosine_similarity(torch.from_numpy(one), torch.from_numpy(other)).numpy()


@pytest.mark.fp32
@pytest.mark.parametrize("inference", ["bf16", "int8"])
def test_change_on_loaded_pipeline(tiny_nlp: Language, inference: str) -> None:
    """Catches a change that does nothing, that is not undone, or that spoils the vectors."""
    perturb(tiny_nlp)
    bert: Any = tiny_nlp.get_pipe("bert")
    exact = tensors(tiny_nlp)
    bert.inference = inference
    changed = tensors(tiny_nlp)
    assert bert.engine.startswith(inference)
    # Where the processor has no bfloat16, it is 32 bits all the same.
    assert np.array_equal(exact, changed) == bert.engine.endswith("32 bits")
    assert cosines(exact, changed).min() > 0.98
    bert.inference = "fp32"
    assert np.array_equal(exact, tensors(tiny_nlp))


def test_threads_make_one_engine(tiny_nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an engine for each thread of a server, each with its copy of the weights, and a setting
    that is changed while an engine for the one before is being made, and is forgotten."""
    perturb(tiny_nlp)
    bert: Any = tiny_nlp.get_pipe("bert")
    made = []

    def make(encoder: Any, inference: str) -> Any:
        made.append(inference)
        if len(made) == 5:
            bert.inference = "fp32"  # as another thread might
        time.sleep(0.05)
        return make_engine(encoder, inference)

    monkeypatch.setattr(shim_module, "make_engine", make)
    bert.inference = "int8"
    threads = [threading.Thread(target=tiny_nlp, args=("Alice",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["int8"]
    made += ["", "", ""]
    bert.inference = "int8"
    tiny_nlp("Alice")  # the fifth
    tiny_nlp("Alice")
    assert made[4:] == ["int8", "fp32"] and bert.engine.startswith("fp32")


@pytest.mark.fp32
def test_fp32_is_the_module(tiny_nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an engine that computes something else than the network that is trained."""
    perturb(tiny_nlp)
    found, expected = tensors(tiny_nlp), by_module(tiny_nlp, monkeypatch)
    assert np.abs(found - expected).max() <= 1e-5
    assert "fp32" in tiny_nlp.get_pipe("bert").engine  # type: ignore[attr-defined]


@pytest.mark.parametrize("inference", ["fp32", "int8"])
def test_follows_training(
    joint_nlp: Language, make_examples: Any, inference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches predictions with the weights from before an update, whoever steps them."""
    bert: Any = joint_nlp.get_pipe("bert")
    bert.inference = inference
    before = tensors(joint_nlp)
    from thinc.api import Adam

    for optimizer in (joint_nlp.resume_training(), Adam(0.001)):
        joint_nlp.update(make_examples(joint_nlp), sgd=optimizer)
        after = tensors(joint_nlp)
        assert not np.array_equal(before, after)
        assert cosines(after, by_module(joint_nlp, monkeypatch)).min() > 0.98
        before = after


def test_follows_averages(tiny_nlp: Language) -> None:
    """Catches an evaluation with averages that reads the weights they stand in for."""
    shim = shim_of(tiny_nlp.get_pipe("bert").model)  # type: ignore[attr-defined]
    before = tensors(tiny_nlp)
    zeros = {(shim.id, n): 0 * p.detach().numpy() for n, p in shim._model.named_parameters()}
    with shim.use_params(zeros):
        assert not tensors(tiny_nlp).any()
    assert np.array_equal(before, tensors(tiny_nlp))


def test_hooks_still_run(tiny_nlp: Language) -> None:
    """Catches an engine that computes past what a user has added to the network."""
    bert: Any = tiny_nlp.get_pipe("bert")
    before = tensors(tiny_nlp)
    up = shim_of(bert.model)._model.encoder.layers[0].up
    handle = up.register_forward_hook(lambda module, inputs, output: output + 1.0)
    assert not np.allclose(before, tensors(tiny_nlp))
    handle.remove()
    assert np.array_equal(before, tensors(tiny_nlp))


def test_adapters_that_are_merged(tiny_nlp: Language) -> None:
    """Catches the engine from before the adapters: whoever merges them writes past torch's count of
    changes."""
    encoder = shim_of(tiny_nlp.get_pipe("bert").model)._model.encoder  # type: ignore[attr-defined]
    plain = encoder.layers[0].up
    before = tensors(tiny_nlp)

    class Adapter(torch.nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(rows, plain.weight + 0.1, plain.bias)

    encoder.layers[0].up = Adapter(*plain.weight.shape[::-1])
    adapted = tensors(tiny_nlp)
    plain.weight.data += 0.1
    encoder.layers[0].up = plain
    merged = tensors(tiny_nlp)
    shim_of(tiny_nlp.get_pipe("bert").model).forget_engine()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(merged, tensors(tiny_nlp))
    # Adapters run in 32 bits, whatever is asked for.
    assert np.abs(adapted - before).max() > 1e-3 and np.abs(merged - before).max() > 1e-3


def test_one_engine_at_a_time(tiny_nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches memory for two: that of weights that are no more, while the next one is made."""
    tensors(tiny_nlp)
    shim = shim_of(tiny_nlp.get_pipe("bert").model)  # type: ignore[attr-defined]
    old = weakref.ref(shim.engine())
    make = shim_module.make_engine
    alive = []

    def watched(encoder: Any, inference: str) -> Any:
        alive.append(old() is not None)
        return make(encoder, inference)

    monkeypatch.setattr(shim_module, "make_engine", watched)
    perturb(tiny_nlp)
    tensors(tiny_nlp)
    assert alive == [False]


def test_autocast_of_the_caller(tiny_nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a precision that depends on who calls, and on how many texts are computed side by
    side; kernels whose trial fails there, for good."""
    bert: Any = tiny_nlp.get_pipe("bert")
    expected, kernels = tensors(tiny_nlp), bert.engine
    monkeypatch.setattr(engine_module, "_probed", {})
    shim_of(bert.model).forget_engine()
    with torch.autocast("cpu", torch.bfloat16):
        assert bert.engine == kernels
        assert np.abs(tensors(tiny_nlp) - expected).max() <= 1e-6


def test_in_config(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Catches a setting that is lost on the way to disk, in pickling, or cannot be overridden."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config={"inference": "int8"})
    expected = tensors(nlp)
    nlp.to_disk(tmp_path / "nlp")
    for loaded in (spacy.load(tmp_path / "nlp"), pickle.loads(pickle.dumps(nlp))):
        assert loaded.get_pipe("bert").inference == "int8"  # type: ignore[attr-defined]
        assert np.allclose(tensors(loaded), expected, atol=1e-5)
    overridden = spacy.load(
        tmp_path / "nlp", config={"components": {"bert": {"inference": "bf16"}}}
    )
    assert overridden.get_pipe("bert").engine.startswith("bf16")  # type: ignore[attr-defined]


@pytest.mark.fp32
def test_auto_chooses_once(tiny_nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches "auto" measuring again with every batch, or choosing anew after every update."""
    from spacy_bert.encoder import engine as engine_module

    chosen = []
    original = engine_module.choose

    def choose(encoder: Any) -> Any:
        chosen.append(encoder)
        return original(encoder)

    monkeypatch.setattr(engine_module, "choose", choose)
    bert: Any = tiny_nlp.get_pipe("bert")
    bert.inference = "auto"
    first = bert.engine
    tensors(tiny_nlp)
    perturb(tiny_nlp)
    tensors(tiny_nlp)
    assert bert.engine == first and len(chosen) == 1 and bert.inference == "auto"


def test_unknown(tiny_nlp: Language) -> None:
    """Catches a misspelt precision that is found out in production."""
    bert: Any = tiny_nlp.get_pipe("bert")
    with pytest.raises(ValueError, match="'int4', but it must be one of fp32, bf16, int8, auto"):
        bert.inference = "int4"
    with pytest.raises(ValueError, match="inference"):
        spacy.blank("en").add_pipe("bert", config={"inference": "int4"})


def test_without_weights() -> None:
    """Catches a traceback of torch's where the weights are missing."""
    bert: Any = spacy.blank("en").add_pipe("bert")
    with pytest.raises(ValueError, match="has no weights"):
        str(bert.engine)


def test_a_change_during_a_prediction(tiny_nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an engine that is being made while another is asked for, and takes its place for good."""
    bert: Any = tiny_nlp.get_pipe("bert")
    make_engine = shim_module.make_engine

    def slowly(encoder: Any, inference: str) -> Any:
        bert.inference = "bf16"
        return make_engine(encoder, inference)

    with monkeypatch.context() as context:
        context.setattr(shim_module, "make_engine", slowly)
        tiny_nlp("Anna met Bob.")
    assert bert.engine.startswith("bf16")


@pytest.mark.parametrize("how", ["spacy.load", "spacy_bert.from_checkpoint"])
def test_loading_leaves_the_compiler_out(
    how: str, tiny_nlp: Language, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Catches an import of torch's compiler, or of the algebra under it, which takes most of the time of a
    load and first prediction; and which is never whole again if Ctrl-C arrives in it."""
    tiny_nlp.to_disk(tmp_path)
    path = tmp_path if how == "spacy.load" else tiny_checkpoint
    code = f"import spacy, spacy_bert, sys; {how}({str(path)!r})('Anna met Bob.')"
    code += "; print({'torch._dynamo', 'sympy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_training_leaves_the_compiler_out(tiny_checkpoint: Path) -> None:
    """Catches what torch's optimizers and gradients import, 100 MB in the first step."""
    code = f"""
import sys
import spacy_bert
from spacy.training import Example
from spacy_bert.layers.optimizer import AdamW

nlp = spacy_bert.from_checkpoint({str(tiny_checkpoint)!r})
nlp.add_pipe("bert_ner", config={{"model": {{"tok2vec": {{"width": nlp.get_pipe("bert").width}}}}}})
entities = {{"entities": [(0, 4, "PERSON")]}}
examples = [Example.from_dict(nlp.make_doc("Anna met Bob."), entities)]
nlp.initialize(lambda: examples)
before = nlp("Anna").tensor
nlp.update(examples, sgd=AdamW(0.1))
assert (nlp("Anna").tensor != before).any()
print({{'torch._dynamo', 'sympy'}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_default_type_of_others(
    dtype: torch.dtype, tiny_nlp: Language, tiny_checkpoint: Path
) -> None:
    """Catches weights, or sums, of a type that other code in the process has made torch's default."""
    expected = tensors(tiny_nlp)
    model = tiny_nlp.config["components"]["bert"]["model"]
    torch.set_default_dtype(dtype)
    try:
        assert np.array_equal(expected, tensors(tiny_nlp))
        made = spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": model})
        found = tensors(made)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(expected, found)
    assert np.array_equal(expected, tensors(made))


def test_default_device_of_others(tiny_nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches arrays on a device that other code has made torch's default, and a trial of kernels in there
    that fails, for good."""
    expected = tensors(tiny_nlp)
    bert: Any = tiny_nlp.get_pipe("bert")
    kernels = bert.engine
    shim_of(bert.model).forget_engine()
    monkeypatch.setattr(engine_module, "_probed", {})
    with torch.device("meta"):
        found = tensors(tiny_nlp)
    assert np.array_equal(expected, found) and bert.engine == kernels
