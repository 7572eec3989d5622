"""HuggingFace's models of each kind of task: from records to a batch, and from outputs to predictions."""

from typing import Any, Dict, List, NamedTuple, Tuple

import torch
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    logging,
)

# That a head is new is no news here.
logging.set_verbosity_error()

Batch = Dict[str, torch.Tensor]
Records = List[Dict[str, Any]]
LONGEST = 512
# The settings of the paper's code for SQuAD. The stride is from the start of a window to that of the next.
WINDOW, STRIDE, LONGEST_ANSWER, N_BEST = 384, 128, 30, 20
INPUTS = ("input_ids", "token_type_ids", "attention_mask")


class Head:
    """A model with its tokenizer.

    checkpoint (str): Folder of the checkpoint.
    kind (str): The kind of the task.
    train (Records): The training examples, for the labels.
    """

    model: Any

    def __init__(self, checkpoint: str, kind: str, train: Records) -> None:
        self.checkpoint = checkpoint
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def batch(self, records: Records, *, gold: bool = False) -> Batch:
        """records (Records): Examples. gold (bool): With what is to be learnt.
        RETURNS (Batch): Arguments of the model."""
        raise NotImplementedError

    def decode(self, records: Records, outputs: Any) -> List[Any]:
        """records (Records): Examples. outputs (Any): Of the model. RETURNS (List[Any]): Predictions."""
        raise NotImplementedError

    def length(self, record: Dict[str, Any]) -> int:
        """RETURNS (int): How long an example is, to sort by."""
        raise NotImplementedError

    def pad(self, *texts: Any, **settings: Any) -> Any:
        settings = {"max_length": LONGEST, "truncation": True, **settings}
        return self.tokenizer(*texts, padding=True, return_tensors="pt", **settings)


class Texts(Head):
    """A label or a number for a text, or a pair."""

    def __init__(self, checkpoint: str, kind: str, train: Records) -> None:
        super().__init__(checkpoint, kind, train)
        self.labels = sorted({record["gold"] for record in train}) if kind == "label" else []
        self.model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint,
            num_labels=len(self.labels) or 1,
            problem_type="single_label_classification" if self.labels else "regression",
        )

    def batch(self, records: Records, *, gold: bool = False) -> Batch:
        columns = [list(column) for column in zip(*(record["texts"] for record in records))]
        inputs = dict(self.pad(*columns))
        if gold:
            targets = [record["gold"] for record in records]
            inputs["labels"] = (
                torch.tensor([self.labels.index(target) for target in targets])
                if self.labels
                else torch.tensor(targets)
            )
        return inputs

    def decode(self, records: Records, outputs: Any) -> List[Any]:
        if self.labels:
            return [self.labels[row] for row in outputs.logits.argmax(dim=-1).tolist()]
        return outputs.logits[:, 0].tolist()

    def length(self, record: Dict[str, Any]) -> int:
        return sum(map(len, record["texts"]))


class Similarity(Head):
    """The cosine of the mean vectors of two texts; there is nothing to learn."""

    def __init__(self, checkpoint: str, kind: str, train: Records) -> None:
        super().__init__(checkpoint, kind, train)
        self.model = AutoModel.from_pretrained(checkpoint, add_pooling_layer=False)

    def batch(self, records: Records, *, gold: bool = False) -> Batch:
        return dict(self.pad([record["texts"][i] for i in (0, 1) for record in records]))

    def decode(self, records: Records, outputs: Any) -> List[Any]:
        mask = self.batch(records)["attention_mask"][..., None]
        means = (outputs.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.cosine_similarity(*means.chunk(2)).tolist()

    def length(self, record: Dict[str, Any]) -> int:
        return sum(map(len, record["texts"]))


class Entities(Head):
    """A BIO tag for each word, read off its first piece."""

    def __init__(self, checkpoint: str, kind: str, train: Records) -> None:
        super().__init__(checkpoint, kind, train)
        labels = sorted({span[2] for record in train for span in record["gold"]})
        self.tags = ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]
        self.model = AutoModelForTokenClassification.from_pretrained(
            checkpoint, num_labels=len(self.tags)
        )

    def batch(self, records: Records, *, gold: bool = False) -> Batch:
        encoded = self.pad([record["words"] for record in records], is_split_into_words=True)
        inputs = dict(encoded)
        if gold:
            labels = torch.full(inputs["input_ids"].shape, -100)
            for i, record in enumerate(records):
                tags = ["O"] * len(record["words"])
                for start, end, label in record["gold"]:
                    tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
                for word, place in first_pieces(encoded, i).items():
                    labels[i, place] = self.tags.index(tags[word])
            inputs["labels"] = labels
        return inputs

    def decode(self, records: Records, outputs: Any) -> List[Any]:
        from tasks import spans_of

        encoded = self.pad([record["words"] for record in records], is_split_into_words=True)
        best = outputs.logits.argmax(dim=-1).tolist()
        predictions = []
        for i, record in enumerate(records):
            # A word without pieces has no tag; nor has one that was cut off.
            tags = ["O"] * len(record["words"])
            for word, place in first_pieces(encoded, i).items():
                tags[word] = self.tags[best[i][place]]
            predictions.append(spans_of(tags))
        return predictions

    def length(self, record: Dict[str, Any]) -> int:
        return sum(map(len, record["words"]))


def first_pieces(encoded: Any, row: int) -> Dict[int, int]:
    """encoded (Any): A batch of the tokenizer. row (int): A text in it.
    RETURNS (Dict[int, int]): Word -> place of its first piece."""
    places: Dict[int, int] = {}
    for place, word in enumerate(encoded.word_ids(row)):
        if word is not None:
            places.setdefault(word, place)
    return places


class Window(NamedTuple):
    """row (int): The question that it is of. inputs (Dict[str, List[int]]): What the model reads.
    context (Dict[int, Tuple[int, int]]): Place of each piece of the context -> its characters."""

    row: int
    inputs: Dict[str, List[int]]
    context: Dict[int, Tuple[int, int]]


class Answers(Head):
    """Start and end of an answer, in overlapping windows."""

    def __init__(self, checkpoint: str, kind: str, train: Records) -> None:
        super().__init__(checkpoint, kind, train)
        self.model = AutoModelForQuestionAnswering.from_pretrained(checkpoint)
        self.knows_none = not all(record["gold"] for record in train)

    def windows(self, records: Records) -> List[Window]:
        windows = []
        for row, record in enumerate(records):
            texts = record["question"], record["context"]
            n_question = len(self.tokenizer(texts[0], add_special_tokens=False).input_ids)
            encoded = self.tokenizer(
                *texts,
                max_length=WINDOW,
                truncation="only_second",
                # By how much they overlap. [CLS], [SEP] and [SEP] have no part in it.
                stride=max(0, WINDOW - n_question - 3 - STRIDE),
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            for i, offsets in enumerate(encoded["offset_mapping"]):
                parts = enumerate(encoded.sequence_ids(i))
                context = {place: tuple(offsets[place]) for place, part in parts if part == 1}
                inputs = {key: encoded[key][i] for key in INPUTS}
                windows.append(Window(row, inputs, context))
        return windows

    def batch(self, records: Records, *, gold: bool = False) -> Batch:
        windows = self.windows(records)
        batch = dict(self.tokenizer.pad([w.inputs for w in windows], return_tensors="pt"))
        if gold:
            starts, ends = zip(*(self.place(w, records[w.row]) for w in windows))
            batch["start_positions"] = torch.tensor(starts)
            batch["end_positions"] = torch.tensor(ends)
        return batch

    def place(self, window: Window, record: Dict[str, Any]) -> Tuple[int, int]:
        """RETURNS (Tuple[int, int]): Pieces of the first answer; those of [CLS] if the window holds none."""
        if not record["gold"]:
            return 0, 0
        text, start = record["gold"][0]
        end = start + len(text)
        context = window.context
        inside = [p for p, (a, b) in context.items() if a < end and b > start]
        first, last = min(a for a, _ in context.values()), max(b for _, b in context.values())
        return (inside[0], inside[-1]) if inside and first <= start and end <= last else (0, 0)

    def decode(self, records: Records, outputs: Any) -> List[Any]:
        best: Dict[int, Tuple[float, str]] = {}
        # That there is no answer is as likely as in the window that says so the least.
        none: Dict[int, float] = {}
        for i, (row, _, context) in enumerate(self.windows(records)):
            at_cls = float(outputs.start_logits[i, 0] + outputs.end_logits[i, 0])
            none[row] = min(at_cls, none.get(row, at_cls))
            starts, ends = (
                {p: float(logits[i, p]) for p in context}
                for logits in (outputs.start_logits, outputs.end_logits)
            )
            first, last = (
                sorted(side, key=lambda p, side=side: -side[p])[:N_BEST]  # type: ignore[misc]
                for side in (starts, ends)
            )
            for a in first:
                for b in last:
                    total = starts[a] + ends[b]
                    if a <= b < a + LONGEST_ANSWER and total > best.get(row, (-1e9, ""))[0]:
                        text = records[row]["context"][context[a][0] : context[b][1]]
                        best[row] = (total, text)
        if self.knows_none:
            best = {row: found for row, found in best.items() if found[0] >= none[row]}
        return [best.get(row, (0.0, ""))[1] for row in range(len(records))]

    def length(self, record: Dict[str, Any]) -> int:
        return len(record["context"]) + len(record["question"])
