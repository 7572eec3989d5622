"""Packages that put BERT into spaCy, ours among them."""

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam, Config

BATCH_TEXTS = 128
BATCH_WORDS = 1000
RATE = 5e-5
WINDOW, STRIDE = 128, 96  # of the others, as their documentation has it

INITIALIZE = "\n[initialize]\n[initialize.components]\n"
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
TEXTCAT = """
[components.textcat]
factory = "textcat"
[components.textcat.model]
@architectures = "spacy.TextCatReduce.v1"
exclusive_classes = true
use_reduce_first = false
use_reduce_last = false
use_reduce_max = false
use_reduce_mean = true
[components.textcat.model.tok2vec]
"""


class SpacyPeer:
    """Base of the peers.

    encoder (str): What the encoder's component is called.
    """

    encoder = "bert"

    def __init__(self, checkpoint: str, cache: str) -> None:
        self.checkpoint = checkpoint
        self.nlp = self.pipeline("")
        self._heads: Dict[str, Any] = {}

    def section(self) -> str:
        """RETURNS (str): The encoder in a config."""
        raise NotImplementedError

    def listener(self) -> str:
        """RETURNS (str): What follows [components.ner.model.tok2vec]."""
        raise NotImplementedError

    def initialize_section(self) -> str:
        return ""

    def heads(self, names: str) -> str:
        parts = {"ner": NER + self.listener(), "textcat": TEXTCAT + self.listener()}
        return "".join(parts[name] for name in names.split())

    def pipeline(self, heads: str, examples: Any = ()) -> Language:
        """heads (str): Names of heads. RETURNS (Language): A pipeline with weights; those of heads are random."""
        names = [self.encoder, *heads.split()]
        text = (
            f'[nlp]\nlang = "en"\npipeline = {str(names).replace(chr(39), chr(34))}\n[components]\n'
        )
        text += self.section() + self.heads(heads) + self.initialize_section()
        nlp = spacy.util.load_model_from_config(Config().from_str(text), auto_fill=True)
        nlp.initialize((lambda: examples) if examples else None)
        return nlp

    def pipe(self, texts: List[str]) -> None:
        for _ in self.nlp.pipe(texts, batch_size=BATCH_TEXTS):
            pass

    def one(self, text: str) -> None:
        self.nlp(text)

    def vectors(self, texts: List[str]) -> np.ndarray:
        return np.stack([self.mean(doc) for doc in self.nlp.pipe(texts)])

    def mean(self, doc: Doc) -> np.ndarray:
        """RETURNS (np.ndarray): Mean over the pieces, [CLS] and [SEP] included."""
        raise NotImplementedError

    def plain(self, texts: List[str]) -> np.ndarray:
        """RETURNS (np.ndarray): Means over the pieces without [CLS] and [SEP], of texts whose words
        are pieces."""
        raise NotImplementedError

    def joint(self, texts: List[str], examples: str) -> None:
        """Encoder, entities and categories."""
        if "joint" not in self._heads:
            self._heads["joint"] = self.pipeline("ner textcat", _examples(examples, 50))
        for _ in self._heads["joint"].pipe(texts, batch_size=BATCH_TEXTS):
            pass

    def update(self, examples: str, n: int) -> int:
        """An epoch of training; in batches, stepped as `spacy train` does. RETURNS (int): Words."""
        if "update" not in self._heads:
            del self.nlp  # its memory is none of training's
            golds = _examples(examples, n)
            self._heads["update"] = (self.pipeline("ner", golds), golds, self.optimizer())
        nlp, golds, optimizer = self._heads["update"]
        for batch in spacy.training.batchers.minibatch_by_words(golds, BATCH_WORDS):
            nlp.update(batch, sgd=False, drop=0.1)
            for _, pipe in nlp.pipeline:
                pipe.finish_update(optimizer)
        return sum(len(example.reference) for example in golds)

    def optimizer(self) -> Any:
        return Adam(RATE)


def _examples(path: str, n: int) -> List[Example]:
    vocab = spacy.blank("en").vocab
    golds = list(DocBin().from_disk(path).get_docs(vocab))[:n]
    for i, gold in enumerate(golds):
        gold.cats = gold.cats or {"A": float(i % 2), "B": float(1 - i % 2)}
    spaces = [[bool(token.whitespace_) for token in gold] for gold in golds]
    bare = [Doc(vocab, words=[t.text for t in g], spaces=s) for g, s in zip(golds, spaces)]
    return [Example(doc, gold) for doc, gold in zip(bare, golds)]


class Ours(SpacyPeer):
    inference = "fp32"
    mixed_precision = False

    def section(self) -> str:
        from spacy_bert.encoder import read_config
        from spacy_bert.pipeline.assemble import bert_settings

        self.width = read_config(Path(self.checkpoint) / "config.json").width
        sizes = bert_settings(read_config(Path(self.checkpoint) / "config.json"))
        model = {**sizes, "mixed_precision": self.mixed_precision}
        config = {"bert": {"factory": "bert", "inference": self.inference, "model": model}}
        return Config({"components": config}).to_str().replace("[components]\n", "") + "\n"

    def initialize_section(self) -> str:
        return f'{INITIALIZE}[initialize.components.bert]\ncheckpoint = "{self.checkpoint}"\n'

    def listener(self, name: str = "BertListener") -> str:
        return f'@architectures = "spacy-bert.{name}.v1"\nwidth = {self.width}\n'

    def heads(self, names: str) -> str:
        parts = {
            "ner": NER + self.listener(),
            "bert_ner": '[components.bert_ner]\nfactory = "bert_ner"\n[components.bert_ner.model]\n'
            '@architectures = "spacy-bert.BertTokenClassifier.v1"\n'
            f"[components.bert_ner.model.tok2vec]\n{self.listener('BertPieceListener')}",
            "textcat": '[components.textcat]\nfactory = "textcat"\n[components.textcat.model]\n'
            '@architectures = "spacy-bert.BertTextCat.v1"\nexclusive_classes = true\n'
            "[components.textcat.model.tok2vec]\n"
            f'@architectures = "spacy-bert.BertPooledListener.v1"\nwidth = {self.width}\n',
        }
        return "".join(parts[name] for name in names.split())

    def joint(self, texts: List[str], examples: str) -> None:
        if "joint" not in self._heads:
            self._heads["joint"] = self.pipeline("bert_ner textcat", _examples(examples, 50))
        super().joint(texts, examples)

    def mean(self, doc: Doc) -> np.ndarray:
        return doc._.bert.pooled("mean")

    def plain(self, texts: List[str]) -> np.ndarray:
        return np.stack([doc.tensor.mean(axis=0) for doc in self.nlp.pipe(texts)])

    def optimizer(self) -> Any:
        from spacy_bert.layers.optimizer import AdamW

        return AdamW(RATE)


class OursBf16(Ours):
    inference = "bf16"
    mixed_precision = True


class OursInt8(Ours):
    inference = "int8"


class SpacyTransformers(SpacyPeer):
    encoder = "transformer"

    def section(self) -> str:
        return f"""
[components.transformer]
factory = "transformer"
[components.transformer.model]
@architectures = "spacy-transformers.TransformerModel.v3"
name = "{self.checkpoint}"
tokenizer_config = {{"use_fast": true}}
[components.transformer.model.get_spans]
@span_getters = "spacy-transformers.strided_spans.v1"
window = {WINDOW}
stride = {STRIDE}
"""

    def listener(self) -> str:
        return (
            '@architectures = "spacy-transformers.TransformerListener.v1"\ngrad_factor = 1.0\n'
            'pooling = {"@layers": "reduce_mean.v1"}\n'
        )

    def mean(self, doc: Doc) -> np.ndarray:
        data = doc._.trf_data
        mask = data.wordpieces.attention_mask.astype(bool)
        return data.model_output.last_hidden_state[mask].mean(axis=0)


class Curated(SpacyPeer):
    encoder = "transformer"

    def section(self) -> str:
        import srsly

        sizes = srsly.read_json(Path(self.checkpoint) / "config.json")
        self.width = sizes["hidden_size"]
        return f"""
[components.transformer]
factory = "curated_transformer"
[components.transformer.model]
@architectures = "spacy-curated-transformers.BertTransformer.v1"
vocab_size = {sizes["vocab_size"]}
hidden_width = {sizes["hidden_size"]}
intermediate_width = {sizes["intermediate_size"]}
num_attention_heads = {sizes["num_attention_heads"]}
num_hidden_layers = {sizes["num_hidden_layers"]}
model_max_length = {sizes["max_position_embeddings"]}
layer_norm_eps = {sizes["layer_norm_eps"]}
padding_idx = 0
[components.transformer.model.piece_encoder]
@architectures = "spacy-curated-transformers.BertWordpieceEncoder.v1"
[components.transformer.model.with_spans]
@architectures = "spacy-curated-transformers.WithStridedSpans.v1"
stride = {STRIDE}
window = {WINDOW}
"""

    def initialize_section(self) -> str:
        return f"""{INITIALIZE}[initialize.components.transformer]
[initialize.components.transformer.encoder_loader]
@model_loaders = "spacy-curated-transformers.HFTransformerEncoderLoader.v1"
name = "{self.checkpoint}"
[initialize.components.transformer.piecer_loader]
@model_loaders = "spacy-curated-transformers.HFPieceEncoderLoader.v1"
name = "{self.checkpoint}"
"""

    def listener(self) -> str:
        return (
            '@architectures = "spacy-curated-transformers.LastTransformerLayerListener.v1"\n'
            f'width = {self.width}\npooling = {{"@layers": "reduce_mean.v1"}}\nupstream = "transformer"\n'
        )

    def plain(self, texts: List[str]) -> np.ndarray:
        docs = self.nlp.pipe(texts)
        return np.stack([d._.trf_data.last_hidden_layer_state.dataXd.mean(axis=0) for d in docs])
