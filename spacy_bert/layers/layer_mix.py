"""A learnt weighted sum of layers, as feature-based use of BERT has it (paper, section 5.3; the
weights are those of ELMo, Peters et al. 2018, section 3.2).

    vectors   [layer 1 | layer 2 | layer 3]        rows of width 3 W
    mixed     scale * (s1 * layer 1 + s2 * layer 2 + s3 * layer 3)     s = softmax(weights), rows of width W

Legend: N tokens, L layers, W width of a layer.
"""

from typing import Callable, Optional, Tuple, cast

from thinc.api import Model
from thinc.types import Floats1d, Floats2d, Floats3d


def layer_mix(layers: int, width: int) -> Model[Floats2d, Floats2d]:
    """layers (int): How many layers stand side by side, L.
    width (int): Width of all of them together, L * W.
    RETURNS (Model[Floats2d, Floats2d]): Their weighted sum, (N, L * W) -> (N, W): the mean, until
        it has learnt something.
    RAISES: ValueError if the width cannot be divided among them."""
    if layers < 1 or width % layers:
        raise ValueError(
            f"layers is {layers}, but vectors of width {width} cannot be those of so many layers "
            f"side by side. It has to be the number of layers that the encoder gives."
        )
    return Model(
        "layer-mix",
        forward,
        init=init,
        dims={"nI": width, "nO": width // layers},
        attrs={"n_layers": layers},
        params={"W": None, "scale": None},
    )


def check_mixes(model: Model, source: Model, n_layers: int) -> None:
    """model (Model): The model of a head.
    source (Model): A layer of it that gives an encoder's vectors.
    n_layers (int): How many of its layers that encoder gives, side by side.
    RAISES: ValueError if a mix of what `source` gives is of another number of them."""
    for node in model.walk():
        # As BertLayerMix makes it: what reads the encoder, and behind it the mix, Doc by Doc.
        *before, last = node.layers or [node]
        mixes = [inner for inner in last.layers[:1] if inner.name == "layer-mix"]
        reads_it = any(inner is source for layer in before for inner in layer.walk())
        if mixes and reads_it and mixes[0].attrs["n_layers"] != n_layers:
            raise ValueError(
                f"BertLayerMix has layers = {mixes[0].attrs['n_layers']}, but its encoder gives {n_layers} "
                f"layers side by side (`layers` of its model). Set layers = {n_layers}."
            )


def init(
    model: Model[Floats2d, Floats2d], X: Optional[Floats2d] = None, Y: Optional[Floats2d] = None
) -> None:
    """Begin with the mean of the layers."""
    model.set_param("W", model.ops.alloc1f(model.attrs["n_layers"]))
    model.set_param("scale", model.ops.alloc1f(1) + 1)


def forward(
    model: Model[Floats2d, Floats2d], vectors: Floats2d, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """vectors (Floats2d): Vectors of layers side by side, shape (N, L * W).
    RETURNS (Tuple[Floats2d, Callable]): Their weighted sum, shape (N, W), and the way back."""
    xp, n_layers = model.ops.xp, model.attrs["n_layers"]
    weights, scale = cast(Floats1d, model.get_param("W")), cast(Floats1d, model.get_param("scale"))
    shares = xp.exp(weights - weights.max())
    shares /= shares.sum()  # (L,)
    split = cast(Floats3d, vectors.reshape((len(vectors), n_layers, model.get_dim("nO"))))
    mixed = xp.einsum("nlw,l->nw", split, shares)

    def backprop(gradient: Floats2d) -> Floats2d:
        model.inc_grad("scale", xp.asarray([(gradient * mixed).sum()], dtype="f"))
        d_mixed = gradient * scale
        d_shares = xp.einsum("nlw,nw->l", split, d_mixed)
        model.inc_grad("W", shares * (d_shares - (shares * d_shares).sum()))
        d_split = xp.einsum("l,nw->nlw", shares, d_mixed)
        return cast(Floats2d, d_split.reshape(vectors.shape))

    return mixed * scale, backprop
