"""One measurement of one way from raw text to pieces. Prints a line of JSON; see pretraining.py.

python benchmarks/text_worker.py bare|Paragraphs|Sentencizer VOCAB INPUT...

"bare" times the library alone, on paragraphs that are in memory already, a thousand at a time; the
others time `prepare` from files to a finished store, with as many processes as it takes by itself.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Tuple

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from spacy_bert.pretraining.documents import find_files, make_registered, read_documents
from spacy_bert.pretraining.preparing import prepare
from spacy_bert.wordpiece import WordPieceTokenizer


def bare(vocab: Path, files: List[Path]) -> Tuple[int, float]:
    """RETURNS (Tuple[int, float]): Pieces and seconds of the library's `encode_batch`."""
    tokenizer = WordPieceTokenizer.from_disk(vocab)
    settings = tokenizer.settings
    ids = {piece: index for index, piece in enumerate(tokenizer.pieces)}
    library = Tokenizer(WordPiece(ids, unk_token=settings.unk))
    library.normalizer = BertNormalizer(
        lowercase=settings.lowercase, strip_accents=settings.strip_accents
    )
    library.pre_tokenizer = BertPreTokenizer()
    paragraphs = [text for document in read_documents(files) for text in document.paragraphs]
    start, n_pieces = time.perf_counter(), 0
    for first in range(0, len(paragraphs), 1000):
        encoded = library.encode_batch(paragraphs[first : first + 1000], add_special_tokens=False)
        n_pieces += sum(map(len, encoded))
    return n_pieces, time.perf_counter() - start


def prepared(splitter: str, vocab: Path, files: List[Path]) -> Tuple[int, float]:
    """RETURNS (Tuple[int, float]): Pieces and seconds of `prepare`."""
    tokenizer = WordPieceTokenizer.from_disk(vocab)
    chosen = None if splitter == "Paragraphs" else make_registered("spacy_misc", splitter)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = prepare(Path(folder) / "store", files, tokenizer, splitter=chosen)
        return store.manifest.n_pieces, time.perf_counter() - start


if __name__ == "__main__":
    way, vocab, inputs = sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
    files = find_files(inputs)
    pieces, seconds = bare(vocab, files) if way == "bare" else prepared(way, vocab, files)
    peaks = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(
        json.dumps(
            {"pieces": pieces, "pieces_per_second": pieces / seconds, "peak_mb": max(peaks) // 1024}
        )
    )
