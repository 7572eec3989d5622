"""`bert_ner`: learning, what it writes and what it leaves alone, labels, saving, composing."""

import pickle

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from spacy_bert.layers.optimizer import AdamW
from spacy_bert.pipeline.entity_tags import gold_columns, tag_columns

from .heads import (
    WIDTH,
    assert_same,
    equal,
    listener,
    perturb,
    pooled_listener,
    textcat,
    weights,
)
from .training import config_of, encoder, run_training

TEXTS = ["Alice lives in Paris.", "", "  \n ", "Bob works in London", "the day of Carol"]
PIECES = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": WIDTH}
STOCK = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}


def bert_ner(tok2vec, **settings):
    model = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": tok2vec}
    return {"model": model, **settings}


def ents(doc):
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def logits_of(nlp, text):
    with nlp.select_pipes(enable="bert"):
        doc = nlp(text)
    return nlp.get_pipe("bert_ner").model.predict([doc])[0]


def train(nlp, examples, steps=25, rate=0.003):
    optimizer = AdamW(rate)
    losses = [nlp.update(examples, sgd=optimizer, losses={})["bert_ner"] for _ in range(steps)]
    return losses


@pytest.fixture
def ner_nlp(tiny_nlp, make_examples):
    """A pipeline of `bert` and `bert_ner`, with weights that annotate something."""
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    perturb(tiny_nlp)
    layer = tiny_nlp.get_pipe("bert_ner").model.get_ref("output_layer")
    layer.set_param("W", layer.get_param("W") * 10)
    assert any(doc.ents for doc in tiny_nlp.pipe(TEXTS))
    return tiny_nlp


@pytest.fixture
def force(tiny_nlp):
    """A function: Doc -> the entities that a `bert_ner` adds that sees one everywhere. Labels A and
    B; the scores of tags are chosen by the test: a column for O, then B, I, L, U of A and of B."""

    def annotate(doc, scores):
        if not tiny_nlp.has_pipe("bert_ner"):
            ner = tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
            for label in ("A", "B"):
                ner.add_label(label)
            ner.model.layers[-1].initialize(X=[np.zeros((1, WIDTH), dtype="f")])
        ner = tiny_nlp.get_pipe("bert_ner")
        layer = ner.model.get_ref("output_layer")
        layer.set_param("W", np.zeros((9, WIDTH), dtype="f"))
        layer.set_param("b", np.array(scores, dtype="f"))
        return tiny_nlp(doc)

    return annotate


ALL_A = [0, 9, 9, 9, 0, 0, 0, 0, 0]  # one entity of A, as long as possible
UNITS = [0, 0, 0, 0, 9, 0, 0, 0, 0]  # every token an A of its own


@pytest.mark.parametrize("scheme", ["biluo", "bio"])
@pytest.mark.parametrize("tok2vec", [listener(), PIECES, STOCK], ids=["mean", "first", "stock"])
def test_learning(tiny_nlp, make_examples, tok2vec, scheme):
    """Catches a recogniser that does not learn, or of which only the head does."""
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(tok2vec, scheme=scheme))
    examples = make_examples(tiny_nlp)
    tiny_nlp.initialize(lambda: examples)
    before = weights(tiny_nlp)
    losses = train(tiny_nlp, examples)
    assert losses[-1] < 0.1 * losses[0] and not equal(weights(tiny_nlp), before)
    assert tiny_nlp.evaluate(make_examples(tiny_nlp))["ents_f"] == 1.0


def test_scores(ner_nlp):
    """Catches entities without scores, scores that are no probabilities, and scores where none
    were asked for."""
    for doc in ner_nlp.pipe(TEXTS):
        group = doc.spans["bert_ner"]
        assert [(s.start, s.end, s.label_) for s in group] == [
            (e.start, e.end, e.label_) for e in doc.ents
        ]
        scores = group.attrs["scores"]
        assert scores.shape == (len(doc.ents),)
        assert (scores > 0).all() and (scores <= 1).all()
    ner_nlp.get_pipe("bert_ner").spans_key = None
    doc = ner_nlp(TEXTS[0])
    assert "bert_ner" not in doc.spans and doc.has_annotation("ENT_IOB")


def test_score_of_a_certain_and_an_even_choice(force):
    """Catches scores that do not say how probable an entity is."""
    doc = force("Alice", [0, 0, 0, 0, np.log(3.0), -99, -99, -99, -99])
    assert doc.spans["bert_ner"].attrs["scores"] == pytest.approx([0.75], abs=1e-5)
    doc = force("Alice", [0, 0, 0, 0, 99, 0, 0, 0, 0])
    assert doc.spans["bert_ner"].attrs["scores"] == pytest.approx([1.0])


def test_batch_does_not_matter(ner_nlp):
    """Catches entities that depend on the other Docs of a batch."""
    texts = TEXTS * 3 + ["Carol likes Berlin! " * 20]
    together = list(ner_nlp.pipe(texts, batch_size=100))
    assert_same(together, [ner_nlp(text) for text in texts])
    for doc, other in zip(together, map(ner_nlp, texts)):
        np.testing.assert_allclose(
            doc.spans["bert_ner"].attrs["scores"],
            other.spans["bert_ner"].attrs["scores"],
            atol=1e-4,
        )


def test_entities_that_are_there_stay(force, tiny_nlp):
    """Catches an entity that a rule set and that is changed, prolonged, or overlapped; and its ids
    that get lost."""
    doc = tiny_nlp.make_doc("a b c d e f")
    doc.ents = [Span(doc, 2, 4, label="RULE", kb_id="Q1", span_id="id")]
    force(doc, ALL_A)
    assert [(e.start, e.end, e.label_) for e in doc.ents] == [
        (0, 2, "A"),
        (2, 4, "RULE"),
        (4, 6, "A"),
    ]
    assert (doc.ents[1].kb_id_, doc.ents[1].ent_id_) == ("Q1", "id")
    assert [s.label_ for s in doc.spans["bert_ner"]] == ["A", "A"]


def test_outside_is_no_prohibition_and_blocked_is(force, tiny_nlp):
    """Catches tokens that an earlier component left outside of its entities (as entity_ruler does)
    and that are closed to this one; and blocked tokens that are not. As spaCy's `ner` has it."""
    doc = tiny_nlp.make_doc("a b c d e")
    doc.set_ents([], blocked=[doc[2:3]], outside=[doc[0:1]])
    force(doc, UNITS)
    assert [e.start for e in doc.ents] == [0, 1, 3, 4]
    assert doc[2].ent_iob == 3 and doc[2].ent_type == 0
    force(doc, ALL_A)  # and again: nothing is free
    assert [e.start for e in doc.ents] == [0, 1, 3, 4]
    assert len(doc.spans["bert_ner"].attrs["scores"]) == 4


def test_after_an_entity_ruler(force, tiny_nlp):
    """Catches components that do not work together."""
    ruler = tiny_nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "CITY", "pattern": "Paris"}])
    doc = force("Alice in Paris now", UNITS)
    assert ents(doc) == [(0, 5, "A"), (6, 8, "A"), (9, 14, "CITY"), (15, 18, "A")]


def test_whitespace_at_the_ends(force):
    """Catches entities that start or end with whitespace, or consist of it."""
    for scores in (ALL_A, UNITS):
        doc = force("  \n a  b \n ", scores)
        assert doc.ents and doc[0].is_space and doc[-1].is_space
        for ent in doc.ents:
            assert not ent[0].is_space and not ent[-1].is_space
    assert force(" \n ", ALL_A).ents == ()


def test_borders_of_sentences(force, tiny_nlp):
    """Catches an entity that reaches into the next sentence."""
    doc = tiny_nlp.make_doc("a b c d")
    doc[2].is_sent_start = True
    assert [(e.start, e.end) for e in force(doc, ALL_A).ents] == [(0, 2), (2, 4)]


def test_missing_annotation(tiny_nlp):
    """Catches tokens without annotation that count as outside; an entity whose borders lie within
    tokens that is taken for something else; and a trimmed one that is not learned from."""
    columns = tag_columns(["A"], "biluo")
    assert columns == {"O": 0, "B-A": 1, "I-A": 2, "L-A": 3, "U-A": 4}
    assert tag_columns(["A", "B"], "bio")["L-B"] == 4 and tag_columns(["A"], "bio")["U-A"] == 1
    doc = tiny_nlp.make_doc("a b c d")
    partial = Example.from_dict(doc, {"entities": ["-", "U-A", "O", "-"]})
    assert gold_columns(partial, columns).tolist() == [-1, 4, 0, -1]
    none = Example.from_dict(doc, {"cats": {"X": 1.0}})
    assert gold_columns(none, columns).tolist() == [-1] * 4
    predicted = Doc(tiny_nlp.vocab, words=["New York", "is", "big"])
    reference = Doc(tiny_nlp.vocab, words=["New", "York", "is", "big"], ents=["O", "B-A", "O", "O"])
    assert gold_columns(Example(predicted, reference), columns).tolist() == [-1, 0, 0]


def test_missing_annotation_in_training(tiny_nlp, make_examples):
    """Catches a gradient from tokens whose tags nobody knows, and a batch without any that is
    trained on."""
    ner = tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    examples = make_examples(tiny_nlp)
    tiny_nlp.initialize(lambda: examples)
    partial = Example.from_dict(tiny_nlp.make_doc("Alice lives"), {"entities": ["U-PERSON", "-"]})
    scores = [np.zeros((2, 9), dtype="f")]
    loss, (gradient,) = ner.get_loss([partial], scores)
    assert loss == pytest.approx(np.log(9)) and gradient[0].any() and not gradient[1].any()
    before = weights(tiny_nlp)
    losses = tiny_nlp.update(make_examples(tiny_nlp, ner=False), sgd=AdamW(0.1))
    assert losses["bert_ner"] == 0.0 and equal(weights(tiny_nlp), before)


def test_label_smoothing(tiny_nlp, make_examples):
    """Catches a setting that does not reach the loss."""
    settings = bert_ner(listener(), label_smoothing=0.2)
    ner = tiny_nlp.add_pipe("bert_ner", config=settings)
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    example = Example.from_dict(tiny_nlp.make_doc("Alice"), {"entities": ["O"]})
    _, (gradient,) = ner.get_loss([example], [np.zeros((1, 9), dtype="f")])
    np.testing.assert_allclose(gradient[0], [1 / 9 - 0.8, *[1 / 9 - 0.025] * 8], atol=1e-6)


def test_gold_with_whitespace(tiny_nlp):
    """Catches training towards entities that must not be predicted, in silence."""
    doc = tiny_nlp.make_doc("a \n b")
    assert doc[1].is_space
    example = Example.from_dict(doc, {"entities": ["B-A", "L-A", "O"]})
    with pytest.warns(UserWarning, match="starts or ends with whitespace.*Trim"):
        found = gold_columns(example, tag_columns(["A"], "biluo"))
    assert found.tolist() == [-1, -1, 0]


def test_unknown_label(tiny_nlp, make_examples):
    """Catches gold of a label that the model does not have and that is passed over."""
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    example = Example.from_dict(tiny_nlp.make_doc("Alice"), {"entities": ["U-DOG"]})
    with pytest.raises(ValueError, match="label 'DOG', but the labels are CITY, PERSON.*add_label"):
        tiny_nlp.update([example], sgd=AdamW(0.1))


@pytest.mark.parametrize("scheme", ["biluo", "bio"])
def test_added_label(tiny_nlp, make_examples, scheme):
    """Catches a label that is added to a trained recogniser and changes what it says of the others,
    or cannot be learned; and an order of columns that shifts."""
    ner = tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener(), scheme=scheme))
    examples = make_examples(tiny_nlp)
    tiny_nlp.initialize(lambda: examples)
    train(tiny_nlp, examples, steps=15)
    before, expected = logits_of(tiny_nlp, TEXTS[0]), ents(tiny_nlp(TEXTS[0]))
    assert ner.add_label("DAY") == 1 and ner.add_label("DAY") == 0
    assert ner.labels == ("CITY", "PERSON", "DAY") and tiny_nlp.pipe_labels["bert_ner"][-1] == "DAY"
    after = logits_of(tiny_nlp, TEXTS[0])
    np.testing.assert_allclose(after[:, : before.shape[1]], before, atol=1e-6)
    assert ents(tiny_nlp(TEXTS[0])) == expected
    text = "the working day of Alice"
    gold = {"entities": [(12, 15, "DAY"), (19, 24, "PERSON")]}
    train(tiny_nlp, [*examples, Example.from_dict(tiny_nlp.make_doc(text), gold)][4:], rate=0.01)
    assert (12, 15, "DAY") in ents(tiny_nlp(text))
    other = type(tiny_nlp).from_config(tiny_nlp.config).from_bytes(tiny_nlp.to_bytes())
    assert ents(other(text)) == ents(tiny_nlp(text))


def test_update_before_initialisation(tiny_nlp, make_examples):
    """Catches an error of Thinc's about a parameter that nobody has heard of."""
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener())).add_label("PERSON")
    with pytest.raises(ValueError, match="E109.*bert_ner"):
        tiny_nlp.update(make_examples(tiny_nlp))


def test_labels_from_a_file(tiny_nlp, make_examples):
    """Catches labels of `spacy init labels` that are not taken over, or put in another order."""
    ner = tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    examples = make_examples(tiny_nlp)
    ner.initialize(lambda: examples, nlp=tiny_nlp, labels=["PERSON", "CITY", "DOG"])
    assert ner.labels == ("PERSON", "CITY", "DOG") and ner.label_data == ["PERSON", "CITY", "DOG"]
    assert ner.model.get_ref("output_layer").get_dim("nO") == 13


@pytest.mark.parametrize("label", [3, ""])
def test_labels_that_are_none(tiny_nlp, label):
    """Catches a label that could not be told from no entity."""
    ner = tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    with pytest.raises(ValueError, match="E187|is empty"):
        ner.add_label(label)


def test_labels_of_a_large_corpus(tiny_nlp, make_examples):
    """Catches a corpus that is held in memory as a whole to look at its labels."""
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    alive = []

    class Counted(Example):
        def __del__(self):
            alive.append(-1)

    def stream():
        for example in make_examples(tiny_nlp) * 20:
            alive.append(1)
            yield Counted(example.x, example.y.copy())

    highest = []
    tiny_nlp.get_pipe("bert_ner").initialize(
        lambda: (highest.append(sum(alive)) or x for x in stream())
    )
    assert max(highest) < 20 and len(highest) > 100


def test_no_labels(tiny_nlp, make_examples):
    """Catches a recogniser without labels that finds nothing, in silence."""
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    with pytest.raises(ValueError, match="E143"):
        tiny_nlp("Alice")
    with pytest.raises(ValueError, match=r"nothing to learn from: none of 6 .*doc\.ents.*\.spacy"):
        tiny_nlp.initialize(lambda: make_examples(tiny_nlp, ner=False))


@pytest.mark.parametrize(
    "settings, found",
    [
        ({"scheme": "iob2"}, "scheme is 'iob2'"),
        ({"label_smoothing": 1.0}, "label_smoothing of the component 'bert_ner' is 1.0"),
    ],
)
def test_wrong_settings(tiny_nlp, settings, found):
    """Catches a setting that fails later, or never."""
    with pytest.raises(ValueError, match=found):
        tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener(), **settings))


def test_another_scheme_than_trained(ner_nlp):
    """Catches tags that are read as others after a change of the config."""
    ner_nlp.get_pipe("bert_ner").scheme = "bio"
    with pytest.raises(
        ValueError, match="gives 9 scores a token, but 2 labels in the scheme 'bio'"
    ):
        ner_nlp("Alice")


def test_spoilt_weights(ner_nlp):
    """Catches NaN that becomes entities, or the lack of them."""
    layer = ner_nlp.get_pipe("bert_ner").model.get_ref("output_layer")
    layer.set_param("b", layer.get_param("b") * np.nan)
    with pytest.raises(FloatingPointError, match="'bert_ner' are not finite"):
        ner_nlp("Alice")


def test_loss_that_is_not_finite(ner_nlp, make_examples):
    """Catches a step with NaN: what is saved on the way out has to be good."""
    layer = ner_nlp.get_pipe("bert_ner").model.get_ref("output_layer")
    good = layer.get_param("W").copy()
    layer.set_param("b", np.full_like(layer.get_param("b"), np.nan))
    before = weights(ner_nlp)
    with pytest.raises(FloatingPointError, match="batch of 6 Docs that starts with 'Alice lives"):
        ner_nlp.update(make_examples(ner_nlp), sgd=AdamW(0.1))
    assert equal(weights(ner_nlp), before) and (layer.get_param("W") == good).all()


@pytest.mark.parametrize("how", ["bytes", "disk", "pickle"])
def test_saving(ner_nlp, tmp_path, how):
    """Catches weights, labels or settings that do not come back."""
    if how == "disk":
        ner_nlp.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(ner_nlp))
    else:
        other = type(ner_nlp).from_config(ner_nlp.config).from_bytes(ner_nlp.to_bytes())
    assert other.get_pipe("bert_ner").labels == ner_nlp.get_pipe("bert_ner").labels
    assert_same(other.pipe(TEXTS), ner_nlp.pipe(TEXTS))


@pytest.mark.filterwarnings("ignore:.*W109")
def test_docs_keep_scores(ner_nlp):
    """Catches scores that a Doc loses on its way to a file or another process."""
    docs = list(ner_nlp.pipe(TEXTS))
    read = list(DocBin().from_bytes(DocBin(docs=docs).to_bytes()).get_docs(ner_nlp.vocab))
    copies = [Doc(ner_nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
    for doc, *others in zip(docs, read, copies):
        for other in others:
            assert ents(other) == ents(doc)
            np.testing.assert_array_equal(
                other.spans["bert_ner"].attrs["scores"], doc.spans["bert_ner"].attrs["scores"]
            )


@pytest.mark.slow
def test_processes(ner_nlp):
    """Catches what cannot go to another process."""
    assert_same(ner_nlp.pipe(TEXTS, n_process=2, batch_size=2), ner_nlp.pipe(TEXTS))


def test_a_failing_doc_fails_alone(ner_nlp):
    """Catches one Doc that takes its batch with it."""
    failed = []
    ner_nlp.set_error_handler(lambda name, pipe, docs, error: failed.extend(docs))
    docs = [ner_nlp.make_doc(text) for text in TEXTS]
    with ner_nlp.select_pipes(enable="bert"):
        docs = [*ner_nlp.pipe(docs), ner_nlp.make_doc("nobody encoded this")]
    done = list(ner_nlp.get_pipe("bert_ner").pipe(docs))
    assert [doc.text for doc in done] == TEXTS and [d.text for d in failed] == [docs[-1].text]


def test_sgd_at_once_or_later(ner_nlp, make_examples):
    """Catches an encoder that is stepped between the forward and the backward pass."""
    other = pickle.loads(pickle.dumps(ner_nlp))
    ner_nlp.update(make_examples(ner_nlp), sgd=AdamW(0.01))
    other.update(make_examples(other), sgd=False)
    optimizer = AdamW(0.01)
    for _, pipe in other.components:
        pipe.finish_update(optimizer)
    for name, value in weights(ner_nlp).items():
        np.testing.assert_allclose(value, weights(other)[name], atol=1e-6)


def test_beside_another_head(tiny_nlp, make_examples):
    """Catches a batch without entities that holds up the encoder's backward pass, empty and blank
    texts that fail in training, and a head that learns from the other's batch alone."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    optimizer = AdamW(0.01)
    for examples in (
        make_examples(tiny_nlp, ner=False),
        make_examples(tiny_nlp, cats=False),
        [*make_examples(tiny_nlp), Example.from_dict(tiny_nlp.make_doc(""), {})],
        [*make_examples(tiny_nlp), Example.from_dict(tiny_nlp.make_doc(" \n "), {"entities": []})],
    ):
        before = weights(tiny_nlp)
        tiny_nlp.update(examples, sgd=optimizer)
        tiny_nlp.get_pipe("bert").finish_update(optimizer)
        assert not equal(weights(tiny_nlp), before)


def test_frozen_last_listener(tiny_nlp, make_examples):
    """Catches an encoder that waits for the gradient of a frozen recogniser, and one that learns."""
    tiny_nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    ner = tiny_nlp.add_pipe("bert_ner", config=bert_ner(listener()))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    frozen = ner.model.get_ref("output_layer").get_param("W").copy()
    before, optimizer = weights(tiny_nlp), AdamW(0.01)
    for _ in range(2):
        tiny_nlp.update(make_examples(tiny_nlp), sgd=optimizer, exclude=["bert_ner"])
    assert not equal(weights(tiny_nlp), before)
    assert (ner.model.get_ref("output_layer").get_param("W") == frozen).all()


@pytest.mark.parametrize(
    "tok2vec, own", [(listener(), "BertTok2Vec"), (PIECES, "BertPieces")], ids=["mean", "first"]
)
def test_replaced_listeners(tiny_nlp, make_examples, tmp_path, tok2vec, own):
    """Catches a recogniser that finds something else, or nothing, with an encoder of its own."""
    tiny_nlp.add_pipe("bert_ner", config=bert_ner(tok2vec))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    perturb(tiny_nlp)
    expected = [(ents(doc), logits_of(tiny_nlp, doc.text)) for doc in tiny_nlp.pipe(TEXTS[::3])]
    tiny_nlp.replace_listeners("bert", "bert_ner", ["model.tok2vec"])
    tiny_nlp.remove_pipe("bert")
    tiny_nlp.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    section = nlp.get_pipe_config("bert_ner")["model"]["tok2vec"]
    assert section["@architectures"] == f"spacy-bert.{own}.v1"
    for text, (entities, scores) in zip(TEXTS[::3], expected):
        assert ents(nlp(text)) == entities
        (found,) = nlp.get_pipe("bert_ner").model.predict([nlp.make_doc(text)])
        np.testing.assert_allclose(found, scores, atol=1e-5)
    before = weights(nlp, "bert_ner")
    nlp.update(make_examples(nlp), sgd=AdamW(0.01))
    assert not equal(weights(nlp, "bert_ner"), before)


def test_sourced(ner_nlp):
    """Catches a recogniser that does not find its encoder in another pipeline."""
    expected = [ents(doc) for doc in ner_nlp.pipe(TEXTS)]
    nlp = spacy.blank("en")
    nlp.add_pipe("bert", source=ner_nlp)
    nlp.add_pipe("bert_ner", source=ner_nlp)
    assert [ents(doc) for doc in nlp.pipe(TEXTS)] == expected


def test_without_its_encoder(ner_nlp):
    """Catches zeros where the encoder did not run."""
    with ner_nlp.select_pipes(enable="bert_ner"), pytest.raises(ValueError, match="E203"):
        ner_nlp("Alice")


@pytest.mark.parametrize("own", [False, True], ids=["shared", "inlined"])
def test_spacy_train(tiny_checkpoint, corpus, tmp_path, own):
    """Catches a recogniser that `spacy train` cannot train, evaluate or save."""
    tok2vec = encoder(tiny_checkpoint, "BertTok2Vec") if own else listener()
    components = {"bert_ner": {"factory": "bert_ner", **bert_ner(tok2vec)}}
    if own:
        callback = "spacy-bert.LoadCheckpoint.v1"
        initialize = {"before_init": {"@callbacks": callback, "checkpoint": str(tiny_checkpoint)}}
    else:
        shared = {"factory": "bert", "model": encoder(tiny_checkpoint)}
        components = {"bert": shared, **components}
        initialize = {"components": {"bert": {"checkpoint": str(tiny_checkpoint)}}}
    nlp = run_training(config_of(corpus, components, initialize=initialize), tmp_path)
    assert nlp.get_pipe("bert_ner").labels == ("CITY", "PERSON")
    assert {"ents_f", "ents_p", "ents_r", "ents_per_type"} <= nlp.meta["performance"].keys()
    assert "bert_ner" in nlp("Alice lives in Paris.").spans


def test_merged_entities(ner_nlp):
    """Catches Docs that cannot be saved: spaCy moves no spans when it merges tokens."""
    ner_nlp.get_pipe("bert_ner").spans_key = None
    ner_nlp.add_pipe("merge_entities")
    docs = list(ner_nlp.pipe(TEXTS))
    assert any(len(ent) == 1 and " " in ent.text for doc in docs for ent in doc.ents)
    for doc in docs:
        again = Doc(ner_nlp.vocab).from_bytes(doc.to_bytes(exclude=["user_hooks"]))
        assert ents(again) == ents(doc)


def test_scores_of_linked_entities(ner_nlp):
    """Catches scores that are lost in a second pass because the entities were linked meanwhile."""
    doc = next(doc for doc in ner_nlp.pipe(TEXTS) if doc.ents)
    scores = list(doc.spans["bert_ner"].attrs["scores"])
    for token in doc:
        if token.ent_type:
            token.ent_kb_id_ = "Q1"
    ner_nlp(doc)
    assert list(doc.spans["bert_ner"].attrs["scores"]) == scores
    assert all(ent.kb_id_ == "Q1" for ent in doc.ents)


def test_written_twice(ner_nlp):
    """Catches entities that collide with themselves."""
    doc = next(doc for doc in ner_nlp.pipe(TEXTS) if doc.ents)
    before, scores = ents(doc), list(doc.spans["bert_ner"].attrs["scores"])
    pipe, fresh = ner_nlp.get_pipe("bert_ner"), ner_nlp.get_pipe("bert")(ner_nlp.make_doc(doc.text))
    predicted = pipe.predict([fresh])
    for link in ("", "Q1"):
        pipe.set_annotations([fresh], predicted)
        assert ents(fresh) == before and {ent.kb_id_ for ent in fresh.ents} == {link}
        assert list(fresh.spans["bert_ner"].attrs["scores"]) == scores
        for token in fresh:
            if token.ent_type:
                token.ent_kb_id_ = "Q1"


def test_split_and_partial_docs_are_told_apart(ner_nlp):
    """Catches the advice to enable an encoder that did run."""
    bert, pipe = ner_nlp.get_pipe("bert"), ner_nlp.get_pipe("bert_ner")
    doc = bert(ner_nlp.make_doc("Alice lives in Paris."))
    with pytest.raises(ValueError, match=r"part of a Doc.*as_doc"):
        pipe(doc[1:3].as_doc())
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[0], ["Al", "ice"], heads=[doc[1], doc[1]])
    with pytest.raises(ValueError, match=r"of other tokens.*split or merge"):
        pipe(doc)


def test_rows_that_were_taken_off(tiny_nlp, make_examples):
    """Catches an error that says the encoder did not run, when its rows were read and taken off."""
    ner = tiny_nlp.add_pipe("bert_ner", config=bert_ner(PIECES))
    tiny_nlp.initialize(lambda: make_examples(tiny_nlp))
    doc = tiny_nlp(TEXTS[0])
    with pytest.raises(ValueError, match=r"taken off a Doc.*keep = \["):
        ner(doc)
    tiny_nlp.get_pipe("bert").keep = ["rows"]
    tiny_nlp.rename_pipe("bert_ner", "names")
    doc = tiny_nlp(TEXTS[0])
    assert str(ner(doc).ents) == str(doc.ents)
