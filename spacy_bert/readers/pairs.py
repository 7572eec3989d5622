"""`spacy-bert.PairsCorpus.v1`: texts or pairs of texts in files with columns, as of GLUE -> Examples."""

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

from spacy.tokens import Doc, DocBin
from spacy.training import Example

from ..files import replacing
from ..segments import make_pair
from ..targets import set_score
from .tables import Column, Row, Table

if TYPE_CHECKING:
    from spacy.language import Language

# Where a Doc keeps what the `id` column says of it: doc.user_data["id"].
ID_KEY = "id"
# Those of one text.
Labels = Tuple[str, ...]


class PairsCorpus:
    """Examples from a file with columns (`spacy-bert.PairsCorpus.v1`), for `[corpora.train]` and `[corpora.dev]`.

    A row becomes a Doc; if there is a second text, the pair Doc that `spacy_bert.make_pair` makes. A
    label becomes `doc.cats`, 1.0 for it and 0.0 for all others of the file, as spaCy's `textcat`
    learns from, and a list of labels (in JSON) 1.0 for each of them, as `textcat_multilabel` does; a number becomes `doc._.score`, as `text_regressor` learns from.

    path (Union[str, Path]): The file.
    text_a (Column): The column of the text, or of the first text of a pair: a name, or a number from 0.
    text_b (Optional[Column]): The column of the second text. A pair whose second text is empty is
        read as the single text that it is.
    label (Optional[Column]): The column of the label.
    score (Optional[Column]): The column of the number.
    id (Optional[Column]): A column that names the row; it ends up in `doc.user_data["id"]`.
    labels (Union[Dict[str, str], Sequence[str], None]): The labels that there are, or a map from what the
        file has to what they shall be called, such as {"0": "negative", "1": "positive"}. Any label
        that is in the file if not given.
    missing (Sequence[str]): Values that stand for no annotation, such as "-" or "nan". The text is read,
        without label or number.
    limit (int): Above 0: how many rows to read.
    format, header, quoting, bad_rows: How the file is to be read, see Table.
    RAISES: ValueError if a setting is none, or none is left to learn from.
    """

    def __init__(
        self,
        path: Union[str, Path],
        *,
        text_a: Column = "text_a",
        text_b: Optional[Column] = None,
        label: Optional[Column] = None,
        score: Optional[Column] = None,
        id: Optional[Column] = None,
        labels: Union[Dict[str, str], Sequence[str], None] = None,
        missing: Sequence[str] = (),
        limit: int = 0,
        format: Optional[str] = None,
        header: bool = True,
        quoting: Optional[str] = None,
        bad_rows: str = "error",
    ) -> None:
        self.table = Table(path, format=format, header=header, quoting=quoting, bad_rows=bad_rows)
        self.text_a, self.text_b, self.label, self.score, self.id = text_a, text_b, label, score, id
        self.labels: Optional[Dict[str, str]] = None
        if labels is not None:
            self.labels = dict(labels) if isinstance(labels, dict) else {x: x for x in labels}
        self.missing = set(missing)
        if limit < 0:
            raise ValueError(f"limit is {limit}, but it has to be a number of rows, or 0 for all.")
        self.limit = limit

    def __call__(self, nlp: "Language") -> Iterator[Example]:
        """nlp (Language): The pipeline; it tokenizes, and its `segments` knows the separator.
        YIELDS (Example): One a row, in the file's order. Both Docs are in the form of a pair.
        RAISES: OSError or ValueError if the file cannot be read or a row is wrong; the message names
            file and line."""
        rows = self.rows()
        trained = trained_labels(nlp)
        labels = self._labels(rows, trained)
        names = self._names(labels, trained)
        scores = [self._score(row) for row in rows]
        if self.text_b is not None:
            self._check_segments(nlp)
        for row, label, score in zip(rows, labels, scores, strict=True):
            predicted, reference = self._doc(nlp, row), self._doc(nlp, row)
            if label is not None:
                reference.cats = {name: float(name in label) for name in names}
            set_score(reference, score)
            yield Example(predicted, reference)

    def annotations(
        self, trained: Optional[Set[str]] = None
    ) -> List[Tuple[Optional[Labels], Optional[float]]]:
        """Check the file as a call does, without making Docs.

        trained (Optional[Set[str]]): The labels that there may be, if that is known.
        RETURNS (List[Tuple[Optional[Labels], Optional[float]]]): Labels and number of each row, in order.
        RAISES: OSError or ValueError as above."""
        rows = self.rows()
        for row in rows:
            self._texts(row)
        return list(zip(self._labels(rows, trained), map(self._score, rows)))

    def file_labels(self) -> List[str]:
        """RETURNS (List[str]): The labels as the file has them.
        RAISES: OSError or ValueError as above."""
        found = map(self._texts_of_labels, self.rows())
        return sorted({label for labels in found for label in labels or ()})

    def rows(self) -> List[Row]:
        """RETURNS (List[Row]): The rows of the file, up to `limit`.
        RAISES: OSError or ValueError as above, also for an id that comes twice."""
        asked = (self.text_a, self.text_b, self.label, self.score, self.id)
        rows = self.table.rows([column for column in asked if column is not None])
        rows = rows[: self.limit] if self.limit else rows
        if self.id is not None:
            lines: Dict[str, int] = {}
            for row in rows:
                name = str(row.values[self.id])
                if name in lines:
                    raise self.table.error(
                        row.line,
                        f"the id {name!r} is that of line {lines[name]} already. Make ids unique, or "
                        f"name no id column.",
                    )
                lines[name] = row.line
        return rows

    def _texts(self, row: Row) -> List[str]:
        texts = []
        for column in (self.text_a, self.text_b):
            value = "" if column is None else row.values[column]
            if not isinstance(value, str):
                raise self.table.error(
                    row.line,
                    f"the text in column {column!r} is {value!r}, which is no string. Name the "
                    f"column that holds the text.",
                )
            texts.append(value.strip())
        return texts

    def _doc(self, nlp: "Language", row: Row) -> Doc:
        texts = self._texts(row)
        try:
            doc = nlp.make_doc(texts[0]) if self.text_b is None else make_pair(nlp, *texts)
        except ValueError as error:
            raise self.table.error(row.line, str(error)) from error
        if self.id is not None:
            doc.user_data[ID_KEY] = str(row.values[self.id])
        return doc

    def _texts_of_labels(self, row: Row) -> Optional[Labels]:
        """As the file has them; None where there is no annotation."""
        if self.label is None:
            return None
        value = row.values[self.label]
        if isinstance(value, list):
            known = [one for one in value if not self._is_missing(one)]
            if value and not known:
                return None
            return tuple(dict.fromkeys(self._text_of_label(row, one) for one in known))
        return None if self._is_missing(value) else (self._text_of_label(row, value),)

    def _is_missing(self, label: Any) -> bool:
        return _as_text(label) in self.missing

    def _text_of_label(self, row: Row, value: Any) -> str:
        if isinstance(value, (dict, list)):
            raise self.table.error(
                row.line,
                f"the label in column {self.label!r} is {str(value)[:60]}. A text, number or list of them was "
                f"expected.",
            )
        text = _as_text(value)
        if not text:
            raise self.table.error(
                row.line,
                f'the label in column {self.label!r} is empty. Add it; or set missing = [""] (--missing "") '
                f"to read such texts without a label.",
            )
        return text

    def _label(self, row: Row) -> Optional[Labels]:
        """As they are to be called."""
        texts = self._texts_of_labels(row)
        if self.labels is None or texts is None:
            return texts
        for text in texts:
            if text not in self.labels:
                raise self.table.error(
                    row.line,
                    f"the label in column {self.label!r} is {text!r}, but labels lists "
                    f"{', '.join(map(repr, self.labels))}. Add it there, or to missing.",
                )
        return tuple(dict.fromkeys(self.labels[text] for text in texts))

    def _score(self, row: Row) -> Optional[float]:
        if self.score is None:
            return None
        value = row.values[self.score]
        text = "" if value is None else str(value).strip()
        if text in self.missing:
            return None
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score) or isinstance(value, bool):
            raise self.table.error(
                row.line,
                f"the number in column {self.score!r} is {text!r}, but a finite number is expected, with a "
                f"decimal point. Correct it; or set missing = [{text!r}] (--missing {text!r}) to read such "
                f"texts without a number.",
            )
        return score

    def _labels(self, rows: Sequence[Row], trained: Optional[Set[str]]) -> List[Optional[Labels]]:
        """The labels of each row, as they are to be called."""
        labels = [self._label(row) for row in rows]
        if self.label is None or trained is None:
            return labels
        for row, of_row in zip(rows, labels, strict=True):
            for label in set(of_row or ()) - trained:
                raise self.table.error(
                    row.line,
                    f"the label {label!r} is none of those that the text classifier was "
                    f"trained with ({', '.join(sorted(trained))}), so it can never be right. "
                    f"Train with texts of all labels; name labels the same in all files (the "
                    f"setting labels can rename them); or leave such texts out.",
                )
        return labels

    def _names(self, labels: Sequence[Optional[Labels]], trained: Optional[Set[str]]) -> List[str]:
        """All labels: those that were listed, or are in the file; and those that were trained, which a
        file of few rows may lack."""
        if self.label is None:
            return []
        found = {label for of_row in labels for label in of_row or ()}
        listed = list(dict.fromkeys((self.labels or {}).values())) or sorted(found)
        if trained is not None:
            listed = [name for name in listed if name in trained]
        return [*listed, *sorted((trained or set()) - set(listed))]

    def _check_segments(self, nlp: "Language") -> None:
        if not any(hasattr(pipe, "marks_segments") for _, pipe in nlp.components):
            warnings.warn(
                f"{self.table.path} holds pairs of texts, but the pipeline has no component `segments`: "
                f"saved and loaded, it will read pairs from spaCy's files as single texts. Add it as "
                f"the first component, and to annotating_components.",
                stacklevel=3,
            )


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else str(value).lower()


def trained_labels(nlp: "Language") -> Optional[Set[str]]:
    """nlp (Language): A pipeline.
    RETURNS (Optional[Set[str]]): The labels of its text classifiers that were initialised; None if there are none."""
    from spacy.pipeline import TextCategorizer

    found: Set[str] = set()
    for _, pipe in nlp.components:
        if isinstance(pipe, TextCategorizer):
            found.update(pipe.labels)
    return found or None


def save_pairs(corpus: PairsCorpus, nlp: "Language", path: Union[str, Path]) -> int:
    """Write what a corpus holds to spaCy's binary format, which `spacy train` and `spacy evaluate` read.

    corpus (PairsCorpus): The corpus.
    nlp (Language): The pipeline whose tokenizer and separator to use.
    path (Union[str, Path]): The file to write, such as train.spacy.
    RETURNS (int): How many texts it holds.
    RAISES: OSError if the disk does not take it; or as a call of the corpus does.
    """
    # Numbers and ids are attributes of Docs, which a DocBin leaves out unless told to.
    binary = DocBin(store_user_data=True)
    for example in corpus(nlp):
        binary.add(example.reference)
    with replacing(Path(path)) as temporary:
        binary.to_disk(temporary)
    return len(binary)


__all__: Any = ["PairsCorpus", "save_pairs", "trained_labels"]
