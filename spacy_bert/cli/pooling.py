"""Which vector should stand for a text that a classifier reads: what a checkpoint deserves."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from ..encoder import Checkpoint

# Where sentence-transformers keeps how a text's vector is made of its pieces'.
POOLING_FILE = "1_Pooling/config.json"
# Its names -> ours. (Dividing by the root of the length changes a vector's length only.)
MODES = {
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "cls": ("cls", "pooling_mode_cls_token"),
    "max": ("max", "pooling_mode_max_tokens"),
    "mean_sqrt_len_tokens": ("mean", "pooling_mode_mean_sqrt_len_tokens"),
}


class Pooling(NamedTuple):
    """A choice, and the reason for it.

    name (str): "pooler", "cls", "mean" or "max".
    reason (str): Half a sentence for the comment in a config.
    """

    name: str
    reason: str


def choose_pooling(checkpoint: "Checkpoint", revision: Optional[str] = None) -> Pooling:
    """Choose by what the checkpoint was trained for.

    checkpoint (Checkpoint): The checkpoint.
    revision (Optional[str]): Its revision, if it came from the hub.
    RETURNS (Pooling): The choice.
    RAISES: ValueError if the checkpoint's own word on it cannot be read.
    """
    file = _find(checkpoint.source, revision)
    declared = None if file is None else read_pooling(file)
    if declared:
        return Pooling(
            declared, f"the checkpoint is a sentence encoder, trained so ({POOLING_FILE})"
        )
    if checkpoint.has_pooler:
        # Devlin et al. 2018, section 4.1; the paper's code takes [CLS] through the pooler.
        return Pooling("pooler", "[CLS] through the pooler of the checkpoint, as in the paper")
    # Without next-sentence prediction nothing ever trained [CLS] to say what a text is about,
    # while masked words trained every other row.
    return Pooling("mean", "the checkpoint has no pooler, so its [CLS] may never have been trained")


def read_pooling(file: Path) -> Optional[str]:
    """Read what sentence-transformers wrote.

    file (Path): The file.
    RETURNS (Optional[str]): "mean", "cls" or "max"; None if it is none of these.
    RAISES: ValueError if the file is damaged.
    """
    try:
        data = dict(json.loads(file.read_text(encoding="utf8")))
    except (ValueError, TypeError):
        raise ValueError(
            f"{file} says how the checkpoint makes the vector of a text, but it is not a JSON "
            f"object. Fetch it again, or remove it to choose a pooling by the weights."
        ) from None
    for mode, (name, key) in MODES.items():
        if data.get(key) is True or data.get("pooling_mode") == mode:
            return name
    return None


def _find(source: str, revision: Optional[str]) -> Optional[Path]:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / POOLING_FILE if (folder / POOLING_FILE).is_file() else None
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(source, POOLING_FILE, revision=revision))
    except Exception:  # it is not there, mostly; the hub's errors change with its versions
        return None
