"""What each pipe of a training config consists of, as it stands in the file: one entry a pipe.

To offer another pipe in `init-config`, add its sections to `HEADS`.
"""

from string import Template
from typing import Dict, NamedTuple


class Sections(Template):
    """A piece of a config with blanks to fill, such as %lang: "$" belongs to the config itself."""

    delimiter = "%"


class Source(NamedTuple):
    """Where annotated texts come from.

    comment (str): What the paths in the config are.
    ending (str): How such files are called.
    sections (str): The two corpora.
    """

    comment: str
    ending: str
    sections: str


DOCS = Source(
    "Annotated texts in spaCy's binary form: `python -m spacy convert`, or DocBin.to_disk in Python.",
    "spacy",
    """\
[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}
# true: train on single sentences, with the tokens as annotated instead of the tokenizer's.
gold_preproc = false
# Above 0: texts of more tokens are cut into sentences, or left out. The encoder reads texts of any
# length, in windows; but a long text is trained on as a whole, and that takes memory.
max_length = 0
# Above 0: how many texts to read.
limit = 0
augmenter = null

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.dev}
gold_preproc = false
max_length = 0
limit = 0
augmenter = null
""",
)
QUESTIONS = Source(
    "Questions in the JSON of SQuAD 1.1 or 2.0, .json or .json.gz.",
    "json",
    """\
[corpora.train]
@readers = "spacy-bert.SquadCorpus.v1"
path = ${paths.train}
# Above 0: how many questions to read.
limit = 0
# What to do about answers that are not in the text where they should be: "warn" leaves them out, "error".
misplaced = "warn"

[corpora.dev]
@readers = "spacy-bert.SquadCorpus.v1"
path = ${paths.dev}
limit = 0
misplaced = "warn"
""",
)

# Finds the two texts of a pair before anything else reads the text.
SEGMENTS = """\
# Finds the two texts of a pair and marks them as BERT's segments A and B.
[components.segments]
factory = "segments"
# What stands between the two; spacy_bert.make_pair puts it there. A text without it is no pair.
separator = "\\n\\n"
"""

# The end of a head that reads a vector for each token: the mean of the token's pieces.
TOKENS = """
[components.%pipe.model.tok2vec]
@architectures = "spacy-bert.BertListener.v1"
width = ${components.bert.model.width}
upstream = "bert"
grad_factor = 1.0
"""

# The end of a head that reads one vector for the whole text.
POOLED = """
[components.%pipe.model.tok2vec]
@architectures = "spacy-bert.BertPooledListener.v1"
width = ${components.bert.model.width}
# What stands for a text: "pooler", "cls", "mean" or "max".
# %pooling here: %reason.
pooling = %pooling
upstream = "bert"
grad_factor = 1.0
"""

# The end of a head that reads a vector for each piece of each window.
PIECES = """
[components.%pipe.model.tok2vec]
@architectures = "spacy-bert.BertPieceListener.v1"
width = ${components.bert.model.width}
upstream = "bert"
grad_factor = 1.0
"""

# The end of a head that reads a vector for each token: of the pieces, the token's first one.
FIRST = f"""
# The vector of a token's first piece, as in the paper. spacy-bert.BertListener.v1 in this place: the
# mean of its pieces.{PIECES}"""

NER = """\
# Named entities, by spaCy's transition-based parser. Learns from doc.ents.
[components.%pipe]
factory = "%pipe"

[components.%pipe.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 64
maxout_pieces = 2
use_upper = false
nO = null
"""

BERT_NER = """\
# Named entities, by a tag for each token, as in the paper. Learns from doc.ents.
[components.%pipe]
factory = "%pipe"
# The tags of a label: "biluo" (begin, inside, last, unit) or "bio" (begin, inside).
scheme = "biluo"
# Above 0: how much probability to spread over the other tags, against overconfidence.
label_smoothing = 0.0
# Where to leave the entities with their scores: doc.spans["bert_ner"]; null for nowhere.
spans_key = "bert_ner"

[components.%pipe.model]
@architectures = "spacy-bert.BertTokenClassifier.v1"
dropout = 0.1
nO = null
"""

PARSER = """\
# Dependency trees and with them sentences. Learns from token.head and token.dep.
[components.%pipe]
factory = "%pipe"
# Labels that are rarer than this become "dep" in training. Lower it if the texts are few.
min_action_freq = 30

[components.%pipe.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "parser"
extra_state_tokens = false
hidden_width = 128
maxout_pieces = 3
use_upper = false
nO = null
"""

# A softmax over each token's vector; what it learns from, by pipe.
TAGGER = """
[components.%pipe.model]
@architectures = "spacy.Tagger.v2"
nO = null
normalize = false
"""

TAG = """\
# Part-of-speech tags. Learns from token.tag.
[components.%pipe]
factory = "%pipe"
# Above 0: how much probability to spread over the other tags, against overconfidence.
label_smoothing = 0.0
"""

MORPH = """\
# Morphological features and coarse parts of speech. Learns from token.morph and token.pos.
[components.%pipe]
factory = "%pipe"
label_smoothing = 0.0
"""

SENTENCES = """\
# Sentence boundaries. Learns from token.is_sent_start.
[components.%pipe]
factory = "%pipe"
"""

LEMMAS = """\
# Lemmas, by edit trees. Learns from token.lemma.
[components.%pipe]
factory = "%pipe"
# What to take where no tree fits: "orth" (the token itself), "lemma" (what is there) or null.
backoff = "orth"
# Trees that are rarer than this are left out in training. Lower it if the texts are few.
min_tree_freq = 3
top_k = 1
"""

SPAN_KEY = """
# Which spans it learns from and where it puts its own, in place of what is there: doc.spans["%spans_key"].
spans_key = "%spans_key"
"""
# Each of several such pipes in a pipeline needs a key of its own.
FIRST_SPANS_KEY = "sc"

SUGGESTER = """
# The spans among which it chooses: all of these lengths, in tokens. It finds none of another length.
[components.%pipe.suggester]
@misc = "spacy.ngram_suggester.v1"
sizes = %sizes
"""

SPAN_MODEL = """
[components.%pipe.model]
@architectures = "spacy.SpanCategorizer.v1"

[components.%pipe.model.reducer]
@layers = "spacy.mean_max_reducer.v1"
hidden_size = 128
"""

SPANCAT = f"""\
# Labelled spans that may overlap, several labels a span. Learns from doc.spans.
[components.%pipe]
factory = "%pipe"
# From which probability on a label is given.
threshold = 0.5
max_positive = null{SPAN_KEY}{SUGGESTER}{SPAN_MODEL}
[components.%pipe.model.scorer]
@layers = "spacy.LinearLogistic.v1"
nO = null
nI = null
"""

SPANCAT_SINGLE = f"""\
# Labelled spans that may overlap, one label a span. Learns from doc.spans.
[components.%pipe]
factory = "%pipe"
# What the spans without a label count in training, of which there are far more.
negative_weight = 1.0
allow_overlap = true{SPAN_KEY}{SUGGESTER}{SPAN_MODEL}
[components.%pipe.model.scorer]
@layers = "Softmax.v2"
nO = null
nI = null
"""

SPAN_FINDER = f"""\
# Spans without labels, by where they start and end. Learns from doc.spans.
[components.%pipe]
factory = "%pipe"
# From which probability on a token is the start, or the end, of a span.
threshold = 0.5
# Longest and shortest span to predict, in tokens; null for no limit.
max_length = 25
min_length = null{SPAN_KEY}
[components.%pipe.model]
@architectures = "spacy.SpanFinder.v1"

[components.%pipe.model.scorer]
@layers = "spacy.LinearLogistic.v1"
nO = 2
nI = null
"""

TEXTCAT = """\
# One label a text. Learns from doc.cats, where one label is 1.0 and all others are 0.0.
[components.%pipe]
factory = "%pipe"

[components.%pipe.model]
@architectures = "spacy-bert.BertTextCat.v1"
exclusive_classes = true
dropout = 0.1
nO = null
"""

TEXTCAT_MULTI = """\
# Any number of labels a text. Learns from doc.cats, where each label is 1.0 or 0.0.
[components.%pipe]
factory = "%pipe"
# From which probability on a label counts as given.
threshold = 0.5

[components.%pipe.model]
@architectures = "spacy-bert.BertTextCat.v1"
exclusive_classes = false
dropout = 0.1
nO = null
"""

REGRESSOR = """\
# One number a text. Learns from doc._.score, which a file keeps that is written with
# DocBin(store_user_data=True).
[components.%pipe]
factory = "%pipe"

[components.%pipe.model]
@architectures = "spacy-bert.BertRegressor.v1"
dropout = 0.1
"""

SPAN_QA = """\
# Answers to questions. Reads pairs of a question and a text; learns from doc.spans["answers"].
[components.%pipe]
factory = "%pipe"
# How many answers to name, and the longest one in pieces.
n_best = 20
max_answer_pieces = 30
# By how much the score of "no answer" has to be better than that of the best answer to be given;
# `evaluate-qa --tune` finds the best value. null: always give an answer, as SQuAD 1.1 has it.
null_threshold = 0.0

[components.%pipe.model]
@architectures = "spacy-bert.BertSpanQA.v1"
# None before the last layer, as in the paper's code, whatever [training] dropout says.
dropout = 0.0
"""

# Factory -> its sections, for everything that learns on the shared encoder's vectors.
HEADS: Dict[str, str] = {
    "ner": NER + TOKENS,
    "bert_ner": BERT_NER + FIRST,
    "textcat": TEXTCAT + POOLED,
    "textcat_multilabel": TEXTCAT_MULTI + POOLED,
    "text_regressor": REGRESSOR + POOLED,
    "span_qa": SPAN_QA + PIECES,
    "tagger": TAG + TAGGER + TOKENS,
    "morphologizer": MORPH + TAGGER + TOKENS,
    "parser": PARSER + TOKENS,
    "senter": SENTENCES + TAGGER + TOKENS,
    "trainable_lemmatizer": LEMMAS + TAGGER + TOKENS,
    "spancat": SPANCAT + TOKENS,
    "spancat_singlelabel": SPANCAT_SINGLE + TOKENS,
    "span_finder": SPAN_FINDER + TOKENS,
}
