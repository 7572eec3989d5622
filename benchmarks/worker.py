"""One measurement of one package, in the environment it is run in. Prints a line of JSON.

python benchmarks/worker.py PEER TASK CHECKPOINT DATA [N]

TASK "pipe": words per second of nlp.pipe with the encoder alone, over N lines of text.
TASK "update": words per second of nlp.update with encoder and stock `ner`, over N Docs of a .spacy
file in batches of 1,000 words, stepping as `spacy train` does.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Threads that wait should sleep: a spinning one slows whatever else the machine does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam, Config

BATCH_WORDS = 1000
RATE = 5e-5

TRF = """
[components.transformer]
factory = "transformer"
[components.transformer.model]
@architectures = "spacy-transformers.TransformerModel.v3"
name = "{checkpoint}"
tokenizer_config = {{"use_fast": true}}
[components.transformer.model.get_spans]
@span_getters = "spacy-transformers.strided_spans.v1"
window = 128
stride = 96
"""
TRF_LISTENER = """
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0
pooling = {{"@layers": "reduce_mean.v1"}}
"""
OURS_LISTENER = """
@architectures = "spacy-bert.BertListener.v1"
width = {width}
"""
NER = """
[components.ner]
factory = "ner"
[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 64
maxout_pieces = 2
use_upper = false
nO = null
[components.ner.model.tok2vec]
"""


def encoder_pipeline(peer: str, checkpoint: str) -> Language:
    """RETURNS (Language): A pipeline with nothing but the encoder."""
    if peer == "ours":
        import spacy_bert

        return spacy_bert.from_checkpoint(checkpoint)
    nlp = spacy.blank("en")
    config = Config().from_str("[components]" + TRF.format(checkpoint=checkpoint))
    settings = config["components"]["transformer"]
    nlp.add_pipe(settings.pop("factory"), config=settings)
    nlp.initialize()
    return nlp


def ner_pipeline(peer: str, checkpoint: str) -> Language:
    """RETURNS (Language): Encoder and stock `ner`, without weights yet."""
    head = '[nlp]\nlang = "en"\npipeline = {pipeline}\n[components]\n'
    if peer == "ours":
        from spacy_bert.encoder import read_config
        from spacy_bert.pipeline.assemble import bert_settings

        sizes = read_config(Path(checkpoint) / "config.json")
        text = (
            head.format(pipeline='["bert", "ner"]') + NER + OURS_LISTENER.format(width=sizes.width)
        )
        config = Config().from_str(text)
        config["components"]["bert"] = {
            "factory": "bert",
            "model": {**bert_settings(sizes), "mixed_precision": "auto"},
        }
        config["initialize"] = {"components": {"bert": {"checkpoint": checkpoint}}}
    else:
        text = head.format(pipeline='["transformer", "ner"]')
        text += TRF.format(checkpoint=checkpoint) + NER + TRF_LISTENER.format()
        config = Config().from_str(text)
    return spacy.util.load_model_from_config(config, auto_fill=True)


def mean_vectors(peer: str, docs: List[Doc]) -> np.ndarray:
    """RETURNS (np.ndarray): Mean over the pieces of each Doc, for checking that outputs agree."""
    if peer == "ours":
        return np.stack([doc._.bert.pooled("mean") for doc in docs])
    rows = []
    for doc in docs:
        data = doc._.trf_data
        mask = data.wordpieces.attention_mask.astype(bool)
        rows.append(data.model_output.last_hidden_state[mask].mean(axis=0))
    return np.stack(rows)


def measure_pipe(peer: str, checkpoint: str, data: str, n: int) -> Dict[str, Any]:
    lines = Path(data).read_text(encoding="utf8").splitlines()
    texts = [line.strip() for line in lines if line.strip()][:n]
    nlp = encoder_pipeline(peer, checkpoint)
    shortest = sorted(texts, key=len)[:8]
    vectors = mean_vectors(peer, list(nlp.pipe(shortest)))
    seconds, words = timed(lambda: sum(len(doc) for doc in nlp.pipe(texts, batch_size=64)))
    return {"words": words, "seconds": seconds, "vectors": vectors.tolist()}


def measure_update(peer: str, checkpoint: str, data: str, n: int) -> Dict[str, Any]:
    nlp = ner_pipeline(peer, checkpoint)
    golds = list(DocBin().from_disk(data).get_docs(nlp.vocab))[:n]
    examples = [Example(bare_copy(gold), gold) for gold in golds]
    nlp.initialize(lambda: examples)
    optimizer: Any = Adam(RATE)
    if peer == "ours":
        from spacy_bert.layers.optimizer import AdamW

        optimizer = AdamW(RATE)
    batches = list(spacy.training.batchers.minibatch_by_words(examples, BATCH_WORDS))

    def epoch() -> int:
        for batch in batches:
            nlp.update(batch, sgd=False, drop=0.1)  # type: ignore[arg-type]
            for _, pipe in nlp.pipeline:
                pipe.finish_update(optimizer)  # type: ignore[attr-defined]
        return sum(len(gold) for gold in golds)

    seconds, words = timed(epoch)
    return {"words": words, "seconds": seconds}


def bare_copy(doc: Doc) -> Doc:
    spaces = [bool(token.whitespace_) for token in doc]
    return Doc(doc.vocab, words=[token.text for token in doc], spaces=spaces)


def timed(run: Callable[[], int]) -> Tuple[float, int]:
    """Runs once to warm up, once for the clock."""
    run()
    start = time.perf_counter()
    words = run()
    return time.perf_counter() - start, words


if __name__ == "__main__":
    peer, task, checkpoint, data = sys.argv[1:5]
    n = int(sys.argv[5]) if len(sys.argv) > 5 else 300
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    measure = {"pipe": measure_pipe, "update": measure_update}[task]
    result = measure(peer, checkpoint, data, n)
    result["words_per_second"] = result["words"] / result["seconds"]
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result))
