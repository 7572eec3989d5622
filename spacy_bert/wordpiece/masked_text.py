"""Texts with the mask piece in them, as BERT is asked what stands there.

    text     Paris  is  the  [MASK]  of  France
    pieces   paris  is  the  [MASK]  of  france

To the tokenizer "[MASK]" is plain text. Here it is the one piece, wherever the text spells it; what
stands between two masks is read by itself, as HuggingFace's tokenizers do with special pieces.
"""

import re
from typing import List, Sequence

import numpy as np

from .tokenizer import Encoded, WordPieceTokenizer


def encode_masked(tokenizer: WordPieceTokenizer, texts: Sequence[str]) -> List[Encoded]:
    """Encode texts, with the mask piece in the places where they spell it (case counts).

    tokenizer (WordPieceTokenizer): Text -> pieces; its `mask` is what to look for.
    texts (Sequence[str]): The texts.
    RETURNS (List[Encoded]): One for each text; without a mask, what `encode_batch` returns.
    """
    mask = re.compile(re.escape(tokenizer.settings.mask))
    places = [[match.span() for match in mask.finditer(text)] for text in texts]
    parts: List[str] = []  # what stands before, between and after the masks, of all texts
    for text, spans in zip(texts, places):
        starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)]
        parts += [text[start:end] for start, end in zip(starts, ends)]
    encoded = iter(tokenizer.encode_batch(parts))
    results = []
    for spans in places:
        found = next(encoded)
        if spans:
            ids, offsets = [found.ids], [found.offsets]
            for start, end in spans:
                found = next(encoded)
                ids += [np.array([tokenizer.mask_id], dtype=np.int32), found.ids]
                offsets += [np.array([[start, end]], dtype=np.int32), found.offsets + np.int32(end)]
            found = Encoded(np.concatenate(ids), np.concatenate(offsets))
        results.append(found)
    return results
