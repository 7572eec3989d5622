"""The learnt weighted sum of layers: what it computes, and that it learns over a frozen encoder."""

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from spacy import registry
from thinc.api import Model, concatenate

import spacy_bert
from spacy_bert.layers.layer_mix import layer_mix


def make_mix(n_layers: int = 3, width: int = 4) -> Any:
    model = layer_mix(n_layers, n_layers * width)
    model.initialize()
    rng = np.random.default_rng(0)
    model.set_param("W", rng.normal(size=n_layers).astype("f"))
    model.set_param("scale", np.array([1.7], dtype="f"))
    return model


def test_begins_as_mean_and_sums_layers() -> None:
    """Catches layers that are cut at the wrong places, and weights that are no shares."""
    X = np.random.default_rng(1).normal(size=(5, 12)).astype("f")
    model = layer_mix(3, 12)
    model.initialize()
    np.testing.assert_allclose(model.predict(X), X.reshape(5, 3, 4).mean(1), rtol=1e-5, atol=1e-6)
    model = make_mix()
    shares = np.exp(model.get_param("W")) / np.exp(model.get_param("W")).sum()
    expected = 1.7 * sum(share * X[:, 4 * i : 4 * i + 4] for i, share in enumerate(shares))
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5, atol=1e-6)


def test_finite_differences() -> None:
    """Catches a backward pass that is not that of the forward pass: of input, weights or scale."""
    rng = np.random.default_rng(2)
    X, gradient = rng.normal(size=(5, 12)).astype("f"), rng.normal(size=(5, 4)).astype("f")
    model = make_mix()
    slope_X = model.begin_update(X)[1](gradient)

    def loss(values: np.ndarray) -> float:
        return float((model.predict(values).astype("d") * gradient).sum())

    for i in np.ndindex(2, 12):
        step = np.zeros_like(X)
        step[i] = 1e-2
        assert (loss(X + step) - loss(X - step)) / 2e-2 == pytest.approx(slope_X[i], abs=1e-3)
    for name in ("W", "scale"):
        value = model.get_param(name).copy()
        for i in range(len(value)):
            found = []
            for sign in (1, -1):
                moved = value.copy()
                moved[i] += sign * 1e-2
                model.set_param(name, moved)
                found.append(loss(X))
            model.set_param(name, value)
            assert (found[0] - found[1]) / 2e-2 == pytest.approx(model.get_grad(name)[i], abs=1e-2)


@pytest.mark.parametrize("layers", [0, 5])
def test_wrong_number_of_layers(layers: int) -> None:
    """Catches layers cut in the middle of a vector."""
    with pytest.raises(ValueError, match=f"layers is {layers}, but vectors of width 12"):
        layer_mix(layers, 12)


def test_another_number_of_layers_than_the_encoder_gives(tiny_checkpoint: Path) -> None:
    """Catches vectors that are cut in halves that are no layers, as the width can be divided."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": {"layers": [0, 1, 2]}})
    listener = {"@architectures": "spacy-bert.BertListener.v1", "width": 96}
    mix = {"@architectures": "spacy-bert.BertLayerMix.v1", "layers": 2, "tok2vec": listener}
    head = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": mix}
    with pytest.raises(ValueError, match="layers = 2, but its encoder gives 3 layers"):
        nlp.add_pipe("bert_ner", config={"model": head})
        nlp.initialize()
    settings = {
        **nlp.get_pipe_config("bert")["model"],
        "@architectures": "spacy-bert.BertTok2Vec.v1",
    }
    with pytest.raises(ValueError, match="layers = 2, but its encoder gives 3 layers"):
        registry.resolve({"model": {**mix, "tok2vec": settings}})


def test_layers_of_two_encoders(tiny_checkpoint: Path, make_examples: Callable[..., Any]) -> None:
    """Catches a mix that is held against the number of layers of another encoder, which the same head
    reads, too; and one that is not looked at because the listener is spaCy's own."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": {"layers": [0, 1, 2]}})
    nlp.add_pipe(
        "bert",
        name="other",
        config={
            "set_tensor": False,
            "model": nlp.get_pipe_config("bert")["model"] | {"layers": [-1]},
        },
    )
    nlp.config["initialize"]["components"]["other"] = {"checkpoint": str(tiny_checkpoint)}
    listeners = [
        {"@architectures": "spacy-bert.BertListener.v1", "width": width, "upstream": name}
        for name, width in (("bert", 96), ("other", 32))
    ]
    mix = {"@architectures": "spacy-bert.BertLayerMix.v1", "layers": 3, "tok2vec": listeners[0]}
    both = {"@architectures": "toy.SideBySide.v1", "one": mix, "other": listeners[1]}
    head = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": both}
    nlp.add_pipe("bert_ner", config={"model": head})
    nlp.initialize(lambda: make_examples(nlp, cats=False))
    assert nlp.get_pipe("other").listening_components == ["bert_ner"]
    of_one = {"@architectures": "spacy-bert.BertLayerMix.v1", "layers": 1, "tok2vec": listeners[1]}
    for one, other in ((mix, of_one), (of_one, mix)):
        tok2vec = {**both, "one": one, "other": other}
        nlp.remove_pipe("bert_ner")
        nlp.add_pipe("bert_ner", config={"model": {**head, "tok2vec": tok2vec}})
        nlp.initialize(lambda: make_examples(nlp, cats=False))
    stock = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "bert"}
    mix.update(layers=2, tok2vec=stock)
    with pytest.raises(ValueError, match="layers = 2, but its encoder gives 3 layers"):
        nlp.add_pipe("bert_ner", name="second", config={"model": {**head, "tok2vec": mix}})
        nlp.initialize(lambda: make_examples(nlp, cats=False))


@registry.architectures("toy.SideBySide.v1")
def side_by_side(one: Model, other: Model) -> Model:
    model = concatenate(one, other)
    model.set_dim("nO", one.get_dim("nO") + other.get_dim("nO"))
    return model


def test_learns_over_a_frozen_encoder(
    tiny_checkpoint: Path, make_examples: Callable[..., Any], tmp_path: Path
) -> None:
    """Catches weights of the sum that stay where they began, that move the frozen encoder, or that
    are lost when the pipeline is saved."""
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": {"layers": [0, 1, 2]}})
    listener = {"@architectures": "spacy-bert.BertListener.v1", "width": 96, "upstream": "bert"}
    mix = {"@architectures": "spacy-bert.BertLayerMix.v1", "layers": 3, "tok2vec": listener}
    head = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": mix}
    nlp.add_pipe("bert_ner", config={"model": head})
    examples = make_examples(nlp, cats=False)
    optimizer = nlp.initialize(lambda: examples)
    encoder = nlp.get_pipe("bert").model.to_bytes()
    [node] = [n for n in nlp.get_pipe("bert_ner").model.walk() if n.name == "layer-mix"]
    assert node.get_param("W").tolist() == [0.0] * 3
    optimizer.learn_rate = 0.01
    with nlp.select_pipes(enable=["bert", "bert_ner"]):
        for _ in range(3):
            nlp.update(examples, sgd=optimizer, exclude=["bert"], annotates=["bert"])
    assert nlp.get_pipe("bert").model.to_bytes() == encoder
    assert min(abs(node.get_param("W"))) > 1e-4 and node.get_param("scale")[0] != 1.0
    nlp.to_disk(tmp_path / "nlp")
    import spacy

    loaded = spacy.load(tmp_path / "nlp")
    assert loaded.get_pipe("bert_ner").model.to_bytes() == nlp.get_pipe("bert_ner").model.to_bytes()
    doc, other = nlp(examples[0].text), loaded(examples[0].text)
    assert doc.tensor.shape == (len(doc), 96)
    np.testing.assert_allclose(doc.tensor, other.tensor, atol=1e-5)


def test_registered() -> None:
    """Catches a name that leads nowhere."""
    assert callable(registry.architectures.get("spacy-bert.BertLayerMix.v1"))


def test_first_pieces(tiny_checkpoint: Path, make_examples: Callable[..., Any]) -> None:
    """Catches rows of windows that are summed as if they were tokens: the sum is of first pieces."""
    from spacy_bert.layers.piece_rows import rows_of, take_first_pieces

    settings = {"model": {"layers": [1, 2]}, "keep": ["rows"]}
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config=settings)
    listener = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 64}
    mix = {"@architectures": "spacy-bert.BertLayerMix.v1", "layers": 2, "tok2vec": listener}
    head = {"@architectures": "spacy-bert.BertTokenClassifier.v1", "tok2vec": mix}
    nlp.add_pipe("bert_ner", config={"model": head})
    nlp.initialize(lambda: make_examples(nlp, cats=False))
    doc = nlp("Alice doesn't live in Paris.")
    [first] = take_first_pieces(64).predict([rows_of(doc, "bert")])
    mixed = nlp.get_pipe("bert_ner").model.get_ref("tok2vec").predict([doc])[0]
    np.testing.assert_allclose(mixed, first.reshape(-1, 2, 32).mean(1), atol=1e-5)
