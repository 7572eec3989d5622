"""From a checkpoint to a pipeline in one call."""

from pathlib import Path
from typing import Any, Callable, Dict, Optional, Union

import spacy
from spacy.language import Language

from ..encoder import load_checkpoint
from ..encoder.config import BertConfig
from ..layers.weights import check_masked


def from_checkpoint(
    path: Union[str, Path],
    *,
    lang: str = "en",
    revision: Optional[str] = None,
    config: Optional[Dict[str, Any]] = None,
    component: str = "bert",
) -> Language:
    """Make a pipeline with a ready `bert` component, or another that a checkpoint is enough for.

    path (Union[str, Path]): Folder or hub id of a BERT in HuggingFace's format.
    lang (str): Language of the tokenizer, as for `spacy.blank`.
    revision (Optional[str]): Revision of the hub id.
    config (Optional[Dict[str, Any]]): Further settings of the component, such as
        `{"model": {"window": 128, "stride": 96}}`.
    component (str): "bert", or "fill_mask" if the checkpoint has a masked-LM head.
    RETURNS (Language): The pipeline; add heads with listeners, or call it on a text. Trained in
        Python, it is stepped by spacy-bert.AdamW.v1.
    RAISES: ValueError for another component, or if the checkpoint lacks what the component needs.
    """
    if component not in COMPONENTS:
        raise ValueError(
            f"component is {component!r}, but from a checkpoint alone only {', '.join(COMPONENTS)} "
            f"can be made ready. Add other components to the pipeline afterwards (nlp.add_pipe)."
        )
    checkpoint = load_checkpoint(path, revision=revision)
    nlp = spacy.blank(lang, config={"training": {"optimizer": OPTIMIZER}})
    settings = dict(config or {})
    settings["model"] = {**COMPONENTS[component](checkpoint.config), **settings.get("model", {})}
    pipe: Any = nlp.add_pipe(component, config=settings)
    pipe.load_checkpoint(checkpoint)
    return nlp


# Otherwise nlp.initialize() returns spaCy's usual optimizer, whose rate of 0.001, twenty times the
# greatest that the paper tried, ruins a pretrained encoder within a few steps.
OPTIMIZER = {"@optimizers": "spacy-bert.AdamW.v1", "learn_rate": 5e-5}


def bert_settings(config: BertConfig) -> Dict[str, Any]:
    """config (BertConfig): The sizes of a checkpoint.
    RETURNS (Dict[str, Any]): The section of `spacy-bert.Bert.v1` that fits them."""
    sizes = {k: v for k, v in config.to_dict().items() if k != "initializer_range"}
    window = min(512, config.max_positions)
    return {
        "@architectures": "spacy-bert.Bert.v1",
        **sizes,
        "window": window,
        "stride": max(1, min(window * 7 // 8, window - 2)),
    }


def masked_lm_settings(config: BertConfig) -> Dict[str, Any]:
    """config (BertConfig): The sizes of a checkpoint.
    RETURNS (Dict[str, Any]): The section of `spacy-bert.BertMaskedLM.v1` that fits them.
    RAISES: ValueError if it was pretrained left to right."""
    check_masked(config)
    others = ("hidden_dropout", "attention_dropout", "causal")
    settings = {key: value for key, value in bert_settings(config).items() if key not in others}
    return {**settings, "@architectures": "spacy-bert.BertMaskedLM.v1"}


# What a checkpoint is enough for -> the settings of its model.
COMPONENTS: Dict[str, Callable[[BertConfig], Dict[str, Any]]] = {
    "bert": bert_settings,
    "fill_mask": masked_lm_settings,
}
