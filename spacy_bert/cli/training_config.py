"""A BERT's sizes and a list of pipes -> the text of a training config, with comments."""

import difflib
import json
import shlex
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from .pipe_sections import (
    DOCS,
    FIRST,
    FIRST_SPANS_KEY,
    HEADS,
    QUESTIONS,
    SEGMENTS,
    TOKENS,
    Sections,
)

if TYPE_CHECKING:
    from ..encoder import BertConfig
    from .pooling import Pooling
    from .training_data import TrainingData

TEMPLATE = """\
# Training config for spaCy: %{pipes} on a BERT of %{depth} layers, width %{width}.
#
#   python -m spacy train %{file}%{data_options}%{gpu_option} --output training
#
# Change settings here or, for one run, on the command line: --training.eval_frequency 50

[paths]
# %{data}
train = %{train}
dev = %{dev}
# The BERT to start from: a folder in HuggingFace's format, or the id of one on its hub. It is
# read once, when training starts; the trained pipeline carries the weights itself.
checkpoint = %{checkpoint}

[system]
seed = 0
# For a GPU "pytorch": spaCy's arrays and the encoder then share one pool of memory.
gpu_allocator = %{gpu_allocator}

[nlp]
lang = %{lang}
pipeline = %{pipeline}
# How many texts nlp.pipe, and so each evaluation, works on at a time. The more there are, the
# better they can be sorted by length; but they are all in memory, with their vectors.
batch_size = 128
disabled = []
before_creation = null
after_creation = null
after_pipeline_creation = null

[nlp.tokenizer]
%{tokenizer}

[nlp.vectors]
@vectors = "spacy.Vectors.v1"

[components]

%{segments}# The encoder. All pipes behind it share it: it runs once for a text, and in training each of them
# sends its gradient back into it.
[components.bert]
factory = "bert"
# Make its vectors those of the Doc: doc.tensor, token.vector, doc.similarity().
set_tensor = true
# What else to leave on each Doc: "tokens" (vectors that DocBin keeps), "rows" (those of pieces),
# "pooler", "max".
keep = []
# What predictions are computed in: "fp32"; "bf16" or "int8", which are faster on most processors and
# differ a little; or "auto": the fastest, measured once.
inference = "fp32"

[components.bert.model]
%{bert}
%{heads}
[corpora]

%{corpora}
[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
seed = ${system.seed}
gpu_allocator = ${system.gpu_allocator}
# Dropout in the heads; the encoder has its own, above.
dropout = 0.1
# Into how many parts to split a batch, to compute one after the other: the step is the same, the
# memory less. Raise it when memory runs out.
accumulate_gradient = 1
# Where to stop: where the learning rate has come down to zero. Change it there, below. (The other
# way round, spaCy's `debug data` and nlp.resume_training() could not make the optimizer.)
max_steps = ${training.optimizer.learn_rate.total_steps}
# Above 0: stop after so many times through the data, even if the learning rate is still high.
max_epochs = 0
# Above 0: stop after so many steps without a better score. Not too few: scores often rise once
# more towards the end, as the learning rate falls.
patience = 800
# Steps from one evaluation on the dev texts to the next. The best pipeline is kept (model-best).
eval_frequency = %{eval_frequency}
# Pipes that are not to learn, and pipes whose annotations others need while they learn.
frozen_components = []
annotating_components = %{annotating}
before_to_disk = null
before_update = null

# Which pipeline is the best? Empty, as here: the usual scores of all pipes count, each pipe the
# same. Weights such as "ents_f = 0.8" change that; null takes a score out of the table, too.
[training.score_weights]
%{score_weights}
[training.batcher]
@batchers = "spacy.batch_by_words.v1"
size = 1000
tolerance = 0.2
discard_oversize = false
get_length = null

[training.optimizer]
@optimizers = "spacy-bert.AdamW.v1"
# The heads begin with random weights, so they learn faster than the encoder, by this factor.
heads_scale = %{heads_scale}
# Below 1: each layer of the encoder learns more slowly than the one above it, by this factor.
layer_decay = %{layer_decay}
weight_decay = 0.01
beta1 = 0.9
beta2 = 0.999
eps = 1e-6
grad_clip = 1.0
use_averages = false

# The learning rate of the encoder: up from zero at first, then down to zero at the last step.
[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"
# %{rate_reason}
initial_rate = %{rate}
%{steps_reason}
warmup_steps = %{warmup_steps}
total_steps = %{total_steps}

[training.logger]
@loggers = "spacy.ConsoleLogger.v1"
# true: show a progress bar on the way to the next evaluation.
progress_bar = false

[initialize]
vectors = null
init_tok2vec = null
vocab_data = null
lookups = null
tokenizer = %{initialize_tokenizer}
after_init = null
# To train the heads alone, list "bert" in frozen_components and in annotating_components, and put
# the section below in place of this line: spaCy does not initialise what is frozen.
before_init = null
# [initialize.before_init]
# @callbacks = "spacy-bert.LoadCheckpoint.v1"
# checkpoint = ${paths.checkpoint}
%{frozen_revision}
[initialize.components]

[initialize.components.bert]
checkpoint = ${paths.checkpoint}
%{revision}"""

STEPS = """\
# Fine-tuning takes three or four times through the data, and a step reads about 1000 words: 2000
# steps are four times through 500,000 words. Fit them to your data; the warm-up should take a
# twentieth to a tenth of them."""
FITTED_STEPS = """\
# About %{times} times through the %{n_words} words of %{n_texts} texts in the training file, as a step reads about
# 1000 words. Three or four times are usual, and more where there are few texts."""

# A setting of the encoder -> what to say before it.
BERT_COMMENTS = {
    "vocab_size": "The sizes of the checkpoint's network; what is loaded has to agree with them.",
    "hidden_dropout": "Dropout in training. These two are yours to choose.",
    "causal": "true: each piece sees only what is before it, which has to be as in the pretraining.",
    "layers": """\
Whose vectors to give, side by side: -1 is the last layer, 0 the embeddings. With more than one of
them, the width that listeners declare is so many times that of the encoder.""",
    "window": """\
How many WordPiece pieces the encoder reads at once. A longer text is read in windows that start
`stride` pieces apart, so that they overlap; nothing is cut off. Shorter windows take less time
and memory, but show each word less of what is around it.""",
    "batch_pieces": "About how many pieces to compute together; in prediction, fewer take less memory.",
    "mixed_precision": """\
Train with matrix products in bfloat16: "auto" where the hardware has instructions for them (recent
server processors, GPUs from 2020 on), true or false. The weights stay in 32 bits.""",
    "gradient_checkpointing": "true: less memory in training, for about a third more time.",
}

# Least width -> the encoder's peak learning rate, and where it comes from; the widest first.
RATES: Tuple[Tuple[int, str, str], ...] = (
    (1024, "3e-5", "The paper tried 2e-5, 3e-5 and 5e-5; a large BERT is unstable at higher ones."),
    (768, "5e-5", "The paper tried 2e-5, 3e-5 and 5e-5."),
    (
        0,
        "1e-4",
        "The paper tried 2e-5 to 5e-5 for BERT-base; small ones take up to 3e-4 (Turc 2019).",
    ),
)


# Which heads -> how much faster than the encoder they learn, and the decay of the rate from layer to
# layer. Measured with a MiniLM: on WNUT-17 spaCy's parser-like `ner` was better at five times the
# rate than at one or ten, and with lower layers that learn more slowly; a single linear layer on the
# vector of a text (SST-2) bears more, and wants all layers to learn.
HEADS_ON_TEXTS = ("10.0", "1.0")
HEADS_ON_TOKENS = ("5.0", "0.85")


def training_config(
    config: "BertConfig",
    pipes: Sequence[str],
    *,
    checkpoint: Optional[str],
    pooling: "Pooling",
    lang: str = "en",
    gpu: bool = False,
    revision: Optional[str] = None,
    train: "Optional[TrainingData]" = None,
    dev: Optional[str] = None,
    spans_key: Optional[str] = None,
    file: str = "config.cfg",
) -> str:
    """Write a training config.

    config (BertConfig): The sizes of the checkpoint.
    pipes (Sequence[str]): The pipes, as `check_pipes` returns them.
    checkpoint (Optional[str]): Folder or hub id of the checkpoint.
    pooling (Pooling): What stands for a whole text.
    lang (str): Code of the tokenizer's language.
    gpu (bool): Whether to train on a GPU.
    revision (Optional[str]): Revision of the hub id.
    train (Optional[TrainingData]): What it will be trained on, if that is known.
    dev (Optional[str]): Path of the texts to evaluate on, if that is known.
    spans_key (Optional[str]): Where in doc.spans the spans are, if it is not where spaCy has them.
    file (str): Where the config will be, for its first comment.
    RETURNS (str): The text of the config.
    """
    from spacy.util import get_lang_class

    heads = [pipe for pipe in pipes if pipe != "segments"]
    annotating = [pipe for pipe in pipes if pipe == "segments"]
    rate, rate_reason = next(row[1:] for row in RATES if config.width >= row[0])
    defaults = get_lang_class(lang).default_config
    on_texts = all(head.startswith("text") or head == "span_qa" for head in heads)
    # Answers have files of their own, and windows as the paper has them.
    source = QUESTIONS if heads == ["span_qa"] else DOCS
    windows = (384, 128) if heads == ["span_qa"] else None
    heads_scale, layer_decay = HEADS_ON_TEXTS if on_texts else HEADS_ON_TOKENS
    spans_keys = spans_keys_of(heads, first=spans_key)
    total_steps = train.total_steps if train else 2000
    reason = STEPS
    if train:
        times = f"{train.times:,.0f}" if train.times >= 10 else f"{train.times:.2g}"
        shown = {"times": times, "n_words": f"{train.n_words:,}"}
        reason = Sections(FITTED_STEPS).substitute(shown, n_texts=f"{train.n_texts:,}")
    missing = [name for name, there in (("train", train), ("dev", dev)) if there is None]
    pinned = f"revision = {_value(revision)}\n" if revision else ""
    blanks = {
        "pipes": ", ".join(pipes),
        "depth": config.depth,
        "width": config.width,
        "file": shlex.quote(file) if file.isprintable() else "config.cfg",
        "gpu_option": " --gpu-id 0" if gpu else "",
        "checkpoint": _value(checkpoint),
        "gpu_allocator": _value("pytorch" if gpu else None),
        "lang": _value(lang),
        "pipeline": _value([*annotating, "bert", *heads]),
        "tokenizer": _keys(defaults["nlp"]["tokenizer"]),
        "initialize_tokenizer": _value(defaults["initialize"]["tokenizer"]),
        "segments": f"{SEGMENTS}\n" if annotating else "",
        "bert": _bert_section(config, windows),
        "data": source.comment,
        "data_options": "".join(f" --paths.{name} {name}.{source.ending}" for name in missing),
        "train": _value(train.path if train else None),
        "dev": _value(dev),
        "steps_reason": reason,
        "total_steps": str(total_steps),
        "warmup_steps": str(total_steps // 20),
        "score_weights": _span_weights([*spans_keys.values()]),
        "eval_frequency": str(min(100, total_steps // 10)),
        "corpora": source.sections,
        "heads": "\n".join(
            _head_sections(pipe, pooling, config.causal, spans_keys.get(pipe, ""), train)
            for pipe in heads
        ),
        "annotating": _value(annotating),
        "heads_scale": heads_scale,
        "layer_decay": layer_decay,
        "rate": rate,
        "rate_reason": rate_reason,
        "revision": pinned,
        "frozen_revision": f"# {pinned}" if pinned else "",
    }
    return Sections(TEMPLATE).substitute(blanks)


def spans_keys_of(pipes: Sequence[str], *, first: Optional[str] = None) -> Dict[str, str]:
    """pipes (Sequence[str]): Pipes.
    first (Optional[str]): Key of the first of them; None: spaCy's usual one.
    RETURNS (Dict[str, str]): Those that learn from doc.spans -> the key there."""
    of_spans = [pipe for pipe in pipes if "%spans_key" in HEADS.get(pipe, "")]
    return {pipe: pipe if i else first or FIRST_SPANS_KEY for i, pipe in enumerate(of_spans)}


def _span_weights(keys: Sequence[str]) -> str:
    """What scores of spans weigh: spaCy takes them for those of its usual key."""
    weights = "".join(
        f"spans_{key}_f = 1.0\nspans_{key}_p = 0.0\nspans_{key}_r = 0.0\n"
        for key in keys
        if key != FIRST_SPANS_KEY
    )
    if keys and FIRST_SPANS_KEY not in keys:
        weights += "".join(f"spans_{FIRST_SPANS_KEY}_{score} = null\n" for score in "fpr")
    return weights


def check_pipes(pipes: Sequence[str]) -> List[str]:
    """Check the names of the pipes, and put them in order.

    pipes (Sequence[str]): What was asked for; "bert" may be among them.
    RETURNS (List[str]): "segments" first, if it is there, and the others as they came.
    RAISES: ValueError for a name that is unknown or there twice, or if there is nothing to train.
    """
    known = [*HEADS, "segments"]
    for pipe in pipes:
        if pipe not in (*known, "bert"):
            close = difflib.get_close_matches(pipe, known, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            if " " in pipe:
                hint = f"Put commas between names: {','.join(pipe.split())}. "
            raise ValueError(
                f"--pipeline names {pipe!r}, but a config can be written for "
                f"{', '.join(known)}. {hint}Other pipes can be added to the config by hand."
            )
        if pipes.count(pipe) > 1:
            raise ValueError(
                f"--pipeline names {pipe!r} {pipes.count(pipe)} times, but a name can be in a pipeline "
                f"once. To have a second one, copy its sections in the config under another name."
            )
    heads = [pipe for pipe in pipes if pipe in HEADS]
    if not heads:
        raise ValueError(
            f"--pipeline names {', '.join(pipes) or 'nothing'}, but no pipe that learns on the "
            f"encoder. Name one or more of {', '.join(HEADS)}."
        )
    return ["segments", *heads] if "segments" in pipes else heads


def _bert_section(config: "BertConfig", windows: Optional[Tuple[int, int]]) -> str:
    """The settings of the encoder, under their comments. Length and stride of windows, if they are
    not to be as long as can be."""
    from ..pipeline.assemble import bert_settings

    settings: Dict[str, Any] = {
        **bert_settings(config),
        "layers": [-1],
        "batch_pieces": 4096,
        "mixed_precision": "auto",
        "gradient_checkpointing": False,
    }
    if windows:
        settings["window"] = min(windows[0], config.max_positions)
        settings["stride"] = min(windows[1], settings["window"] - 2)
    lines = []
    for key, value in settings.items():
        lines += [f"# {line}" for line in BERT_COMMENTS.get(key, "").splitlines()]
        lines.append(f"{key} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _head_sections(
    pipe: str, pooling: "Pooling", causal: bool, spans_key: str, train: "Optional[TrainingData]"
) -> str:
    sections = HEADS[pipe]
    if causal:
        # Left to right, the first piece of a token has not seen the rest of it.
        sections = sections.replace(FIRST, TOKENS)
    longest = train.longest_span(spans_key) if train else 3
    sizes = _value([*range(1, longest + 1)])
    return Sections(sections).substitute(
        pipe=pipe,
        pooling=_value(pooling.name),
        reason=pooling.reason,
        spans_key=spans_key,
        sizes=sizes,
    )


def _keys(section: Dict[str, Any]) -> str:
    return "\n".join(f"{key} = {_value(value)}" for key, value in section.items())


def _value(value: Any) -> str:
    """A value as a config has it: JSON."""
    return json.dumps(value, ensure_ascii=False)
