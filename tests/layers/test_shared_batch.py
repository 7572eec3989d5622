"""Training a shared encoder: one backward pass a batch, one step, and never a step in between."""

import copy
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Adam, concatenate

from spacy_bert.encoder import load_checkpoint
from spacy_bert.layers import good_weights
from spacy_bert.layers.doc_encoder import find_part, shim_of
from spacy_bert.layers.listeners import BertListenerModel
from spacy_bert.layers.optimizer import AdamW

from .conftest import (
    assert_close,
    examples_of,
    gradients_of,
    head_weights,
    is_same,
    listener_config,
    weights_of,
)
from .reference import network_of, slow_vectors

LINEAR = {"@architectures": "toy.Linear.v1", "tok2vec": listener_config("tokens")}


def accumulated(nlp: Any, texts: List[str], **settings: Any) -> Dict[str, torch.Tensor]:
    """The encoder's gradient after one update without a step."""
    nlp.update(examples_of(nlp, texts), sgd=False, **settings)
    nlp.get_pipe("bert")._finish_batch()
    return gradients_of(nlp)


# One backward pass


@pytest.mark.parametrize("kinds", [["tokens", "pooled"], ["stock", "tokens"], ["pooled", "stock"]])
def test_gradient(
    make_nlp: Callable, texts: List[str], kinds: List[str], backward_passes: List[int]
) -> None:
    """A listener whose gradient is lost, or counts twice; a backward pass for each listener; one
    that waits for the next update though all have reported."""
    nlp = make_nlp(one=kinds[0], two=kinds[1])
    nlp.update(examples_of(nlp, texts), sgd=False)
    assert len(backward_passes) == 1
    found = gradients_of(nlp)

    model = nlp.get_pipe("bert").model
    network_of(model).zero_grad(set_to_none=True)
    vectors = slow_vectors(model, [nlp.make_doc(text) for text in texts])
    outputs = [vectors["mean" if kind == "pooled" else "tokens"] for kind in kinds]
    sum(((output - 1.0) ** 2).sum() / 2 for output in outputs).backward()
    assert_close(found, gradients_of(nlp), 1e-3)


@pytest.mark.fp32
def test_loss(make_nlp: Callable, texts: List[str]) -> None:
    """An encoder without a number in spaCy's table of losses, or with that of one listener only."""
    nlp = make_nlp(one="tokens", two="tokens")
    losses: Dict[str, float] = {}
    nlp.update(examples_of(nlp, texts), sgd=False, losses=losses)
    vectors = [nlp(text).tensor for text in texts]
    expected = sum(float(((2 * (tokens - 1.0)) ** 2).sum()) for tokens in vectors)
    assert losses["bert"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("absent", ["one", "two"])
def test_frozen_listener(
    make_nlp: Callable, texts: List[str], make_optimizer: Callable, absent: str
) -> None:
    """A backward pass that belongs to the last listener: frozen, it never comes, and the encoder
    learns nothing, or learns one batch too late for what is saved."""
    heads = {"one": "tokens", "two": "pooled"}
    nlp = make_nlp(**heads)
    alone = make_nlp(**{name: kind for name, kind in heads.items() if name != absent})
    before = weights_of(nlp)
    for pipeline, exclude in ((nlp, [absent]), (alone, [])):
        optimizer = make_optimizer()
        for batch in (texts, texts[:2], texts[1:]):
            pipeline.update(examples_of(pipeline, batch), sgd=optimizer, exclude=exclude)
        pipeline.to_bytes()
    assert not is_same(before, weights_of(nlp))
    assert_close(weights_of(nlp), weights_of(alone))


def test_no_gold(make_nlp: Callable, texts: List[str], make_optimizer: Callable) -> None:
    """A batch for which one head, or none, has a gold annotation: the encoder must learn from the
    others, and where there are none it must not decay either."""
    nlp = make_nlp(one="tokens")
    optimizer = make_optimizer()
    nlp.update(examples_of(nlp, texts), sgd=optimizer)
    trained = weights_of(nlp)
    for _ in range(2):
        nlp.update(examples_of(nlp, ["skip this"]), sgd=optimizer)
    nlp.to_bytes()
    assert is_same(trained, weights_of(nlp))
    nlp.update(examples_of(nlp, texts), sgd=optimizer)
    assert not is_same(trained, weights_of(nlp))


def test_real_heads_without_gold(tiny_nlp: Any, make_examples: Callable) -> None:
    """spaCy's own ner returns early from a batch without entities: the encoder then learns from
    textcat alone, in this batch and not in the next."""
    nlp = tiny_nlp
    model = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 16,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": listener_config("tokens"),
    }
    textcat = {
        "@architectures": "spacy-bert.BertTextCat.v1",
        "exclusive_classes": True,
        "tok2vec": listener_config("pooled", pooling="cls"),
    }
    nlp.add_pipe("textcat", config={"model": textcat})
    nlp.add_pipe("ner", config={"model": model})
    nlp.initialize(lambda: make_examples(nlp))
    optimizer = AdamW(0.001)
    start = weights_of(nlp)
    losses: Dict[str, float] = {}
    nlp.update(make_examples(nlp, ner=False), sgd=optimizer, losses=losses)
    assert losses["ner"] == 0.0 and losses["textcat"] > 0.0
    nlp("Bob")
    after_textcat = weights_of(nlp)
    assert not is_same(start, after_textcat)
    nlp.update(make_examples(nlp), sgd=optimizer, losses=losses)
    assert losses["ner"] > 0.0
    assert not is_same(after_textcat, weights_of(nlp))


def test_two_listeners_of_one_component(make_nlp: Callable, texts: List[str]) -> None:
    """A component with several listeners of which only the first is counted; and one listener that
    stands in the model twice, where the second gradient comes after the backward pass."""
    single = accumulated(make_nlp(one="tokens"), texts)
    nlp = make_nlp(one="tokens")
    for model in (
        concatenate(copy_of(nlp), copy_of(nlp)),  # two listeners
        (lambda listener: concatenate(listener, listener))(copy_of(nlp)),  # the same one twice
    ):
        nlp.get_pipe("one").model = model
        nlp._link_components()
        network_of(nlp.get_pipe("bert").model).zero_grad(set_to_none=True)
        assert_close(accumulated(nlp, texts), {k: 2 * g for k, g in single.items()}, 1e-3)


def copy_of(nlp: Any) -> Any:
    listener = next(n for n in nlp.get_pipe("one").model.walk() if n.name == "bert-listener")
    return listener.copy()


def test_copy_of_listener(make_nlp: Callable, texts: List[str]) -> None:
    """Thinc's Model.copy and deepcopy (rehearsal does it), which make a listener that is none, or
    one that reports for the original."""
    nlp = make_nlp(one=LINEAR)
    docs = list(nlp.pipe(texts))
    model = nlp.get_pipe("one").model
    for other in (model.copy(), copy.deepcopy(model)):
        listener = other.get_ref("tok2vec") if other.has_ref("tok2vec") else other.layers[0]
        assert isinstance(listener, BertListenerModel) and listener.encoder == "bert"
        for a, b in zip(model.predict(docs), other.predict(docs)):
            np.testing.assert_array_equal(a, b)
    assert model.copy().layers[0].id != model.layers[0].id


# Steps


@pytest.mark.parametrize("exclude", [[], ["two"]])
def test_step_in_update(
    make_nlp: Callable, texts: List[str], make_optimizer: Callable, exclude: List[str]
) -> None:
    """nlp.update(sgd=optimizer), which asks the encoder to step before any listener has reported:
    a step that is skipped, taken with the last batch's gradient, or between forward and backward."""
    heads = dict(one=LINEAR, two="pooled", three="tokens")
    early, late = make_nlp(**heads), make_nlp(**heads)
    one, other = make_optimizer(), make_optimizer()
    for batch in (texts, texts[1:], texts[:1]):
        early.update(examples_of(early, batch), sgd=one, exclude=exclude)
        late.update(examples_of(late, batch), sgd=False, exclude=exclude)
        for name, pipe in late.pipeline:
            if name not in exclude:
                pipe.finish_update(other)
        early.get_pipe("bert")._settle()
        assert_close(weights_of(early), weights_of(late))
        for a, b in zip(head_weights(early, "one"), head_weights(late, "one")):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not is_same(weights_of(early), weights_of(make_nlp()))


@pytest.mark.parametrize("exclude", [[], ["two"]])
def test_accumulation(
    make_nlp: Callable, texts: List[str], make_optimizer: Callable, exclude: List[str]
) -> None:
    """Sub-batches of one step (`accumulate_gradient`) of which only the last counts, or whose
    gradient lives on after the step."""
    nlp = make_nlp(one=LINEAR, two="pooled")
    whole = accumulated(nlp, texts, exclude=exclude)
    network_of(nlp.get_pipe("bert").model).zero_grad(set_to_none=True)
    nlp.update(examples_of(nlp, texts[:1]), sgd=False, exclude=exclude)
    assert_close(accumulated(nlp, texts[1:], exclude=exclude), whole, 1e-3)
    before = weights_of(nlp)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(make_optimizer())
    assert not is_same(before, weights_of(nlp)) and gradients_of(nlp) == {}


def test_accumulation_that_ends_without_gold(make_nlp: Callable, texts: List[str]) -> None:
    """The gradient of a sub-batch that is lost, or left out of what is evaluated and saved, because
    the next sub-batch had no gold annotation."""
    nlp, plain = make_nlp(one="tokens"), make_nlp(one="tokens")
    plain.update(examples_of(plain, texts), sgd=AdamW(0.01))
    for read_weights in (
        lambda nlp: nlp("Bob"),
        lambda nlp: nlp.to_bytes(),
        lambda nlp: nlp.update(examples_of(nlp, ["skip"]), sgd=False),
    ):
        nlp = make_nlp(one="tokens")
        nlp.update(examples_of(nlp, texts), sgd=False)
        nlp.update(examples_of(nlp, ["skip this"]), sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(AdamW(0.01))
        read_weights(nlp)
        assert_close(weights_of(nlp), weights_of(plain))


def test_annotating_encoder(make_nlp: Callable, texts: List[str]) -> None:
    """An encoder that annotates the batch it is being trained with: prediction between forward and
    backward that takes the step, or a listener that then reads annotations without a gradient."""
    nlp, plain = make_nlp(one=LINEAR), make_nlp(one=LINEAR)
    one, other = AdamW(0.01), AdamW(0.01)
    for _ in range(3):
        nlp.update(examples_of(nlp, texts), sgd=one, annotates=["bert"])
        plain.update(examples_of(plain, texts), sgd=other)
    assert not is_same(weights_of(nlp), weights_of(make_nlp()))
    assert_close(weights_of(nlp), weights_of(plain))


def test_averages_of_a_put_off_step(make_nlp: Callable, texts: List[str]) -> None:
    """A step that is taken while the averages stand in for the weights, and undone with them."""
    nlp, plain = make_nlp(one="tokens", two="tokens"), make_nlp(one="tokens")
    for pipeline, exclude in ((nlp, ["two"]), (plain, [])):
        optimizer = AdamW(0.01, use_averages=True)
        for _ in range(2):
            pipeline.update(examples_of(pipeline, texts), sgd=optimizer, exclude=exclude)
        with pipeline.use_params(optimizer.averages):
            pipeline("Bob")
    assert_close(weights_of(nlp), weights_of(plain))


def test_averages_between_forward_and_backward(make_nlp: Callable, texts: List[str]) -> None:
    """Weights that are replaced for a while between a forward pass and its backward pass, which
    then fails or is that of other weights."""
    nlp = make_nlp(one="tokens", two="tokens")
    expected = accumulated(make_nlp(one="tokens"), texts)
    bert = nlp.get_pipe("bert")
    zeros = {(shim.id, n): p.detach().numpy() * 0 for shim, n, p in parameters_of(nlp)}
    nlp.update(examples_of(nlp, texts), sgd=False, exclude=["two"])
    with nlp.use_params(zeros):
        assert not np.any(nlp("Bob").tensor)
    bert._finish_batch()
    assert_close(gradients_of(nlp), expected)


def parameters_of(nlp: Any) -> List[Any]:
    shim = shim_of(nlp.get_pipe("bert").model)
    return [(shim, name, p) for name, p in shim._model.named_parameters()]


# How much of a gradient


@pytest.mark.parametrize("kind", ["tokens", "pooled"])
def test_grad_factor(make_nlp: Callable, texts: List[str], kind: str) -> None:
    """A factor that is not applied, or to the head as well."""
    whole = accumulated(make_nlp(one=listener_config(kind)), texts)
    half = accumulated(make_nlp(one=listener_config(kind, grad_factor=0.5)), texts)
    assert_close(half, {key: 0.5 * value for key, value in whole.items()}, 1e-4)


@pytest.mark.parametrize("kind", ["tokens", "pooled"])
def test_grad_factor_zero(
    make_nlp: Callable, texts: List[str], kind: str, backward_passes: List[int]
) -> None:
    """A factor of 0 that still costs a backward pass, lets the encoder decay, or stops the head or
    the other listeners from learning."""
    silent = listener_config(kind, grad_factor=0.0)
    nlp = make_nlp(one={**LINEAR, "tok2vec": silent} if kind == "tokens" else silent)
    before, head = weights_of(nlp), head_weights(nlp, "one")
    for _ in range(2):
        nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))
    assert is_same(before, weights_of(nlp)) and not backward_passes
    if kind == "tokens":
        assert not np.array_equal(head[0], head_weights(nlp, "one")[0])
    both = accumulated(make_nlp(one=silent, two="tokens"), texts)
    assert_close(both, accumulated(make_nlp(two="tokens"), texts))


@pytest.mark.fp32
@pytest.mark.parametrize("kind", ["tokens", "pooled"])
def test_other_order(make_nlp: Callable, texts: List[str], kind: str) -> None:
    """A listener that is asked for the batch's Docs in another order, or for some of them, and gets
    other Docs' vectors, or sends its gradient to other Docs."""
    nlp = make_nlp(one=kind)
    bert, listener = nlp.get_pipe("bert"), nlp.get_pipe("one").model
    examples = examples_of(nlp, texts)
    docs = [example.predicted for example in examples]
    expected = {doc.text: nlp(doc.text) for doc in docs}
    for chosen in ([docs[2], docs[0], docs[1]], [docs[2], docs[1]], [docs[0]], [docs[1], docs[1]]):
        bert.update(examples)
        outputs, backprop = listener.begin_update(chosen)
        for doc, output in zip(chosen, outputs):
            done = expected[doc.text]
            wanted = done._.bert.pooled("mean") if kind == "pooled" else done.tensor
            np.testing.assert_allclose(output, wanted, rtol=1e-4, atol=1e-5)
        ones = [output * 0 + 1 for output in outputs]
        backprop(np.stack(ones) if kind == "pooled" else ones)
        found = gradients_of(nlp)
        network_of(bert.model).zero_grad(set_to_none=True)
        vectors = slow_vectors(bert.model, chosen)["mean" if kind == "pooled" else "tokens"]
        vectors.sum().backward()
        assert_close(found, gradients_of(nlp), 1e-3)
        network_of(bert.model).zero_grad(set_to_none=True)


# Which encoder


@pytest.mark.parametrize("kind", ["tokens", "stock", "pooled"])
def test_nearest_encoder(tiny_nlp: Any, tiny_checkpoint: Any, kind: str) -> None:
    """Two encoders: a listener to "*" that is counted by both, so that the first waits for it or
    is trained with its gradient; or that reads another in training than in prediction."""
    nlp = tiny_nlp
    config = {"model": nlp.get_pipe_config("bert")["model"]}
    second = nlp.add_pipe("bert", name="second", config=config)
    second.load_checkpoint(load_checkpoint(tiny_checkpoint))
    with torch.no_grad():
        network_of(second.model).encoder.layers[0].up.weight *= 1.3
    nlp.add_pipe("toy_head", name="any", config={"model": listener_config(kind)})
    nlp.add_pipe(
        "toy_head", name="first", config={"model": listener_config("tokens", upstream="bert")}
    )
    nlp.initialize(lambda: examples_of(nlp, ["Bob"]))
    first = nlp.get_pipe("bert")
    assert first.listening_components == ["first"]
    assert second.listening_components == ["any"]
    before, other = weights_of(nlp), weights_of(nlp, "second")
    nlp.update(examples_of(nlp, ["Bob works"]), sgd=AdamW(0.01), exclude=["first"])
    assert is_same(before, weights_of(nlp))
    assert not is_same(other, weights_of(nlp, "second"))
    nlp.update(examples_of(nlp, ["Bob works"]), sgd=AdamW(0.01), exclude=["any"])
    assert not is_same(before, weights_of(nlp))
    doc = nlp("Bob works")
    heard = nlp.get_pipe("any").predict([doc])[0]
    wanted = doc._.bert["second"]
    np.testing.assert_array_equal(
        heard, wanted.pooled("mean") if kind == "pooled" else wanted.tokens
    )


def test_stock_tok2vec_beside(tiny_nlp: Any) -> None:
    """spaCy's own tok2vec, which claims every listener to "*" of its own kind: ours must not be of
    that kind."""
    nlp = tiny_nlp
    nlp.add_pipe("tok2vec", config={"model": {"width": 32}})
    nlp.add_pipe("toy_head", config={"model": listener_config("tokens")})
    nlp._link_components()
    assert nlp.get_pipe("tok2vec").listening_components == []
    assert nlp.get_pipe("bert").listening_components == ["toy_head"]


def test_encoder_nobody_listens_to(make_nlp: Callable, texts: List[str]) -> None:
    """Forward passes, and a network that decays, for an encoder that nobody listens to."""
    nlp = make_nlp()
    before = weights_of(nlp)
    calls: List[int] = []
    network_of(nlp.get_pipe("bert").model).register_forward_hook(lambda *_: calls.append(1))
    losses: Dict[str, float] = {}
    nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01), losses=losses)
    assert not calls and losses == {"bert": 0.0}
    assert is_same(before, weights_of(nlp))


# What comes too late, or is broken


def test_late_gradient(make_nlp: Callable, texts: List[str]) -> None:
    """A gradient after the backward pass that is dropped without a word."""
    nlp = make_nlp(one="tokens")
    examples = examples_of(nlp, texts)
    nlp.get_pipe("bert").update(examples)
    outputs, backprop = nlp.get_pipe("one").model.begin_update([e.predicted for e in examples])
    nlp.get_pipe("bert").update(examples)
    with pytest.raises(ValueError, match="after the encoder's backward pass of the batch of 3"):
        backprop(outputs)


@pytest.mark.parametrize("change", ["merge", "split", "both"])
def test_tokens_that_changed(make_nlp: Callable, texts: List[str], change: str) -> None:
    """Vectors read for other tokens than they were made for, after an annotating component has
    merged or split some: each number would be used, for the wrong word."""

    def retokenize(doc: Doc) -> Doc:
        with doc.retokenize() as retokenizer:
            if change != "split":
                retokenizer.merge(doc[-2:])
            if change != "merge":
                retokenizer.split(doc[0], ["A", doc[0].text[1:]], heads=[doc[0], doc[0]])
        return doc

    Language.component("toy_retokenizer", func=retokenize)
    nlp = make_nlp(one="tokens", two="pooled")
    nlp.add_pipe("toy_retokenizer", after="bert")
    message = "'Alice lives in Paris.' are not the 5 that were encoded.* Move it before the encoder"
    # Whether its vectors are annotated, too, and so follow the tokens, or not.
    for annotates in (["toy_retokenizer"], ["bert", "toy_retokenizer"]):
        with pytest.raises(ValueError, match=message):
            nlp.update(examples_of(nlp, texts[:1]), sgd=AdamW(0.01), annotates=annotates)
    # One vector for the text is no question of tokens.
    nlp.update(examples_of(nlp, texts[:1]), sgd=AdamW(0.01), annotates=annotates, exclude=["one"])


def test_nothing_is_kept(make_nlp: Callable, texts: List[str]) -> None:
    """A listener that holds on to a batch after the step: memory, and stale vectors, if the encoder
    is frozen next."""
    nlp = make_nlp(one="tokens", two="stock")
    nlp.update(examples_of(nlp, texts), sgd=AdamW(0.01))
    ours, stock = (nlp.get_pipe(name).model for name in ("one", "two"))
    assert ours.batch is None and not ours.sample
    assert stock._outputs is None and stock._backprop is None
    assert nlp.get_pipe("bert")._batch is None
    for name in ("one", "two"):
        with pytest.raises(ValueError, match="E203"):
            nlp.update(
                examples_of(nlp, texts), exclude={"bert", "one", "two"} - {name}, sgd=AdamW(0.01)
            )


@pytest.mark.parametrize("kind", ["tokens", "pooled", "stock"])
def test_loss_that_is_not_finite(
    make_nlp: Callable, texts: List[str], make_optimizer: Callable, kind: str
) -> None:
    """A NaN that reaches the weights; an error that does not say which batch; an encoder that is
    unusable afterwards, or is stepped with what the others reported of the broken batch."""
    nlp, plain = make_nlp(one="tokens", two=kind), make_nlp(one="tokens", two=kind)
    one, other = make_optimizer(), make_optimizer()
    nlp.update(examples_of(nlp, texts), sgd=one)
    plain.update(examples_of(plain, texts), sgd=other)
    before = weights_of(nlp)
    broken = examples_of(nlp, ["Bob", "it was poison"])
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="batch of 2 Docs that starts with 'Bob'"):
            nlp.update(broken, sgd=one)
    assert is_same(before, weights_of(nlp))
    nlp.to_bytes()
    assert is_same(before, weights_of(nlp))
    nlp.update(examples_of(nlp, texts), sgd=one)
    plain.update(examples_of(plain, texts), sgd=other)
    assert_close(weights_of(nlp), weights_of(plain))


def test_second_listener_breaks(make_nlp: Callable, texts: List[str]) -> None:
    """A first listener's good gradient of a batch whose second listener's is broken, which is
    stepped with when the pipeline is saved."""
    nlp = make_nlp(one="tokens", two="tokens")
    nlp.get_pipe("one").update = lambda examples, **_: nlp.get_pipe("one").model.begin_update(
        [example.predicted for example in examples]
    )[1]([np.ones((len(example.predicted), 32), dtype="f") for example in examples])
    before = weights_of(nlp)
    optimizer = AdamW(0.01)
    with pytest.raises(FloatingPointError, match="poison"):
        nlp.update(examples_of(nlp, ["poison"]), sgd=optimizer)
    nlp.to_bytes()
    nlp.update(examples_of(nlp, ["skip"]), sgd=optimizer, exclude=["one"])
    nlp.to_bytes()
    assert is_same(before, weights_of(nlp))


@pytest.mark.filterwarnings("ignore:overflow")
def test_gradient_that_overflows(
    make_nlp: Callable, texts: List[str], make_optimizer: Callable
) -> None:
    """A gradient that only becomes infinite on its way through the encoder."""
    nlp = make_nlp(one="tokens")
    bert, listener = nlp.get_pipe("bert"), nlp.get_pipe("one").model
    before = weights_of(nlp)
    examples = examples_of(nlp, texts)
    bert.update(examples)
    outputs, backprop = listener.begin_update([example.predicted for example in examples])
    backprop([output * 0 + 3e38 for output in outputs])
    with pytest.raises(FloatingPointError, match="encoder"):
        bert.finish_update(make_optimizer())
    assert is_same(before, weights_of(nlp)) and gradients_of(nlp) == {}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("every, kept", [(50, 0), (2, 2)])
def test_gradient_that_overflows_later(
    every: int, kept: int, make_nlp: Callable, texts: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that make finite vectors still, but no finite gradient any more, kept for good; and
    their averages and moments. The embeddings of pieces that only later batches read are copied later."""
    monkeypatch.setattr(good_weights, "EVERY", every)
    nlp = make_nlp(one=LINEAR)
    optimizer = AdamW(0.01, use_averages=True)
    states = [(weights_of(nlp), head_weights(nlp, "one"))]
    for end in (1, 2, 1, len(texts)):
        nlp.update(examples_of(nlp, texts[:end]), sgd=optimizer)
        states.append((weights_of(nlp), head_weights(nlp, "one")))
        assert not is_same(states[-2][0], states[-1][0])
    network = network_of(nlp.get_pipe("bert").model)
    with torch.no_grad():
        network.encoder.layers[-1].output_norm.weight *= 1e25
    assert np.isfinite(nlp(texts[0]).tensor).all()
    with pytest.raises(FloatingPointError, match="encoder.* taken back.* batch of 3 Docs"):
        nlp.update(examples_of(nlp, texts), sgd=optimizer)
    assert is_same(states[kept][0], weights_of(nlp)) and gradients_of(nlp) == {}
    assert all(map(np.array_equal, states[kept][1], head_weights(nlp, "one")))
    assert not optimizer.averages and not optimizer.mom1 and not optimizer._modules


def test_corrupted_head(tiny_nlp: Any, make_examples: Callable) -> None:
    """A stock head that diverged: its NaN must not reach the encoder."""
    nlp = tiny_nlp
    model = {
        "@architectures": "spacy-bert.BertTextCat.v1",
        "exclusive_classes": False,
        "tok2vec": listener_config("pooled"),
    }
    nlp.add_pipe("textcat_multilabel", config={"model": model})
    nlp.initialize(lambda: make_examples(nlp))
    head = nlp.get_pipe("textcat_multilabel").model.get_ref("output_layer")
    head.set_param("W", head.get_param("W") * np.nan)
    before = weights_of(nlp)
    with pytest.raises(FloatingPointError, match="Alice lives in Paris"):
        nlp.update(make_examples(nlp), sgd=Adam(0.01))
    assert is_same(before, weights_of(nlp))


def test_find_part(make_nlp: Callable) -> None:
    """A model without an encoder that fails later, and elsewhere."""
    nlp = make_nlp(one="tokens")
    with pytest.raises(ValueError, match="holds no BERT encoder"):
        find_part(nlp.get_pipe("one").model, "doc-encoder")
