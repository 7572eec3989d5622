"""The `span_qa` component: it learns, answers, says that there is no answer, and is saved."""

import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from thinc.api import Adam

import spacy_bert
from spacy_bert.answers import Answer, answers_of, candidates, facts_of, set_answers
from spacy_bert.layers.annotations import values_of
from spacy_bert.layers.doc_encoder import shim_of
from spacy_bert.layers.optimizer import AdamW

from .questions import LISTENER, example_of, gold_of, make_qa, questions, toy_examples, train


@pytest.fixture(scope="module")
def learnt(tiny_checkpoint: Path) -> bytes:
    """A pipeline that has learnt the toy questions, as bytes."""
    return train(make_qa(tiny_checkpoint)).to_bytes()


@pytest.fixture
def nlp(tiny_checkpoint: Path, learnt: bytes) -> Any:
    return make_qa(tiny_checkpoint).from_bytes(learnt)


@pytest.fixture
def raw(tiny_checkpoint: Path) -> Any:
    """One that was initialised only; with it, everything that is asked is answered somehow."""
    nlp = make_qa(tiny_checkpoint, null_threshold=None)
    nlp.initialize(lambda: toy_examples(nlp))
    return nlp


def ask(nlp: Any, question: str, context: str) -> Doc:
    return nlp(spacy_bert.make_pair(nlp, question, context))


def test_learning(nlp: Any) -> None:
    """A head that does not learn, answers that are off by one, and a question without an answer
    that gets one."""
    assert nlp.evaluate(toy_examples(nlp))["qa_exact"] == 1.0
    for question, context, answer in questions():
        doc = ask(nlp, question, context)
        group = doc.spans["answers"]
        assert [a.text for a in answers_of(doc)[:1]] == ([answer] if answer else [])
        if answer:
            best = candidates(doc)[0]
            assert context[best.start : best.end] == answer and group[0].text.strip(".") == answer
            assert facts_of(doc)["null_odds"] < 0 < best.probability <= 1
        else:
            assert len(group) == 0 and facts_of(doc)["null_odds"] > 0 and candidates(doc)


def test_encoder_learns_with_it(tiny_checkpoint: Path, make_checkpoint: Callable) -> None:
    """A gradient that ends in the head."""
    nlp = make_qa(tiny_checkpoint)
    nlp.initialize(lambda: toy_examples(nlp))
    weights = shim_of(nlp.get_pipe("bert").model)._model.encoder.layers[0].up.weight
    before = weights.detach().clone()
    nlp.update(toy_examples(nlp), sgd=AdamW(0.001))
    assert not torch.equal(before, weights)


def test_n_best(raw: Any) -> None:
    """Best answers that come twice, at one place or at several, or in the wrong order, and that are not the
    best: against all spans of all windows, one by one."""
    question, context = "was it?", "alice lives in paris, bob works. " * 12
    doc = ask(raw, question, context)
    found = candidates(doc)
    assert len(found) == 20 == len(doc.spans["answers"]) == len({a.text for a in found})
    assert [a.score for a in found] == sorted((a.score for a in found), reverse=True)

    pair = spacy_bert.make_pair(raw, question, context)
    raw.get_pipe("bert").set_annotations([pair], raw.get_pipe("bert").predict([pair]))
    (rows,) = raw.get_pipe("span_qa").model.predict([pair])
    begin = pair.text.index(context.strip())
    scores: Dict[Any, float] = {}
    nulls, row = [], 0
    for window in rows.pieces.windows:
        logits = rows.data[row : row + window.length].astype("f8")
        nulls.append(logits[0].sum())
        for start in range(window.read_start, window.read_end):
            for end in range(start, min(window.end, start + 30)):
                place = window.part_row + np.array([start, end]) - window.start
                key = (rows.pieces.offsets[start][0] - begin, rows.pieces.offsets[end][1] - begin)
                scores[key] = logits[place[0], 0] + logits[place[1], 1]
        row += window.length
    assert len(rows.pieces.windows) > 2
    of_words: Dict[str, float] = {}
    for (start, end), score in scores.items():
        words = context[start:end]
        of_words[words] = max(score, of_words.get(words, score))
    best = sorted(of_words.values(), reverse=True)[:20]
    np.testing.assert_allclose([a.score for a in found], best, rtol=1e-5)
    for answer in found:
        assert scores[answer.start, answer.end] == pytest.approx(answer.score, rel=1e-5)
        assert context[answer.start : answer.end] == answer.text
    assert facts_of(doc)["null_score"] == pytest.approx(min(nulls), rel=1e-5)
    assert facts_of(doc)["null_odds"] == pytest.approx(min(nulls) - best[0], rel=1e-4)
    exponents = np.exp(np.array([*(a.score for a in found), min(nulls)]))
    np.testing.assert_allclose(
        [a.probability for a in found], exponents[:-1] / exponents.sum(), rtol=1e-4
    )


def test_batches(raw: Any) -> None:
    """Answers that depend on what else is in the batch."""
    asked = [(q, c) for q, c, _ in questions()][:6] + [("who?", "bob works. " * 30), ("", "a b")]
    alone = [facts_of(ask(raw, *pair)) for pair in asked]
    together = raw.pipe([spacy_bert.make_pair(raw, *pair) for pair in asked], batch_size=5)
    for one, other in zip(alone, map(facts_of, together), strict=True):
        assert one["null_score"] == pytest.approx(other["null_score"], abs=1e-4)
        assert [a["text"] for a in one["answers"]][:3] == [a["text"] for a in other["answers"]][:3]
        assert one["answers"][0]["score"] == pytest.approx(other["answers"][0]["score"], abs=1e-4)


@pytest.mark.parametrize("setting", ["threshold", "length", "n_best"])
def test_settings(nlp: Any, tiny_checkpoint: Path, learnt: bytes, setting: str) -> None:
    """A setting without effect."""
    question = ("who lives?", "alice lives in paris.")
    best = facts_of(ask(nlp, *question))["null_odds"]
    pipe = nlp.get_pipe("span_qa")
    if setting == "threshold":
        pipe.null_threshold = best - 0.01
        assert len(ask(nlp, *question).spans["answers"]) == 0
        pipe.null_threshold = best + 0.01
        assert len(ask(nlp, *question).spans["answers"]) > 0
        pipe.null_threshold = None
        assert answers_of(ask(nlp, "was it?", question[1]))
        with pytest.raises(ValueError, match="null_threshold .* is nan"):
            pipe.null_threshold = float("nan")
    elif setting == "length":
        longest = make_qa(tiny_checkpoint, max_answer_pieces=1).from_bytes(learnt)
        texts = [a.text for a in candidates(ask(longest, *question))]
        assert sorted(texts) == [".", "alice", "in", "lives", "paris"]
    else:
        few = make_qa(tiny_checkpoint, n_best=2).from_bytes(learnt)
        assert len(candidates(ask(few, *question))) == 2
        with pytest.raises(ValueError, match="n_best .* is 0"):
            make_qa(tiny_checkpoint, n_best=0)


# Characters


@pytest.mark.filterwarnings("ignore:Zero vectors")
@pytest.mark.parametrize(
    "context, answer",
    [
        ("in 👨‍👩‍👧 was bob", "👨‍👩‍👧"),
        ("in cafe\u0301 was bob", "cafe\u0301"),
        ("in café, was bob", "café"),
        ("likes ❤\ufe0f was bob", "❤\ufe0f"),
        ("in 東京都 was bob", "京"),
        ("lives-in-paris", "paris"),
        ("in ｐａｒｉｓ was", "ｐａｒｉｓ"),
        ("İstanbul in", "İstanbul"),
        ("  in paris  ", "paris"),
    ],
)
def test_characters(tiny_checkpoint: Path, context: str, answer: str) -> None:
    """An answer whose characters are off: after signs of several code points, within a token, in the
    middle of a letter and its accent."""
    nlp = make_qa(tiny_checkpoint, null_threshold=None)
    text = context.strip()
    example = example_of(nlp, "was it?", text, answer)
    nlp.initialize(lambda: [example])
    optimizer = AdamW(0.003)
    for _ in range(25):
        nlp.update([Example(example.x.copy(), example.y)], sgd=optimizer)
    doc = ask(nlp, "was it?", context)
    best = answers_of(doc)[0]
    assert (best.text, best.start) == (answer, text.index(answer))
    span = doc.spans["answers"][0]
    begin = doc.spans["segments"][1].start_char
    assert span.start_char <= begin + best.start and begin + best.end <= span.end_char


# Windows


def test_each_window_is_scored_by_itself(raw: Any) -> None:
    """One softmax over a whole Doc: the loss of a long context against its windows, one by one."""
    context = "bob works. " * 16 + "alice lives in paris. " + "bob works. " * 16
    example = example_of(raw, "who lives?", context, "alice")
    raw.get_pipe("bert").set_annotations([example.x], raw.get_pipe("bert").predict([example.x]))
    pipe = raw.get_pipe("span_qa")
    scores = pipe.model.predict([example.x])
    loss, (gradient,) = pipe.get_loss([example], scores)
    rows = scores[0]
    start = example.x.text.index("alice")
    (place,) = np.flatnonzero(rows.pieces.offsets[:, 0] == start)
    expected, row, with_answer = [], 0, 0
    grads = []
    for window in rows.pieces.windows:
        logits = torch.tensor(rows.data[row : row + window.length], requires_grad=True)
        inside = window.start <= place < window.end
        target = window.part_row + place - window.start if inside else 0
        with_answer += inside
        entropy = torch.nn.functional.cross_entropy(logits.T, torch.tensor([target, target]))
        expected.append(entropy)
        grads.append(logits)
        row += window.length
    torch.stack(expected).sum().backward()
    assert 1 < with_answer < len(expected)
    assert loss == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    np.testing.assert_allclose(gradient.data, torch.cat([g.grad for g in grads]), atol=1e-6)


def test_answer_in_no_window(raw: Any) -> None:
    """An answer that is longer than any window, learnt as "no answer" without a word."""
    context = "bob works. " * 20
    example = example_of(raw, "who?", context, context.strip())
    with pytest.warns(UserWarning, match="1 of 1 answers stand in no window .*'bob works"):
        raw.update([example], sgd=AdamW(0.001))


def test_answer_without_pieces(raw: Any) -> None:
    """An answer that BERT does not read."""
    example = example_of(raw, "who?", "bob \u200d works", "\u200d")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Zero vectors")
        with pytest.warns(UserWarning, match="in no window"):
            raw.update([example], sgd=AdamW(0.001))


def test_long_question(raw: Any) -> None:
    """A question that is cut without a word, or whose own windows answer it."""
    question, context = "does bob like london? " * 8, "alice lives in paris."
    with pytest.warns(UserWarning, match="longer than half a window: only its first 22 pieces"):
        doc = ask(raw, question, context)
    assert len(candidates(doc)) > 10
    assert all(context[a.start : a.end] == a.text for a in candidates(doc))
    with pytest.warns(UserWarning, match="longer than half a window"):
        raw.update([example_of(raw, question, context, "alice")], sgd=AdamW(0.001))


# Bad input


def test_no_pair(raw: Any) -> None:
    """A text without a question that is answered, or takes its batch with it."""
    with pytest.raises(ValueError, match="'bob works' is no pair .*make_pair"):
        raw("bob works")
    with pytest.raises(ValueError, match="is no pair"):
        raw.update([Example(raw.make_doc("bob"), gold_of(raw, "who?", "bob", "bob"))])
    failed: List[Doc] = []
    raw.set_error_handler(lambda name, proc, docs, error: failed.extend(docs))
    asked = [raw.make_doc("bob works"), spacy_bert.make_pair(raw, "who?", "bob works")]
    assert len(list(raw.pipe(asked))) == 1 and [doc.text for doc in failed] == ["bob works"]


def test_empty_context(raw: Any) -> None:
    """A context without any text, of which there is no answer."""
    doc = ask(raw, "who?", "")
    assert len(doc.spans["answers"]) == 0 and candidates(doc) == []
    assert facts_of(doc)["null_score"] is None and facts_of(doc)["null_odds"] is None
    doc = ask(raw, "", "bob works")
    assert answers_of(doc)
    empty = spacy_bert.make_pair(raw, "who?", "")
    set_answers(empty, [])
    losses: Dict[str, float] = {}
    raw.update([Example(raw.make_doc(empty.text), empty)], annotates=["segments"], losses=losses)
    assert losses["span_qa"] == 0.0


def test_answer_elsewhere(raw: Any) -> None:
    """Offsets that do not match the text, from which something else is learnt."""
    gold = spacy_bert.make_pair(raw, "who?", "bob works")
    gold.spans["answers"] = [gold[0:1]]
    with pytest.raises(ValueError, match="answer 'who' .* characters -6 to -3"):
        raw.update([Example(spacy_bert.make_pair(raw, "who?", "bob works"), gold)])
    gold = gold_of(raw, "who?", "bob works", "bob")
    gold.spans["answers"].attrs["answers"][0]["start"] = 1
    with pytest.raises(ValueError, match="where 'ob' is"):
        raw.update([Example(spacy_bert.make_pair(raw, "who?", "bob works"), gold)])
    gold = gold_of(raw, "who?", "bob works", "bob")
    with pytest.raises(ValueError, match="where 'ann' is.*same text"):
        raw.update([Example(spacy_bert.make_pair(raw, "who?", "ann works"), gold)])


def test_nothing_annotated(tiny_checkpoint: Path, raw: Any) -> None:
    """Docs without annotation that count as questions without an answer."""
    bare = Example(*(spacy_bert.make_pair(raw, "who?", "bob works") for _ in range(2)))
    before = raw.to_bytes()
    losses: Dict[str, float] = {}
    raw.update([bare], sgd=AdamW(0.01), losses=losses)
    assert losses["span_qa"] == 0.0 and raw.to_bytes() == before
    assert raw.evaluate([bare])["qa_f1"] is None
    with pytest.raises(ValueError, match=r'None of the examples .* doc.spans\["answers"\]'):
        make_qa(tiny_checkpoint).initialize(lambda: [bare])


def test_spans_alone(raw: Any) -> None:
    """Gold answers as spaCy's users annotate them: spans without characters beside them."""
    gold = spacy_bert.make_pair(raw, "who?", "bob works")
    gold.spans["answers"] = [gold.spans["segments"][1][:1]]
    assert answers_of(gold) == [Answer("bob", 0, 3)]
    raw.update([Example(spacy_bert.make_pair(raw, "who?", "bob works"), gold)], sgd=AdamW(0.001))


# Saved, sent, and shared


@pytest.mark.parametrize("user_data", [True, False])
@pytest.mark.filterwarnings("ignore:.W109")
def test_survives_files(nlp: Any, user_data: bool) -> None:
    """Answers that DocBin or `to_bytes` lose; piece vectors that go with every Doc into the file."""
    docs = [ask(nlp, q, c) for q, c, _ in list(questions())[:3]]
    for doc in docs:
        assert not {"rows", "windows"} & set(values_of(doc, "bert"))
    binary = DocBin(docs=docs, store_user_data=user_data).to_bytes()
    again = list(DocBin().from_bytes(binary).get_docs(nlp.vocab))
    again += [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
    for doc, other in zip(docs * 2, again):
        assert facts_of(doc) == facts_of(other)
        assert answers_of(doc) == answers_of(other)
        assert [s.text for s in doc.spans["answers"]] == [s.text for s in other.spans["answers"]]


def test_trained_pipeline_comes_back(nlp: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Weights or a threshold that are lost on the way to the disk and back."""
    pipe = nlp.get_pipe("span_qa")
    (linear,) = [node for node in pipe.model.walk() if node.name == "linear"]
    linear.set_param("b", linear.get_param("b") + np.array([0.5, -0.25], dtype="f4"))
    pipe.null_threshold = 1.25
    expected = facts_of(ask(nlp, "who lives?", "bob lives in paris."))
    nlp.to_disk(tmp_path / "qa")
    for other in (
        spacy.load(tmp_path / "qa"),
        type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes()),
    ):
        assert facts_of(ask(other, "who lives?", "bob lives in paris.")) == expected
        assert other.get_pipe("span_qa").null_threshold == 1.25


def test_threshold_of_the_config(nlp: Any, tmp_path: Path) -> None:
    """A threshold that cannot be changed when a pipeline is loaded."""
    nlp.to_disk(tmp_path / "qa")
    other = spacy.load(tmp_path / "qa", config={"components.span_qa.null_threshold": 7.5})
    assert other.get_pipe("span_qa").null_threshold == 7.5


def test_corpus_and_evaluate(nlp: Any, tmp_path: Path) -> None:
    """Gold answers that spaCy's own file format and Corpus lose: a score from a file that is
    another than the one in process, or a training from it that learns nothing."""
    examples = toy_examples(nlp)
    wrong = example_of(nlp, "who lives?", "bob lives in paris.", "paris")
    scores = nlp.evaluate([*examples, wrong])
    assert scores["qa_exact"] == pytest.approx(27 / 28)
    path = tmp_path / "dev.spacy"
    DocBin(docs=[e.reference for e in [*examples, wrong]]).to_disk(path)
    read = list(Corpus(path)(nlp))
    assert not read[0].predicted.spans
    again = nlp.evaluate(read)
    assert {k: again[k] for k in ("qa_exact", "qa_f1")} == {
        k: scores[k] for k in ("qa_exact", "qa_f1")
    }
    losses: Dict[str, float] = {}
    nlp.update(list(Corpus(path)(nlp)), annotates=["segments"], sgd=AdamW(0.001), losses=losses)
    assert losses["span_qa"] > 0.0


def test_several_gold_answers(nlp: Any) -> None:
    """The first gold answer counts alone."""
    example = example_of(nlp, "who lives?", "bob lives in paris.", "paris", "bob")
    assert nlp.evaluate([example])["qa_exact"] == 1.0


@pytest.mark.slow
def test_processes(nlp: Any, tmp_path: Path) -> None:
    """Answers that do not come back from another process."""
    asked = [(q, c) for q, c, _ in questions()][:4]
    nlp.to_disk(tmp_path / "qa")
    expected = [facts_of(ask(nlp, *pair)) for pair in asked]
    docs = nlp.pipe([spacy_bert.make_pair(nlp, *pair) for pair in asked], n_process=2, batch_size=2)
    for doc, facts in zip(docs, expected):
        assert facts_of(doc)["answers"][0]["text"] == facts["answers"][0]["text"]
        assert facts_of(doc)["null_score"] == pytest.approx(facts["null_score"], abs=1e-4)


def test_encoder_of_its_own(nlp: Any) -> None:
    """`replace_listeners` that loses the pieces."""
    expected = [answers_of(ask(nlp, q, c)) for q, c, _ in questions()]
    nlp.replace_listeners("bert", "span_qa", ["model.tok2vec"])
    nlp.remove_pipe("bert")
    for (question, context, _), answers in zip(questions(), expected):
        found = answers_of(ask(nlp, question, context))
        assert [a[:3] for a in found[:1]] == [a[:3] for a in answers[:1]]
    other = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert other.evaluate(toy_examples(other))["qa_exact"] == 1.0


def test_frozen_encoder(tiny_checkpoint: Path) -> None:
    """A head on a frozen encoder that learns nothing, or finds no vectors."""
    nlp = make_qa(tiny_checkpoint)
    nlp.initialize(lambda: toy_examples(nlp))
    losses: List[float] = []
    optimizer = AdamW(0.01)
    for _ in range(5):
        step: Dict[str, float] = {}
        nlp.update(
            toy_examples(nlp), exclude=["bert"], annotates=["bert"], sgd=optimizer, losses=step
        )
        losses.append(step["span_qa"])
    assert losses[-1] < losses[0]


def test_without_training(tiny_checkpoint: Path) -> None:
    """Answers by weights that are not there."""
    nlp = make_qa(tiny_checkpoint)
    with pytest.raises(ValueError, match="'span_qa' has no weights"):
        ask(nlp, "who?", "bob")
    with pytest.raises(ValueError, match="has no labels"):
        nlp.get_pipe("span_qa").add_label("x")


def test_listener_of_tokens(tiny_checkpoint: Path) -> None:
    """Token vectors where rows were needed: an error deep in a product."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint)
    wrong = {**LISTENER, "@architectures": "spacy-bert.BertListener.v1"}
    with pytest.raises(ValueError, match="for each piece .*BertPieceListener"):
        nlp.add_pipe("span_qa", config={"model": {"tok2vec": wrong}})


def test_gradient_that_is_not_finite(raw: Any) -> None:
    """Catches a batch whose NaN stays in the gradients of the head, and spoils each step to come."""
    layer = next(n for n in raw.get_pipe("span_qa").model.walk() if n.has_param("b"))
    before = layer.get_param("b").copy()
    layer.set_param("b", before * float("nan"))
    with pytest.raises(FloatingPointError, match="batch of"):
        raw.update(toy_examples(raw), sgd=AdamW(0.01))
    layer.set_param("b", before)
    raw.update(toy_examples(raw), sgd=Adam(0.01))
    assert np.isfinite(layer.get_param("W")).all()


def test_spoilt_weights(nlp: Any) -> None:
    """Catches NaN that ends as "no answer"."""
    layer = next(n for n in nlp.get_pipe("span_qa").model.walk() if n.has_param("b"))
    before = layer.get_param("b").copy()
    try:
        layer.set_param("b", before * float("nan"))
        with pytest.raises(FloatingPointError, match="scores of the component 'span_qa'"):
            ask(nlp, "Who?", "Alice lives here.")
    finally:
        layer.set_param("b", before)


def test_segments_behind_the_encoder(tiny_checkpoint: Path) -> None:
    """Catches pairs that were read as one text, and get no answer, silently."""
    nlp = make_qa(tiny_checkpoint, segments=False, null_threshold=None)
    with pytest.warns(UserWarning, match="'segments' stands behind the encoder 'bert'"):
        nlp.add_pipe("segments", before="span_qa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nlp.initialize(lambda: toy_examples(nlp))
    with pytest.raises(ValueError, match="read 'who\\?.* as one text.*first=True"):
        nlp("who?\n\nalice lives")
    example = Example(nlp.make_doc("who?\n\nalice"), gold_of(nlp, "who?", "alice", "alice"))
    with pytest.raises(ValueError, match="as one text"):
        nlp.update([example], annotates=["segments"], sgd=False)
    # One that was marked before is a pair wherever the component stands.
    assert answers_of(ask(nlp, "who?", "alice lives"))
