"""From a checkpoint to a pipeline in one call."""

from pathlib import Path
from typing import Any, Dict, Optional, Union

import spacy
from spacy.language import Language

from ..encoder import load_checkpoint
from ..encoder.config import BertConfig


def from_checkpoint(
    path: Union[str, Path],
    *,
    lang: str = "en",
    revision: Optional[str] = None,
    config: Optional[Dict[str, Any]] = None,
) -> Language:
    """Make a pipeline with a ready `bert` component.

    path (Union[str, Path]): Folder or hub id of a BERT in HuggingFace's format.
    lang (str): Language of the tokenizer, as for `spacy.blank`.
    revision (Optional[str]): Revision of the hub id.
    config (Optional[Dict[str, Any]]): Further settings of the component, such as
        `{"model": {"window": 128, "stride": 96}}`.
    RETURNS (Language): The pipeline; add heads with listeners, or call it on a text.
    """
    checkpoint = load_checkpoint(path, revision=revision)
    nlp = spacy.blank(lang)
    settings = dict(config or {})
    settings["model"] = {**bert_settings(checkpoint.config), **settings.get("model", {})}
    nlp.add_pipe("bert", config=settings).load_checkpoint(checkpoint)  # type: ignore[attr-defined]
    return nlp


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
