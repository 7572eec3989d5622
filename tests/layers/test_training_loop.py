"""What `spacy train` does with an encoder: its loop, its optimizers from the config, its last save."""

import io
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import pytest
import spacy
import torch
from spacy import registry
from spacy.training.loop import train

from .conftest import (
    POISON,
    TEXTS,
    assert_close,
    head_weights,
    is_same,
    listener_config,
    weights_of,
)

LINEAR = {"@architectures": "toy.Linear.v1", "tok2vec": listener_config("tokens")}
OPTIMIZERS: Dict[str, Dict[str, Any]] = {
    "ours": {"@optimizers": "spacy-bert.AdamW.v1", "learn_rate": 0.01},
    "ours with averages": {"@optimizers": "spacy-bert.AdamW.v1", "use_averages": True},
    "thinc": {"@optimizers": "Adam.v1", "learn_rate": 0.01, "use_averages": False},
    "thinc with averages": {"@optimizers": "Adam.v1", "learn_rate": 0.01, "use_averages": True},
}
SEEN: List[Dict[str, torch.Tensor]] = []


@registry.callbacks("toy.RecordWeights.v1")
def record_weights() -> Callable[[Any, Any], None]:
    """Keeps the encoder's weights as they are before each step."""
    return lambda nlp, info: SEEN.append(weights_of(nlp))


@pytest.fixture
def run(make_nlp: Callable, tmp_path: Path) -> Callable[..., Any]:
    """A function that trains with spaCy's loop, one text a step: -> the pipeline in memory."""

    def run_training(
        texts: Sequence[str], optimizer: Dict[str, Any], *, steps: int, nlp: Any = None, **training: Any
    ) -> Any:  # fmt: skip
        SEEN.clear()
        (tmp_path / "out").mkdir(exist_ok=True)
        nlp = nlp or make_nlp(one=LINEAR, two="pooled")
        corpus = {"@readers": "toy.Corpus.v1", "texts": list(texts)}
        nlp.config = nlp.config.merge(
            {
                "corpora": {"train": corpus, "dev": {"@readers": "toy.Corpus.v1"}},
                "training": {
                    "optimizer": optimizer,
                    "before_update": {"@callbacks": "toy.RecordWeights.v1"},
                    "batcher": {
                        "@batchers": "spacy.batch_by_sequence.v1",
                        "size": 1,
                        "get_length": None,
                    },
                    "max_epochs": -1,
                    "max_steps": steps,
                    "eval_frequency": 1,
                    "dropout": 0.0,
                    "seed": 0,
                    **training,
                },
            }
        )
        train(nlp, tmp_path / "out", stdout=io.StringIO(), stderr=io.StringIO())
        return nlp

    return run_training


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_loop(run: Callable, tmp_path: Path, optimizer: str) -> None:
    """An optimizer's name that the config cannot resolve; averages that are not saved, or that stay
    in the place of the weights after the first evaluation; an encoder that is not trained."""
    with_averages = "averages" in optimizer
    nlp = run(TEXTS, OPTIMIZERS[optimizer], steps=4)
    assert len(SEEN) == 5
    assert not any(is_same(one, other) for one, other in zip(SEEN, SEEN[1:]))
    last = spacy.load(tmp_path / "out" / "model-last")
    assert is_same(weights_of(nlp), weights_of(last)) == (not with_averages)
    for a, b in zip(head_weights(nlp, "one"), head_weights(last, "one")):
        assert np.array_equal(a, b) == (not with_averages)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("accumulate", [1, 2])
def test_loss_that_is_not_finite(
    run: Callable, tmp_path: Path, optimizer: str, accumulate: int
) -> None:
    """A NaN in the model that `spacy train` saves on the way out, or a step with half a batch."""
    texts = [*TEXTS[:2], "Alice", "Bob", f"it was {POISON}", "Carol", *TEXTS]
    batcher = {"@batchers": "spacy.batch_by_sequence.v1", "size": 2, "get_length": None}
    with pytest.raises(FloatingPointError, match=f"starts with .*{POISON}"):
        run(
            texts,
            OPTIMIZERS[optimizer],
            steps=9,
            batcher=batcher,
            accumulate_gradient=accumulate,
        )
    assert len(SEEN) == 3
    last = spacy.load(tmp_path / "out" / "model-last")
    saved = weights_of(last)
    assert all(bool(torch.isfinite(value).all()) for value in saved.values())
    assert all(np.isfinite(array).all() for array in head_weights(last, "one"))
    assert np.isfinite(last("Alice lives in Paris.").tensor).all()
    assert not is_same(saved, SEEN[0])
    if "averages" not in optimizer:
        assert is_same(saved, SEEN[-1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("eval_frequency", [1, 100])
@pytest.mark.parametrize("optimizer", ["ours", "ours with averages"])
def test_step_that_goes_too_far(
    run: Callable, tmp_path: Path, optimizer: str, eval_frequency: int
) -> None:
    """A pipeline that gives NaN, saved on the way out: each gradient was finite, but a step with it
    went so far that the next vectors are not. Found in an update or in an evaluation."""
    settings = {**OPTIMIZERS[optimizer], "learn_rate": 1e12}
    with pytest.raises(
        FloatingPointError,
        match="batch of . Docs.* not finite.* were taken back.* lower learning rate",
    ):
        run(TEXTS, settings, steps=9, eval_frequency=eval_frequency)
    last = spacy.load(tmp_path / "out" / "model-last")
    assert is_same(weights_of(last), SEEN[0])
    assert np.isfinite(last(TEXTS[0]).tensor).all()
    # The head, too, which went as far.
    assert all(abs(array).max() < 10.0 for array in head_weights(last, "one"))


def test_frozen_last_listener(run: Callable, make_nlp: Callable, tmp_path: Path) -> None:
    """The last listener frozen, in the loop itself: an encoder that stands still, or that is
    evaluated and saved one step behind."""
    nlp = run(TEXTS, OPTIMIZERS["ours"], steps=2, frozen_components=["two"])
    alone = run(TEXTS, OPTIMIZERS["ours"], steps=2, nlp=make_nlp(one=LINEAR))
    assert not is_same(SEEN[0], weights_of(nlp))
    assert_close(weights_of(nlp), weights_of(alone))


def test_frozen_encoder(run: Callable, make_nlp: Callable) -> None:
    """A frozen, annotating encoder that is trained, or whose head is not."""
    head = head_weights(make_nlp(one=LINEAR, two="pooled"), "one")
    frozen = dict(frozen_components=["bert"], annotating_components=["bert"])
    nlp = run(TEXTS, OPTIMIZERS["ours"], steps=2, **frozen)
    assert is_same(SEEN[0], weights_of(nlp))
    assert not np.array_equal(head[0], head_weights(nlp, "one")[0])


def test_accumulation(run: Callable, make_nlp: Callable) -> None:
    """`accumulate_gradient` in the loop itself: only the last part of a batch counts."""
    batcher = {"@batchers": "spacy.batch_by_sequence.v1", "size": 3, "get_length": None}
    found: List[Optional[Any]] = []
    for accumulate in (1, 3):
        nlp = run(
            TEXTS, OPTIMIZERS["ours"], steps=1, batcher=batcher, accumulate_gradient=accumulate
        )
        found.append(weights_of(nlp))
    # Within what AdamW makes of rounding where a gradient is next to zero.
    for key in found[0]:
        difference = (found[0][key] - found[1][key]).abs()
        assert float(difference.mean()) < 1e-5, key
