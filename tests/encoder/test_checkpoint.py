"""Checkpoints: to and from HuggingFace, and everything that can be wrong with one."""

import errno
import itertools
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import spacy_bert
from spacy_bert.encoder import (
    BertEncoder,
    Checkpoint,
    MaskedLMHead,
    NextSentenceHead,
    Pooler,
    load_checkpoint,
    save_checkpoint,
)
from spacy_bert.encoder import checkpoint as module
from spacy_bert.encoder.names import TIED, name_table
from spacy_bert.wordpiece import WordPieceTokenizer

transformers = pytest.importorskip("transformers")

WORDS = "bert.embeddings.word_embeddings.weight"
UP = "bert.encoder.layer.1.intermediate.dense.weight"


@pytest.fixture
def checkpoint(tiny_config, tokenizer):
    """All parts, random."""
    torch.manual_seed(0)
    shapes = {e.ours: (len(e.theirs) * e.shape[0], *e.shape[1:]) for e in name_table(tiny_config)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    return Checkpoint(tiny_config, tokenizer, weights, "here")


@pytest.fixture
def directory(tmp_path, checkpoint):
    """A good checkpoint, for tests to spoil."""
    save_checkpoint(tmp_path / "checkpoint", checkpoint)
    return tmp_path / "checkpoint"


@pytest.fixture
def change(directory):
    """Save the weights of the good checkpoint again, changed."""

    def rewrite(edit, *, name="model.safetensors"):
        path = directory / "model.safetensors"
        tensors = edit({n: t.clone() for n, t in load_file(path).items()})
        path.unlink()
        if name.endswith(".safetensors"):
            save_file(tensors, directory / name, metadata={"format": "pt"})
        else:
            torch.save(tensors, directory / name)
        return directory

    return rewrite


def without(checkpoint, *parts):
    weights = {n: t for n, t in checkpoint.weights.items() if n.split(".")[0] not in parts}
    return Checkpoint(checkpoint.config, checkpoint.tokenizer, weights, checkpoint.source)


def assert_same(found, expected):
    assert found.config == expected.config
    assert found.tokenizer == expected.tokenizer
    assert set(found.weights) == set(expected.weights)
    for name, tensor in expected.weights.items():
        assert found.weights[name].dtype == torch.float32
        assert torch.equal(found.weights[name], tensor), name


def in_subprocess(code):
    """Run code in a fresh interpreter that finds the package."""
    root = Path(spacy_bert.__file__).parents[1]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)


# The table and the modules


def test_names_and_shapes_are_those_of_the_modules(tiny_config):
    """Catches a tensor that the table lacks, or that no module has any more."""
    modules = {
        "encoder": BertEncoder(tiny_config),
        "pooler": Pooler(tiny_config),
        "mlm": MaskedLMHead(tiny_config),
        "nsp": NextSentenceHead(tiny_config),
    }
    expected = {
        f"{part}.{name}": tuple(tensor.shape)
        for part, network in modules.items()
        for name, tensor in network.state_dict().items()
    }
    table = name_table(tiny_config)
    assert {e.ours: (len(e.theirs) * e.shape[0], *e.shape[1:]) for e in table} == expected
    assert len(table) == len(expected)


def test_names_and_shapes_are_those_of_huggingface(tiny_config, make_hf):
    """Catches a name that HuggingFace does not use."""
    theirs = make_hf(transformers.BertForPreTraining).state_dict()
    expected = {n: tuple(t.shape) for n, t in theirs.items() if n not in TIED}
    table = name_table(tiny_config)
    assert {name: e.shape for e in table for name in e.theirs} == expected


def test_parts(checkpoint):
    """Catches a part that its module cannot load, or that is said to be there when it is not."""
    for part, network in [("encoder", BertEncoder), ("pooler", Pooler), ("nsp", NextSentenceHead)]:
        network(checkpoint.config).load_state_dict(checkpoint.part(part))
    MaskedLMHead(checkpoint.config).load_state_dict(checkpoint.part("mlm"))
    assert checkpoint.has_pooler and checkpoint.has_mlm and checkpoint.has_nsp
    assert not without(checkpoint, "pooler").has_pooler
    assert not without(checkpoint, "mlm").has_mlm
    assert not without(checkpoint, "nsp").has_nsp
    assert without(checkpoint, "nsp").part("nsp") == {}


# To and from


def test_save_and_load(checkpoint, directory):
    """Catches a weight, a size or a piece that does not survive being saved."""
    loaded = load_checkpoint(directory)
    assert_same(loaded, checkpoint)
    assert loaded.source == str(directory)


@pytest.mark.parametrize(
    "kind", ["BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction"]
)
def test_huggingface_opens_what_we_save(kind, make_hf, via_disk, tmp_path):
    """Catches a name, a prefix, a row order or a config that HuggingFace understands in another
    way: what its model holds in the end must be what it held before the trip through ours."""
    theirs = make_hf(getattr(transformers, kind))
    saved = via_disk(theirs)
    assert (saved.has_pooler, saved.has_mlm, saved.has_nsp) == {
        "BertModel": (True, False, False),
        "BertForPreTraining": (True, True, True),
        "BertForMaskedLM": (False, True, False),
        "BertForNextSentencePrediction": (True, False, True),
    }[kind]
    save_checkpoint(tmp_path / "ours", saved)
    config = json.loads((tmp_path / "ours/config.json").read_text())
    assert config["architectures"] == [kind]
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("hf", "ours")]
    assert files[0].keys() == files[1].keys()
    again, info = getattr(transformers, kind).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values()), info
    expected = theirs.state_dict()
    assert expected.keys() == again.state_dict().keys()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("absent", ["pooler", "mlm", "nsp", "pooler mlm", "mlm nsp", "pooler nsp"])
def test_absent_parts_are_not_written(absent, checkpoint, tmp_path):
    """Catches heads that are made up on the way: they would be taken for trained ones."""
    expected = without(checkpoint, *absent.split())
    save_checkpoint(tmp_path / "some", expected)
    assert_same(load_checkpoint(tmp_path / "some"), expected)


def test_huggingface_encoder_in_what_we_save(checkpoint, directory, tmp_path):
    """Catches a full checkpoint out of which HuggingFace's plain encoder cannot be loaded."""
    _, info = transformers.BertModel.from_pretrained(directory, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert all(name.startswith("cls.") for name in info["unexpected_keys"])


def test_huggingface_tokenizer_in_what_we_save(directory, tokenizer):
    """Catches a checkpoint whose vocabulary HuggingFace does not find."""
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    assert theirs.get_vocab() == {piece: i for i, piece in enumerate(tokenizer.pieces)}


def test_padding_piece_of_another_vocabulary(checkpoint, tmp_path):
    """Catches a config.json that names a padding piece which the vocabulary has elsewhere."""
    pieces = checkpoint.tokenizer.pieces[::-1]
    other = Checkpoint(checkpoint.config, WordPieceTokenizer(pieces), checkpoint.weights, "here")
    save_checkpoint(tmp_path / "other", other)
    config = json.loads((tmp_path / "other/config.json").read_text())
    assert pieces[config["pad_token_id"]] == "[PAD]"


def test_real_checkpoint(real_checkpoint, real_path):
    """Catches anything about a checkpoint of the outside world that the small ones do not show."""
    assert real_checkpoint.config.vocab_size == len(real_checkpoint.tokenizer) == 30522
    assert real_checkpoint.config.depth == 6
    assert (real_checkpoint.has_pooler, real_checkpoint.has_mlm) == (True, False)
    original = load_file(real_path / "model.safetensors")
    qkv = real_checkpoint.weights["encoder.layers.5.attention.qkv.weight"]
    for i, name in enumerate(("query", "key", "value")):
        expected = original[f"encoder.layer.5.attention.self.{name}.weight"]
        assert torch.equal(qkv[384 * i : 384 * (i + 1)], expected)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("shard", ["1GB", "10KB"])
def test_all_four_forms_of_weights(safe, shard, make_hf, via_disk, tmp_path):
    """Catches a form of the weights that is not read, or of which a shard is left out."""
    theirs = make_hf(transformers.BertForPreTraining)
    loaded = via_disk(theirs, safe_serialization=safe, max_shard_size=shard)
    names = {p.name for p in (tmp_path / "hf").iterdir()}
    plain = "model.safetensors" if safe else "pytorch_model.bin"
    assert (plain in names) == (shard == "1GB")
    assert (f"{plain}.index.json" in names) == (shard == "10KB")
    again = {}
    expected = theirs.state_dict()
    for entry in name_table(loaded.config):
        again[entry.ours] = torch.cat([expected[name] for name in entry.theirs])
    assert set(again) == set(loaded.weights)
    assert all(torch.equal(again[name], loaded.weights[name]) for name in again)


def test_safetensors_win(change, checkpoint):
    """Catches a pickle that is read although there are safetensors beside it."""
    directory = change(lambda tensors: tensors)
    (directory / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert_same(load_checkpoint(directory), checkpoint)


def test_before_torch_1_6(change, checkpoint, directory):
    """Catches the old format of `torch.save`, no zip archive, that cannot be mapped into memory."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    torch.save(tensors, directory / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_same(load_checkpoint(directory), checkpoint)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(dtype, change, checkpoint):
    """Catches half-precision weights that stay so, and make the encoder fail or round."""
    directory = change(lambda tensors: {n: t.to(dtype) for n, t in tensors.items()})
    loaded = load_checkpoint(directory)
    for name, tensor in checkpoint.weights.items():
        assert loaded.weights[name].dtype == torch.float32
        assert torch.equal(loaded.weights[name], tensor.to(dtype).float())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux")
def test_loading_does_not_copy(directory):
    """Catches a loader that reads the whole file into memory, only to copy it into a module."""
    loaded = load_checkpoint(directory)
    address = loaded.weights["encoder.layers.0.up.weight"].data_ptr()
    maps = re.findall(r"^(\w+)-(\w+) .* (\S+)$", Path("/proc/self/maps").read_text(), re.M)
    owners = [name for low, high, name in maps if int(low, 16) <= address < int(high, 16)]
    assert owners == [str(directory / "model.safetensors")]


def test_changing_loaded_weights_leaves_the_file_alone(checkpoint, directory):
    """Catches views of the file that write through to it."""
    load_checkpoint(directory).weights["encoder.layers.0.up.weight"].zero_()
    assert_same(load_checkpoint(directory), checkpoint)


def test_save_where_it_was_loaded(checkpoint, directory):
    """Catches a save that pulls the file away from under the weights it is about to write."""
    for _ in range(2):
        loaded = load_checkpoint(directory)
        save_checkpoint(directory, loaded)
        assert_same(loaded, checkpoint)
    assert_same(load_checkpoint(directory), checkpoint)


def test_weights_of_any_kind_are_saved(checkpoint, tmp_path):
    """Catches a save that wants contiguous fp32 tensors without gradients."""
    weights = {name: t.double().requires_grad_() for name, t in checkpoint.weights.items()}
    name = "encoder.layers.0.up.weight"
    weights[name] = checkpoint.weights[name].T.contiguous().T
    assert not weights[name].is_contiguous()
    odd = Checkpoint(checkpoint.config, checkpoint.tokenizer, weights, "here")
    save_checkpoint(tmp_path / "odd", odd)
    assert_same(load_checkpoint(tmp_path / "odd"), checkpoint)


# Spellings


def test_without_prefix(change, checkpoint):
    """Catches a checkpoint of the bare encoder, whose names lack "bert."."""
    directory = change(
        lambda tensors: {n.removeprefix("bert."): t for n, t in tensors.items() if n[:4] != "cls."}
    )
    assert_same(load_checkpoint(directory), without(checkpoint, "mlm", "nsp"))


@pytest.mark.parametrize(
    "prefix, kept",
    [("model.", "bert."), ("module.", "bert."), ("0.auto_model.", ""), ("tf_bert.", "")],
)
def test_part_of_another_model(prefix, kept, change, checkpoint):
    """Catches weights that pass for a foreign head's because the encoder was saved with what was
    around it."""

    def spell(name):
        return prefix + (name if kept else name.removeprefix("bert."))

    directory = change(
        lambda tensors: {spell(n): t for n, t in tensors.items() if kept or n[:4] != "cls."}
    )
    expected = checkpoint if kept else without(checkpoint, "mlm", "nsp")
    assert_same(load_checkpoint(directory), expected)


def test_part_beside_other_parts(change, checkpoint, caplog):
    """Catches a module outside the encoder's own that is taken for its pooler, or makes it unreadable."""
    strays = {"pooler.dense.weight": torch.ones(24, 24), "encoder.layer.0.weight": torch.ones(3)}
    directory = change(
        lambda tensors: {
            **{
                f"model.{n.removeprefix('bert.')}": t
                for n, t in tensors.items()
                if "pooler" not in n
            },
            **strays,
        }
    )
    with caplog.at_level(logging.INFO):
        found = load_checkpoint(directory)
    assert_same(found, without(checkpoint, "pooler"))
    assert "encoder.layer.0.weight, pooler.dense.weight" in caplog.text


@pytest.mark.parametrize("prefixes", [["question.", "passage."], ["bert/"]])
def test_names_that_are_not_understood(prefixes, change):
    """Catches advice to fetch the files again, where they are whole and have other names."""
    directory = change(
        lambda tensors: {
            p + n.removeprefix("bert."): t.clone() for p in prefixes for n, t in tensors.items()
        }
    )
    with pytest.raises(ValueError, match=rf"no encoder.*found {min(prefixes)}.*expected bert\.emb"):
        load_checkpoint(directory)


def test_gamma_and_beta(change, checkpoint):
    """Catches the LayerNorms of checkpoints that were converted from TensorFlow."""

    def spell(name):
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    directory = change(lambda tensors: {spell(n): t for n, t in tensors.items()})
    assert any("gamma" in n for n in load_file(directory / "model.safetensors"))
    assert_same(load_checkpoint(directory), checkpoint)


def test_one_weight_by_two_names(change):
    """Catches a choice, by the order of a file, between two different weights."""
    name = "bert.embeddings.LayerNorm.weight"
    old = "bert.embeddings.LayerNorm.gamma"
    directory = change(lambda tensors: {**tensors, old: tensors[name] + 1})
    with pytest.raises(ValueError, match=f"{name} twice"):
        load_checkpoint(directory)


def test_stray_buffers(change, checkpoint):
    """Catches constants that some versions of transformers saved, taken for unknown weights."""
    strays = {
        "bert.embeddings.position_ids": torch.arange(32)[None],
        "embeddings.token_type_ids": torch.zeros(1, 32, dtype=torch.int64),
    }
    assert_same(load_checkpoint(change(lambda tensors: {**tensors, **strays})), checkpoint)


def test_decoder_that_is_a_copy(change, checkpoint):
    """Catches the tied decoder, taken for an unknown weight where it was saved."""
    copies = {
        "cls.predictions.decoder.weight": WORDS,
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    directory = change(
        lambda tensors: {**tensors, **{c: tensors[o].clone() for c, o in copies.items()}}
    )
    assert_same(load_checkpoint(directory), checkpoint)


@pytest.mark.parametrize(
    "copy, original",
    [
        ("cls.predictions.decoder.weight", WORDS),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
)
def test_copy_without_its_original(copy, original, change, checkpoint):
    """Catches tied weights of which only the copy was saved."""
    directory = change(lambda tensors: {copy: tensors.pop(original), **tensors})
    assert_same(load_checkpoint(directory), checkpoint)


@pytest.mark.parametrize(
    "copy, original",
    [
        ("cls.predictions.decoder.weight", WORDS),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
)
def test_untied_decoder(copy, original, change, checkpoint, caplog):
    """Catches an untied decoder that is silently replaced by the embedding: the head would predict
    something else than it did where it was trained."""
    directory = change(lambda tensors: {copy: tensors[original] + 1, **tensors})
    with caplog.at_level(logging.WARNING):
        loaded = load_checkpoint(directory)
    assert f"{copy} differs from {original}" in caplog.text
    assert_same(loaded, without(checkpoint, "mlm"))


def test_heads_of_other_tasks(change, checkpoint, caplog):
    """Catches a fine-tuned checkpoint that is refused for its head, or a head left out silently."""
    heads = {"classifier.weight": torch.ones(3, 24), "qa_outputs.bias": torch.ones(2)}
    directory = change(lambda tensors: {**tensors, **heads})
    with caplog.at_level(logging.INFO):
        assert_same(load_checkpoint(directory), checkpoint)
    assert len(caplog.records) == 1
    assert "classifier.weight, qa_outputs.bias" in caplog.text


# Weights that do not fit


def test_missing_weights_are_named(change):
    """Catches an encoder that keeps random values where the file has none."""
    directory = change(lambda tensors: {n: t for n, t in tensors.items() if n != UP})
    with pytest.raises(ValueError, match=rf"1 missing: {UP} \[40, 24\]") as error:
        load_checkpoint(directory)
    assert str(directory / "model.safetensors") in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "bert.pooler.dense.bias",
        "cls.predictions.transform.dense.weight",
        "cls.seq_relationship.bias",
        "bert.encoder.layer.2.attention.self.key.bias",
    ],
)
def test_incomplete_parts(name, change):
    """Catches a head, or a stacked weight, of which a part is there and passes for the whole."""
    directory = change(lambda tensors: {n: t for n, t in tensors.items() if n != name})
    with pytest.raises(ValueError, match=f"1 missing: {name}"):
        load_checkpoint(directory)


def test_unknown_weights_are_named(change):
    """Catches a network with parts that BERT does not have, loaded as if they did not matter."""
    extra = {"bert.encoder.layer.3.output.dense.bias": torch.ones(24)}
    directory = change(lambda tensors: {**tensors, **extra})
    with pytest.raises(ValueError, match=r"1 unknown: bert.encoder.layer.3.output.dense.bias \[24"):
        load_checkpoint(directory)


def test_misshapen_weights_are_named(change):
    """Catches a shape that torch would only complain about by its own names, or would broadcast."""
    directory = change(lambda tensors: {**tensors, UP: torch.ones(24, 40)})
    message = rf"1 misshapen: {UP} \(found \[24, 40\], expected \[40, 24\]\)"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(directory)


def test_quantised_weights_are_refused(change):
    """Catches integers taken for weights, whose scale is elsewhere."""
    directory = change(lambda tensors: {**tensors, UP: torch.ones(40, 24, dtype=torch.int8)})
    with pytest.raises(ValueError, match=rf"{UP} \(found torch.int8, expected floating point"):
        load_checkpoint(directory)


def test_long_lists_are_cut(change):
    """Catches a message of two hundred names, and a message without any."""
    directory = change(lambda tensors: {UP: tensors[UP]})
    with pytest.raises(ValueError, match=r"52 missing: bert.emb.* and 44 more") as error:
        load_checkpoint(directory)
    assert len(str(error.value)) < 2000


def test_config_of_another_size(directory):
    """Catches a config.json that does not belong to the weights."""
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "intermediate_size": 44}))
    with pytest.raises(ValueError, match=r"9 misshapen: .*found \[40, 24\], expected \[44, 24\]"):
        load_checkpoint(directory)


@pytest.mark.parametrize("depth", [1001, 1_000_000, 10**18])
def test_config_of_far_too_many_layers(depth, directory):
    """Catches a damaged number that takes minutes, and all memory, to be found wrong."""
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "num_hidden_layers": depth}))
    with pytest.raises(ValueError, match=rf"weights, but .*{depth:,} layers \(num_hidden_layers\)"):
        load_checkpoint(directory)


def test_incomplete_checkpoint_is_not_saved(checkpoint, tmp_path):
    """Catches a checkpoint that can be written, but never be read again."""
    name = "encoder.layers.0.attention.qkv.weight"
    spoiled = [
        ({n: t for n, t in checkpoint.weights.items() if n != name}, rf"missing: {name} \[72, 24"),
        ({**checkpoint.weights, "encoder.extra": torch.ones(1)}, "unknown: encoder.extra"),
        ({**checkpoint.weights, name: torch.ones(24, 72)}, r"found \[24, 72\], expected \[72, 24"),
        ({n: t for n, t in checkpoint.weights.items() if n[:3] == "mlm"}, r"41 missing"),
        ({}, r"41 missing"),
    ]
    for weights, message in spoiled:
        with pytest.raises(ValueError, match=message):
            save_checkpoint(
                tmp_path / "bad", Checkpoint(checkpoint.config, None, weights, "training")
            )
    assert not list(tmp_path.iterdir())


# Files that are missing or damaged


@pytest.mark.parametrize(
    "name, content",
    [("config.json", "sizes"), ("model.safetensors", "weights"), ("vocab.txt", "vocabulary")],
)
def test_missing_files(name, content, directory):
    """Catches a message that does not tell what is missing, what was found, and what to do."""
    (directory / name).unlink()
    if name == "vocab.txt":
        (directory / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing.*{content}") as error:
        load_checkpoint(directory)
    assert "Found there: " in str(error.value) and "fetch what is missing" in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_something_else_of_that_name(name, directory):
    """Catches a file that is called missing, and listed among what was found."""
    (directory / name).unlink()
    (directory / name).symlink_to("nowhere")
    with pytest.raises(
        FileNotFoundError, match=f"{name} is a link to nowhere, which does not exist"
    ):
        load_checkpoint(directory)
    (directory / name).unlink()
    (directory / name).mkdir()
    with pytest.raises(FileNotFoundError, match=f"{name} is a folder, but the file with"):
        load_checkpoint(directory)


def test_empty_directory(tmp_path):
    """Catches a message with a hole where the files should be."""
    with pytest.raises(FileNotFoundError, match="Found there: nothing"):
        load_checkpoint(tmp_path)


def test_either_vocabulary_will_do(directory, checkpoint):
    """Catches a checkpoint of a newer transformers, which has only tokenizer.json, refused."""
    (directory / "vocab.txt").unlink()
    assert_same(load_checkpoint(directory), checkpoint)


def test_without_tokenizer(directory):
    """Catches a vocabulary that is demanded of a caller who does not need it, or read anyway."""
    for name in module.VOCABULARY:
        (directory / name).unlink(missing_ok=True)
    assert load_checkpoint(directory, tokenizer=False).tokenizer is None


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"]
)
def test_lfs_pointers(name, directory):
    """Catches the 130 bytes that git leaves where a large file should be, read as the file."""
    (directory / name).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 90868376\n"
    )
    with pytest.raises(ValueError, match=f"{name} is a Git LFS pointer.*git lfs pull"):
        load_checkpoint(directory)


def test_lfs_pointer_to_a_pickle(change):
    """Catches a pointer in place of a pickle, reported as a damaged one."""
    directory = change(lambda tensors: tensors, name="pytorch_model.bin")
    (directory / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="Git LFS pointer"):
        load_checkpoint(directory)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
def test_empty_files(name, directory):
    """Catches a file that a full disk left without content, reported as malformed or too short."""
    (directory / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{name}.* is empty.*download it again"):
        load_checkpoint(directory)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("keep", [0.01, 0.5, 0.999])
def test_truncated_weights(name, keep, change):
    """Catches a broken download that loads, or fails without the name of the file."""
    path = change(lambda tensors: tensors, name=name) / name
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=rf"{name}.*cut off.*download it again"):
        load_checkpoint(path.parent)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_corrupt_weights(name, change):
    """Catches a bare error of a library for a file that is none."""
    path = change(lambda tensors: tensors, name=name) / name
    path.write_bytes(b"<!DOCTYPE html><html>404</html>" * 40)
    with pytest.raises(ValueError, match=f"{name} .* cannot be read"):
        load_checkpoint(path.parent)


def test_corrupt_config(directory):
    """Catches a config.json that fails without its name."""
    (directory / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not valid JSON"):
        load_checkpoint(directory)


@pytest.mark.parametrize("model_type", ["roberta", "distilbert", "t5"])
def test_other_networks(model_type, directory):
    """Catches a network that is no BERT, reported as missing weights."""
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "model_type": model_type}))
    with pytest.raises(ValueError, match=f"'{model_type}'.*but only BERT"):
        load_checkpoint(directory)


def test_checkpoint_of_a_trainer(change):
    """Catches a pickle with a state dict inside something else, reported as missing weights."""
    directory = change(
        lambda tensors: {"state_dict": tensors, "epoch": 3}, name="pytorch_model.bin"
    )
    with pytest.raises(ValueError, match=r"holds a dict \(dict, int\).*state dict"):
        load_checkpoint(directory)


def test_pickle_of_something_else(change, directory):
    """Catches an AttributeError for a pickle that is no dictionary."""
    (directory / "model.safetensors").unlink()
    torch.save([1, 2], directory / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds a list"):
        load_checkpoint(directory)


class Payload:
    """Something that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_pickled_code_never_runs(form, directory, tmp_path):
    """Catches `torch.load` without `weights_only`: whoever wrote the file would own the process."""
    trap = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()  # it does work
    trap.unlink()
    path = directory / "pytorch_model.bin"
    tensors = {**load_file(directory / "model.safetensors"), "evil": Payload(trap)}
    (directory / "model.safetensors").unlink()
    if form == "pickle":
        path.write_bytes(pickle.dumps(Payload(trap)))
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match="more than tensors, which is never loaded"):
        load_checkpoint(directory)
    assert not trap.exists()


# Shards


@pytest.fixture
def sharded(directory):
    """The good checkpoint in two shards."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {
        "model-00001-of-00002.safetensors": names[:20],
        "model-00002-of-00002.safetensors": names[20:],
    }
    for shard, members in shards.items():
        save_file({n: tensors[n] for n in members}, directory / shard)
    weight_map = {n: shard for shard, members in shards.items() for n in members}
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards(sharded, checkpoint):
    """Catches a shard that is left out."""
    assert_same(load_checkpoint(sharded.parent), checkpoint)


def test_missing_shard(sharded):
    """Catches a missing shard that is reported as missing weights."""
    (sharded.parent / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of-00002.safetensors is missing"):
        load_checkpoint(sharded.parent)


def test_lfs_pointer_to_a_shard(sharded):
    """Catches a shard that git left a pointer for."""
    (sharded.parent / "model-00002-of-00002.safetensors").write_text("version https://git-lfs")
    with pytest.raises(ValueError, match="model-00002-of-00002.safetensors is a Git LFS pointer"):
        load_checkpoint(sharded.parent)


def test_shards_of_another_model(sharded):
    """Catches an index that belongs to other files."""
    shutil.copy(
        sharded.parent / "model-00001-of-00002.safetensors",
        sharded.parent / "model-00002-of-00002.safetensors",
    )
    with pytest.raises(ValueError, match="index.json names weights that its files lack: .*and"):
        load_checkpoint(sharded.parent)


def test_shards_elsewhere(sharded, tmp_path):
    """Catches an index that makes us read files outside of the checkpoint."""
    data = json.loads(sharded.read_text())
    name = "model-00001-of-00002.safetensors"
    shutil.move(sharded.parent / name, tmp_path / name)
    moved = {n: f"../{s}" if s == name else s for n, s in data["weight_map"].items()}
    sharded.write_text(json.dumps({"weight_map": moved}))
    with pytest.raises(ValueError, match=f"'../{name}', but only files beside it"):
        load_checkpoint(sharded.parent)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_corrupt_index(content, sharded):
    """Catches a bare KeyError for an index that is none."""
    sharded.write_text(content)
    with pytest.raises(ValueError, match="index.json is no index"):
        load_checkpoint(sharded.parent)


# The vocabulary and the network


def test_vocabulary_longer_than_the_embedding(directory, tokenizer):
    """Catches ids beyond the embedding, which would fail at the first text that has one."""
    WordPieceTokenizer([*tokenizer.pieces, "more"]).to_disk(directory)
    with pytest.raises(ValueError, match="has 62 pieces.*embeds 61.*vocab_size in config.json"):
        load_checkpoint(directory)


def test_vocabulary_shorter_than_the_embedding(directory, tokenizer):
    """Catches a padded embedding that is refused: to round it up is common."""
    WordPieceTokenizer(tokenizer.pieces[:-1]).to_disk(directory)
    assert len(load_checkpoint(directory).tokenizer) == 60


def test_too_long_vocabulary_is_not_saved(checkpoint, tmp_path):
    """Catches a pair that can be written, but never be read again."""
    checkpoint.tokenizer = WordPieceTokenizer([*checkpoint.tokenizer.pieces, "more"])
    with pytest.raises(ValueError, match="62 pieces.*embeds 61"):
        save_checkpoint(tmp_path / "bad", checkpoint)
    assert not list(tmp_path.iterdir())


# Saving is all or nothing


def test_parents_are_made_and_home_is_understood(checkpoint, tmp_path, monkeypatch):
    """Catches a save at the end of a long training that fails for want of a directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    save_checkpoint("~/a/b/c", checkpoint)
    assert_same(load_checkpoint("~/a/b/c"), checkpoint)
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["c"]


def test_files_are_for_everyone(directory):
    """Catches weights that only their writer may read, while the other files are open to all."""
    modes = {p.name: p.stat().st_mode & 0o777 for p in directory.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_a_file_is_in_the_way(checkpoint, tmp_path):
    """Catches a save that overwrites a file, or fails without saying why."""
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FileExistsError, match="file is a file, but a checkpoint is a directory"):
        save_checkpoint(tmp_path / "file", checkpoint)
    assert (tmp_path / "file").read_text() == "precious"


def test_other_files_stay(checkpoint, directory):
    """Catches a save that clears the directory: it may hold a training's state, or a README."""
    (directory / "README.md").write_text("precious")
    save_checkpoint(directory, without(checkpoint, "mlm"))
    assert_same(load_checkpoint(directory), without(checkpoint, "mlm"))
    assert (directory / "README.md").read_text() == "precious"


def test_no_file_of_the_old_vocabulary_stays(checkpoint, directory):
    """Catches files that would be read together with the new vocabulary."""
    (directory / "added_tokens.json").write_text('{"old": 61}')
    save_checkpoint(directory, checkpoint)
    assert_same(load_checkpoint(directory), checkpoint)


@pytest.mark.parametrize("name", ["checkpoint", "later"])
def test_a_link_to_a_directory(name, checkpoint, directory, tmp_path):
    """Catches a save that replaces a link ("checkpoint-last") by a directory, be what the link
    points to there already or not."""
    (tmp_path / "link").symlink_to(tmp_path / name)
    save_checkpoint(tmp_path / "link", without(checkpoint, "nsp"))
    assert (tmp_path / "link").is_symlink()
    assert_same(load_checkpoint(tmp_path / name), without(checkpoint, "nsp"))


DIE = """
import os
from pathlib import Path
from spacy_bert.encoder import checkpoint as module
checkpoint = module.load_checkpoint({source!r})
for name in checkpoint.weights:
    checkpoint.weights[name] = checkpoint.weights[name] + 1
def die_writing(tensors, path, metadata):
    Path(path).write_bytes(b"half of it")
    os._exit(9)
def die(*names):
    os._exit(9)
{patch}
module.save_checkpoint({target!r}, checkpoint)
"""


@pytest.mark.parametrize("target", ["new", "checkpoint"])
@pytest.mark.parametrize("patch", ["module.save_file = die_writing", "module._publish = die"])
def test_killed_save(patch, target, checkpoint, directory, tmp_path):
    """Catches half a checkpoint under the final name, a good one that is gone, or remains that fill
    the disk for good, when the process dies while it writes, or just before the first file gets
    its name."""
    path = tmp_path / target
    code = DIE.format(source=str(directory), target=str(path), patch=patch)
    result = in_subprocess(code)
    assert result.returncode == 9, result.stderr
    assert_same(load_checkpoint(directory), checkpoint)
    assert path.exists() == (target == "checkpoint")
    (leftover,) = tmp_path.rglob(".*.tmp")
    save_checkpoint(path, checkpoint)
    assert leftover.exists()  # its process may still be writing
    os.utime(leftover, (time.time() - 7200,) * 2)
    save_checkpoint(path, checkpoint)
    assert not leftover.exists()
    assert_same(load_checkpoint(path), checkpoint)


@pytest.mark.parametrize("n_files", range(6))
def test_killed_between_two_files(n_files, checkpoint, directory, monkeypatch):
    """Catches a training that saves its next state, dies when some files have their new content,
    and then finds neither the old checkpoint nor the new one, but a mixture of weights."""
    weights = {name: tensor + 1 for name, tensor in checkpoint.weights.items()}
    following = Checkpoint(checkpoint.config, checkpoint.tokenizer, weights, "here")
    replace, done = os.replace, []

    def die(source, target):
        if Path(target).parent == directory:
            if len(done) == n_files:
                raise KeyboardInterrupt
            done.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(directory, following)
    assert_same(
        load_checkpoint(directory), following if "model.safetensors" in done else checkpoint
    )


def test_on_the_disk_before_it_has_a_name(checkpoint, tmp_path, monkeypatch):
    """Catches a file, or the directory of its name, that a power cut can still empty after the save
    has replaced the old one; and a new directory that appears before it is complete."""
    synced, rename = [], Path.rename

    def watch(source, target):
        files = list(source.iterdir())
        assert {p.name for p in files} >= {"config.json", "model.safetensors", "vocab.txt"}
        assert {*files, source} <= set(synced)
        assert not target.exists()
        synced.clear()
        return rename(source, target)

    monkeypatch.setattr(module, "sync", synced.append)
    monkeypatch.setattr(Path, "rename", watch)
    save_checkpoint(tmp_path / "new", checkpoint)
    assert synced == [tmp_path]


def test_directory_on_a_disk_of_its_own(checkpoint, directory, monkeypatch):
    """Catches a save into a mounted volume that prepares the files beside it: between two file
    systems, nothing can be renamed."""
    replace = os.replace

    def within_one_file_system(source, target):
        if directory not in Path(source).parents:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", within_one_file_system)
    save_checkpoint(directory, without(checkpoint, "mlm"))
    assert_same(load_checkpoint(directory), without(checkpoint, "mlm"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("target", ["new", "checkpoint"])
def test_disk_full(target, checkpoint, directory, tmp_path):
    """Catches an unclear error, a temporary directory that stays, or a good checkpoint lost, when
    the disk takes no more. A limit on the size of files is as good as a full disk."""
    code = f"""
import resource
from spacy_bert.encoder import load_checkpoint, save_checkpoint
checkpoint = load_checkpoint({str(directory)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint({str(tmp_path / target)!r}, checkpoint)
except OSError as error:
    print(error.errno, str(error))
"""
    before = sorted(p.name for p in directory.iterdir())
    result = in_subprocess(code)
    assert result.stdout.startswith(f"{errno.EFBIG} "), result.stderr
    assert re.search(r"could not be saved as .*It needs 0\.\d MB.*make room", result.stdout)
    assert sorted(p.name for p in directory.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
    assert_same(load_checkpoint(directory), checkpoint)


def test_interrupted_save(checkpoint, directory, tmp_path, monkeypatch):
    """Catches a temporary directory that Ctrl-C leaves behind."""

    def interrupt(tensors, path, metadata):
        Path(path).write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "new", checkpoint)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


# Names of directories and of repositories


@pytest.mark.parametrize(
    "name", ["/no/such", "./such", "../such", "a/b/c", "~/such", "such/", "a\\b", Path("org/name")]
)
def test_missing_directory(name, monkeypatch):
    """Catches a mistyped path that is sent to the hub."""
    fake = SimpleNamespace(snapshot_download=lambda *args, **kwargs: pytest.fail("asked the hub"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    with pytest.raises(FileNotFoundError, match="There is no directory .*such|a.b|org.name"):
        load_checkpoint(name)


def test_file_instead_of_directory(directory):
    """Catches the path of the weights themselves, taken for a repository or for nothing."""
    with pytest.raises(NotADirectoryError, match="is a file.*Give the directory"):
        load_checkpoint(directory / "model.safetensors")


def test_directory_before_hub(directory, checkpoint, monkeypatch):
    """Catches a directory named like a repository that is looked for on the hub."""
    (directory.parent / "org").mkdir()
    directory.rename(directory.parent / "org/name")
    monkeypatch.chdir(directory.parent)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert_same(load_checkpoint("org/name"), checkpoint)


def test_revision_of_a_directory(directory):
    """Catches a revision that is silently not the one that is loaded."""
    with pytest.raises(ValueError, match="revision 'v2' was asked for, but .* is a directory"):
        load_checkpoint(directory, revision="v2")


@pytest.mark.parametrize("pickles", [False, True])
def test_hub(pickles, change, directory, checkpoint, monkeypatch):
    """Catches a revision that gets lost on the way, or half a gigabyte of a second form of the
    weights that is downloaded for nothing."""
    if pickles:
        change(lambda tensors: tensors, name="pytorch_model.bin")
    calls = []

    def snapshot_download(repo, *, revision, allow_patterns):
        calls.append((repo, revision, any("pytorch_model" in p for p in allow_patterns)))
        return str(directory)

    fake = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    loaded = load_checkpoint("org/some-name", revision="v2")
    assert_same(loaded, checkpoint)
    assert loaded.source == "org/some-name"
    expected = [("org/some-name", "v2", False), ("org/some-name", "v2", True)]
    assert calls == (expected if pickles else expected[:1])


def test_hub_patterns():
    """Catches a file that a repository has, we read, and the download leaves out; or another form
    of the weights that it brings along."""
    from huggingface_hub.utils import filter_repo_objects

    wanted = ["config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"]
    wanted += ["special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json"]
    wanted += ["model.safetensors", "model-00001-of-00002.safetensors"]
    pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json"]
    pickles += ["pytorch_model-00001-of-00002.bin"]
    other = ["README.md", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "rust_model.ot"]
    other += ["openvino/model.safetensors", "model.fp16.safetensors", "onnx/config.json"]
    files = wanted + pickles + other
    assert set(filter_repo_objects(files, allow_patterns=module.HUB_FILES)) == set(wanted)
    assert set(filter_repo_objects(files, allow_patterns=module.HUB_PICKLES)) == set(pickles)


@pytest.mark.parametrize("name", ["org/name", "bert-base-uncased"])
def test_hub_is_not_installed(name, monkeypatch):
    """Catches a ModuleNotFoundError that does not tell how to go on."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=rf"no directory '{name}'.*pip install huggingface_hub"):
        load_checkpoint(name)


def test_hub_fails(monkeypatch):
    """Catches an error of an HTTP library that names neither the repository nor the remedy."""

    def snapshot_download(repo, **options):
        raise RuntimeError("404 Client Error.\nmany lines more")

    fake = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    message = "revision main of org/name could not be fetched.*404 Client Error.*by other means"
    with pytest.raises(OSError, match=message) as error:
        load_checkpoint("org/name")
    assert "many lines more" not in str(error.value)


def test_offline(monkeypatch, tmp_path):
    """Catches an error of the real hub library, cut off from the network, that slips through."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="of org/name could not be fetched"):
        load_checkpoint("org/name")


def test_every_architecture_is_told(checkpoint, tmp_path):
    """Catches a combination of parts for which config.json names no class, or one whose parts are
    not there."""
    needs = {name: parts for parts, name in module.ARCHITECTURES}
    for n in range(4):
        for absent in itertools.combinations(["pooler", "mlm", "nsp"], n):
            some = without(checkpoint, *absent)
            save_checkpoint(tmp_path / f"no-{'-'.join(absent)}", some)
            config = json.loads((tmp_path / f"no-{'-'.join(absent)}/config.json").read_text())
            assert needs[config["architectures"][0]] <= some.parts
