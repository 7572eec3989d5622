"""`text_regressor`: a number a text, on shared and own encoders."""

import importlib
import math
import pickle
import subprocess
import sys
from typing import Any, List

import numpy as np
import pytest
import spacy
from scipy import stats
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam, fix_random_seed, get_current_ops

from spacy_bert import make_pair, targets
from spacy_bert.layers.doc_encoder import shim_of
from spacy_bert.layers.optimizer import AdamW
from spacy_bert.pipeline.correlation import pearson, ranks, spearman
from spacy_bert.pipeline.text_regressor import score_numbers
from spacy_bert.targets import score_of, set_score

from .heads import equal, perturb, pooled_listener, textcat, weights
from .training import config_of, encoder, run_training

TEXTS = ["Alice lives in Paris.", "Bob works in London", "", "the working day of Carol", "Bob"]


def regressor(tok2vec: Any = None) -> Any:
    tok2vec = pooled_listener() if tok2vec is None else tok2vec
    return {"model": {"@architectures": "spacy-bert.BertRegressor.v1", "tok2vec": tok2vec}}


def numbered(nlp: Any, make_examples: Any, *, a: float = 1.0, b: float = 0.0) -> List[Example]:
    """The toy corpus; a text about work has the number a + b, another b."""
    examples = make_examples(nlp)
    for example in examples:
        set_score(example.reference, a * example.reference.cats["WORK"] + b)
    return examples


@pytest.fixture
def nlp(tiny_nlp: Any, make_examples: Any) -> Any:
    """`bert` and an initialised `text_regressor`, all weights perturbed."""
    tiny_nlp.add_pipe("text_regressor", config=regressor())
    tiny_nlp.initialize(lambda: numbered(tiny_nlp, make_examples, a=3, b=1))
    perturb(tiny_nlp)
    return tiny_nlp


def scores(nlp: Any) -> List[float]:
    return [doc._.score for doc in nlp.pipe(TEXTS)]


def test_numbers(nlp: Any) -> None:
    """Catches a number that is not mean + scale * (W v + b), or that depends on the batch."""
    found = scores(nlp)
    assert found == pytest.approx([nlp(text)._.score for text in TEXTS], abs=1e-5)
    pipe = nlp.get_pipe("text_regressor")
    layer = pipe.model.get_ref("output_layer")
    vectors = np.stack([doc._.bert.pooled("mean") for doc in nlp.pipe(TEXTS)])
    outputs = vectors @ layer.get_param("W")[0] + layer.get_param("b")
    assert found == pytest.approx(pipe.cfg["mean"] + pipe.cfg["scale"] * outputs, abs=1e-5)
    assert len(set(found)) == len(TEXTS) and all(type(score) is float for score in found)


@pytest.mark.parametrize("a, b", [(1, 0), (1e-4, 7), (25_000, -1e6)])
@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max"])
def test_learns_any_range(
    tiny_nlp: Any, make_examples: Any, pooling: str, a: float, b: float
) -> None:
    """Catches a head that trains well only where numbers are about one, and an encoder that does
    not learn from it."""
    if pooling != "mean" and a != 1:
        return
    tiny_nlp.add_pipe("text_regressor", config=regressor(pooled_listener(pooling=pooling)))
    examples = numbered(tiny_nlp, make_examples, a=a, b=b)
    fix_random_seed(0)
    tiny_nlp.initialize(lambda: examples)
    gold = [score_of(example.reference) for example in examples]
    untrained = [doc._.score for doc in tiny_nlp.pipe([example.text for example in examples])]
    assert untrained == pytest.approx([np.mean(gold)] * len(gold), abs=0.5 * np.std(gold))
    before, optimizer, losses = weights(tiny_nlp), AdamW(0.003), []
    for _ in range(40):
        step: dict = {}
        tiny_nlp.update(numbered(tiny_nlp, make_examples, a=a, b=b), sgd=optimizer, losses=step)
        losses.append(step["text_regressor"])
    assert losses[0] == pytest.approx(1.0, rel=0.2)  # in units of the variance
    assert losses[-1] < 0.05
    assert not equal(weights(tiny_nlp), before)
    found = [doc._.score for doc in tiny_nlp.pipe([example.text for example in examples])]
    assert found == pytest.approx(gold, abs=0.4 * abs(a))
    result = tiny_nlp.evaluate(numbered(tiny_nlp, make_examples, a=a, b=b))
    assert result["score_pearson"] > 0.95 and result["score_spearman"] > 0.8


def test_gradient(nlp: Any, make_examples: Any) -> None:
    """Catches a gradient that is not that of the loss, against finite differences."""
    pipe = nlp.get_pipe("text_regressor")
    examples = numbered(nlp, make_examples)
    set_score(examples[1].reference, None)
    outputs = get_current_ops().asarray2f([[0.3], [-2.0], [1.0], [0.0], [0.5], [-0.1]])
    _, gradient = pipe.get_loss(examples, outputs)
    n_known = len(examples) - 1
    for i in range(len(examples)):
        losses = []
        for epsilon in (1e-2, -1e-2):
            moved = outputs.copy()
            moved[i] += epsilon
            losses.append(pipe.get_loss(examples, moved)[0])
        slope = (losses[0] - losses[1]) / 2e-2
        assert gradient[i, 0] == pytest.approx(slope * n_known / 2, abs=1e-3)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_missing_numbers_teach_nothing(nlp: Any, make_examples: Any, missing: Any) -> None:
    """Catches a text without number, or with NaN, that is learnt as some number, or that spoils the
    weights; and one that is scored."""
    nlp.remove_pipe("bert")  # what else the batch does to the encoder is not asked here
    pipe = nlp.get_pipe("text_regressor")
    pipe.model.layers[0]._func = lambda model, docs, is_train: (
        np.stack([np.full(32, len(doc.text) / 10, dtype="f") for doc in docs]),
        lambda d: [],
    )
    examples = numbered(nlp, make_examples)
    for example in examples[:3]:
        set_score(example.reference, missing)
    layer = pipe.model.get_ref("output_layer")
    learnt = []
    for batch in (examples, examples[3:]):
        fix_random_seed(0)
        layer.set_param("W", np.full((1, 32), 0.1, dtype="f"))
        layer.set_param("b", np.zeros(1, dtype="f"))
        losses = pipe.update(batch, sgd=AdamW(0.1), drop=0.0)
        learnt.append((layer.get_param("W").copy(), losses["text_regressor"]))
    np.testing.assert_allclose(learnt[0][0], learnt[1][0], rtol=1e-5)
    assert learnt[0][1] == pytest.approx(learnt[1][1]) and learnt[0][1] > 0
    before = layer.get_param("W").copy()
    assert pipe.update(examples[:3], sgd=AdamW(0.1)) == {"text_regressor": 0.0}
    assert (layer.get_param("W") == before).all()
    for i, example in enumerate(examples):
        set_score(example.predicted, float(i))
    assert score_numbers(examples) == score_numbers(examples[3:])
    assert score_numbers(examples[:3]) == {"score_pearson": None, "score_spearman": None}


def test_all_missing_is_an_error(tiny_nlp: Any, make_examples: Any) -> None:
    """Catches a training on nothing, as of a file whose DocBin left the numbers out."""
    tiny_nlp.add_pipe("text_regressor", config=regressor())
    with pytest.raises(ValueError, match="none of 6 annotated Docs.*store_user_data=True"):
        tiny_nlp.initialize(lambda: make_examples(tiny_nlp))


@pytest.mark.parametrize(
    "value, message", [("3.5", "is '3.5', but a number"), (True, "True"), (math.inf, "infinite")]
)
def test_what_is_no_number(tiny_nlp: Any, make_examples: Any, value: Any, message: str) -> None:
    """Catches a target that NumPy would take for something else, or that makes all losses infinite."""
    tiny_nlp.add_pipe("text_regressor", config=regressor())
    examples = numbered(tiny_nlp, make_examples)
    examples[2].reference._.score = value
    with pytest.raises(ValueError, match=f"'Carol likes Berlin!'.*{message}|infinite"):
        tiny_nlp.initialize(lambda: examples)


def test_without_initialisation(tiny_nlp: Any) -> None:
    """Catches zeros of a head that was never initialised."""
    tiny_nlp.add_pipe("text_regressor", config=regressor())
    with pytest.raises(ValueError, match="'text_regressor' was not initialised"):
        tiny_nlp("Alice")


def test_scores_of_scipy() -> None:
    """Catches correlations that are not those of STS-B's official scorer, ties among them."""
    random = np.random.default_rng(0)
    gold = random.integers(0, 6, size=200).astype(float)
    predicted = np.round(gold + random.normal(size=200), 1)
    assert pearson(predicted, gold) == pytest.approx(stats.pearsonr(predicted, gold)[0])
    assert spearman(predicted, gold) == pytest.approx(stats.spearmanr(predicted, gold)[0])
    np.testing.assert_allclose(ranks(gold), stats.rankdata(gold))
    assert pearson([0.1] * 3, [1, 2, 4]) == 0.0  # equal, but their mean need not be 0.1
    assert pearson([1, 2], [3, 3]) is None and spearman([], []) is None


@pytest.mark.parametrize("way", ["bytes", "disk", "pickle"])
def test_saving(nlp: Any, tmp_path: Any, way: str) -> None:
    """Catches a saved head without the range of its numbers."""
    expected = scores(nlp)
    if way == "bytes":
        other = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    elif way == "disk":
        nlp.to_disk(tmp_path / "saved")
        other = spacy.load(tmp_path / "saved")
    else:
        other = pickle.loads(pickle.dumps(nlp))
    assert scores(other) == expected and abs(expected[0] - 2.0) > 1e-3


def test_numbers_survive_docbin(nlp: Any) -> None:
    """Catches numbers, predicted or annotated, that are lost on the way to a file."""
    doc = nlp(TEXTS[0])
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (back,) = DocBin().from_bytes(data).get_docs(nlp.vocab)
    assert back._.score == doc._.score
    assert Doc(nlp.vocab).from_bytes(doc.to_bytes())._.score == doc._.score


def test_beside_other_heads(tiny_nlp: Any, make_examples: Any) -> None:
    """Catches a head that keeps `textcat` from its labels, or the other way round, and an encoder that
    does not get the sum of their gradients."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    tiny_nlp.add_pipe("text_regressor", config=regressor(pooled_listener(pooling="cls")))
    tiny_nlp.initialize(lambda: numbered(tiny_nlp, make_examples))
    assert tiny_nlp.get_pipe("textcat").labels == ("WORK", "LIFE")
    perturb(tiny_nlp)
    bert = tiny_nlp.get_pipe("bert")
    network = shim_of(bert.model)._model
    gradients = []
    for exclude in (["textcat"], ["text_regressor"], []):
        network.zero_grad()
        tiny_nlp.update(numbered(tiny_nlp, make_examples), sgd=False, exclude=exclude)
        bert._finish_batch()
        gradients.append(network.encoder.layers[0].attention.qkv.weight.grad.clone())
    assert gradients[0].abs().max() > 1e-3 and gradients[1].abs().max() > 1e-3
    np.testing.assert_allclose(gradients[2], gradients[0] + gradients[1], atol=1e-4)


def test_batch_without_numbers_does_not_keep_the_encoder_waiting(
    tiny_nlp: Any, make_examples: Any
) -> None:
    """Catches an encoder that waits for the gradient of a head that had nothing to learn from."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    tiny_nlp.add_pipe("text_regressor", config=regressor())
    tiny_nlp.initialize(lambda: numbered(tiny_nlp, make_examples))
    perturb(tiny_nlp)
    before, optimizer = weights(tiny_nlp), AdamW(0.01)
    tiny_nlp.update(make_examples(tiny_nlp), sgd=optimizer)
    for _, pipe in tiny_nlp.pipeline:
        pipe.finish_update(optimizer)
    assert not equal(weights(tiny_nlp), before)


def test_replaced_listeners(nlp: Any, make_examples: Any) -> None:
    """Catches a head that spaCy cannot give an encoder of its own."""
    expected = scores(nlp)
    nlp.replace_listeners("bert", "text_regressor", ["model.tok2vec"])
    assert nlp.get_pipe("bert").listening_components == []
    assert scores(nlp) == pytest.approx(expected, abs=1e-5)
    nlp.update(numbered(nlp, make_examples), sgd=AdamW(0.01))
    other = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert scores(other) == scores(nlp) != expected


def test_disabled_encoder(nlp: Any) -> None:
    """Catches a number made of zeros when the encoder did not run."""
    with nlp.select_pipes(enable="text_regressor"), pytest.raises(ValueError, match="E203"):
        nlp(TEXTS[0])


def test_no_labels(nlp: Any) -> None:
    """Catches a label that is taken and does nothing."""
    with pytest.raises(ValueError, match="predicts a number"):
        nlp.get_pipe("text_regressor").add_label("x")


def test_two_processes(nlp: Any) -> None:
    """Catches numbers that do not come back from a worker."""
    found = [doc._.score for doc in nlp.pipe(TEXTS, n_process=2, batch_size=2)]
    assert found == pytest.approx(scores(nlp), abs=1e-5)


@pytest.fixture
def pairs(tiny_nlp: Any, make_examples: Any, tmp_path: Any) -> Any:
    """A file of pairs with numbers, one of them missing."""
    docs = []
    examples = make_examples(tiny_nlp)
    for i, example in enumerate(examples):
        doc = make_pair(tiny_nlp, example.text, examples[i - i % 2].text)
        set_score(doc, None if i == 2 else 5.0 - 4.0 * (i % 2))
        docs.append(doc)
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "pairs.spacy")
    return tmp_path / "pairs.spacy"


@pytest.mark.fp32
def test_train_resume_and_evaluate(tiny_checkpoint: Any, pairs: Any, tmp_path: Any) -> None:
    """Catches a training by `spacy train` that reads no numbers or no pairs, one that goes on with
    another range, and a score of `spacy evaluate` that is not the one in Python."""
    head = {"factory": "text_regressor", **regressor()}
    components = {
        "segments": {"factory": "segments"},
        "bert": {"factory": "bert", "model": encoder(tiny_checkpoint)},
        "text_regressor": head,
    }
    initialize = {"components": {"bert": {"checkpoint": str(tiny_checkpoint)}}}
    config = config_of(pairs, components, initialize=initialize, annotating=["segments"], steps=30)
    config["training"]["optimizer"]["learn_rate"] = 0.003
    nlp = run_training(config, tmp_path)
    pipe = nlp.get_pipe("text_regressor")
    assert pipe.cfg["mean"] == pytest.approx(2.6) and pipe.cfg["scale"] == pytest.approx(
        1.9596, 1e-3
    )

    from spacy.training import Corpus

    expected = nlp.evaluate(list(Corpus(pairs)(nlp)))
    assert expected["score_pearson"] > 0.9
    saved = tmp_path / "trained" / "model-last"
    command = [sys.executable, "-m", "spacy", "evaluate", str(saved), str(pairs)]
    result = subprocess.run(
        [*command, "--output", str(tmp_path / "scores.json")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    import srsly

    found = srsly.read_json(tmp_path / "scores.json")
    for key in ("score_pearson", "score_spearman"):
        assert found[key] == pytest.approx(expected[key], abs=1e-6)

    source = {"source": str(saved)}
    further = config_of(
        pairs,
        {name: source for name in components},
        initialize={},
        annotating=["segments"],
        steps=2,
    )
    resumed = run_training(further, tmp_path / "second")
    assert resumed.get_pipe("text_regressor").cfg == pipe.cfg
    assert not equal(weights(resumed), weights(nlp))


@pytest.mark.filterwarnings("ignore:overflow")
def test_gradient_that_is_not_finite(nlp: Any, make_examples: Any) -> None:
    """Catches a batch whose infinity stays in the gradients of the head, and spoils each step to come."""
    layer = nlp.get_pipe("text_regressor").model.get_ref("output_layer")
    broken = numbered(nlp, make_examples)
    set_score(broken[0].reference, 1e300)
    with pytest.raises(FloatingPointError, match="batch of 6 Docs that starts with 'Alice lives"):
        nlp.update(broken, sgd=AdamW(0.01))
    for optimizer in (AdamW(0.01), Adam(0.01)):
        before = layer.get_param("W").copy()
        nlp.update(numbered(nlp, make_examples), sgd=optimizer)
        assert np.isfinite(layer.get_param("W")).all() and (layer.get_param("W") != before).any()


def test_losses_that_are_cleared(tiny_nlp: Any, make_examples: Any) -> None:
    """Catches a step that was put off, and is lost because nobody keeps the losses any more."""
    for name in ("one", "two"):
        tiny_nlp.add_pipe("text_regressor", name, config=regressor())
    examples = numbered(tiny_nlp, make_examples)
    tiny_nlp.initialize(lambda: examples)
    perturb(tiny_nlp)
    before, losses = weights(tiny_nlp), {}
    tiny_nlp.update(examples, sgd=AdamW(0.01), losses=losses, exclude=["two"])
    losses.clear()
    tiny_nlp("Alice")
    assert not equal(weights(tiny_nlp), before)


def test_spoilt_weights(nlp: Any) -> None:
    """Catches NaN that is handed out as a number."""
    nlp.get_pipe("text_regressor").model.get_ref("output_layer").get_param("b")[:] = float("nan")
    with pytest.raises(FloatingPointError, match="numbers of the component 'text_regressor'"):
        nlp("Alice")


@pytest.mark.parametrize("settings", [{"getter": lambda doc: 42.0}, {"default": 0.0}])
def test_attribute_of_somebody_else(settings: Any) -> None:
    """Catches numbers of texts that are somebody else's, without a word."""
    try:
        Doc.set_extension("score", force=True, **settings)
        with pytest.warns(UserWarning, match=r"doc\._\.score.*another name"):
            importlib.reload(targets)
    finally:
        Doc.set_extension("score", force=True, default=None)
        importlib.reload(targets)
