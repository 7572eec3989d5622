"""Which vector stands for a text."""

import json
import shutil

import pytest

from spacy_bert import load_checkpoint
from spacy_bert.cli.pooling import POOLING_FILE, choose_pooling, read_pooling


def write(folder, content):
    file = folder / POOLING_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize(
    "content, expected",
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken"}, None),
        ({}, None),
    ],
)
def test_reads_sentence_transformers(tmp_path, content, expected):
    """Catches a key of sentence-transformers that is misread."""
    assert read_pooling(write(tmp_path, content)) == expected


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_damaged_file_is_named(tmp_path, content):
    """Catches a damaged file that is taken for one that says nothing."""
    with pytest.raises(ValueError, match="1_Pooling.*not a JSON object"):
        read_pooling(write(tmp_path, content))


def test_the_real_checkpoint_is_a_sentence_encoder(minilm_path):
    """Catches a pooler that wins over what the checkpoint was trained for: it has both."""
    checkpoint = load_checkpoint(minilm_path)
    assert checkpoint.has_pooler
    assert choose_pooling(checkpoint).name == "mean"


def test_weights_decide_otherwise(make_checkpoint, tmp_path):
    """Catches a random pooler that is taken for a pretrained one."""
    with_pooler, without = make_checkpoint(), make_checkpoint(parts=["mlm"])
    assert choose_pooling(load_checkpoint(with_pooler)).name == "pooler"
    assert choose_pooling(load_checkpoint(without)).name == "mean"
    shutil.copytree(without, tmp_path / "copy")
    write(tmp_path / "copy", {"pooling_mode_cls_token": True})
    assert choose_pooling(load_checkpoint(tmp_path / "copy")).name == "cls"


def test_asks_the_hub_with_the_revision(make_checkpoint, tmp_path, monkeypatch):
    """Catches a sentence encoder on the hub that is taken for any BERT, and a checkpoint without
    this file, or without a connection, that is an error."""
    hub = pytest.importorskip("huggingface_hub")
    checkpoint = load_checkpoint(make_checkpoint())
    checkpoint.source = "some/encoder"
    file = write(tmp_path, {"pooling_mode_mean_tokens": True})
    asked = []

    def download(*args, **kwargs):
        asked.append((args, kwargs))
        return str(file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert choose_pooling(checkpoint, "v1").name == "mean"
    assert asked == [(("some/encoder", POOLING_FILE), {"revision": "v1"})]

    def fail(*args, **kwargs):
        raise OSError("404")

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    assert choose_pooling(checkpoint).name == "pooler"
