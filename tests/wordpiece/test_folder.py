"""Folders in HuggingFace's format: written for it, read from it, refused with a reason."""

import json
import os
import shutil

import pytest

from spacy_bert.wordpiece import WordPieceTokenizer

from .small import SPECIALS, small_vocab

VOCAB = small_vocab()
TEXTS = [
    "Hello É中文 [MASK] a\u200db \x00 aaaaaaaa",
    "un\ufffdaffable, ΣΣ 한국 e\u0301",
    "",
]
SETTINGS = [
    {},
    {"lowercase": False},
    {"strip_accents": False},
    {"lowercase": False, "strip_accents": True},
    {"handle_chinese_chars": False},
    {"clean_text": False},
    {"max_word_chars": 5},
    {"unk": "a", "cls": "b", "sep": "c", "pad": "d", "mask": "e"},
]


def write(folder, **files):
    """Write files given as `vocab_txt="..."`: str, bytes, or what becomes JSON."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode("utf8")
        stem, _, ending = name.rpartition("_")
        (folder / f"{stem}.{ending}").write_bytes(content)
    return folder


def lines(pieces):
    return "".join(f"{piece}\n" for piece in pieces)


def library_json(pieces=VOCAB, **changed):
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {piece: index for index, piece in enumerate(pieces)},
    }
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    return {
        "version": "1.0",
        "added_tokens": changed.pop("added_tokens", []),
        "normalizer": {**normalizer, **changed.pop("normalizer", {})},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {**model, **changed.pop("model", {})},
        **changed,
    }


# -- HuggingFace reads ours, we read HuggingFace's ------------------------------------------------


@pytest.mark.parametrize("changed", SETTINGS)
def test_huggingface_reads_what_we_write(changed, tmp_path):
    """Catches a folder that HuggingFace refuses, or reads with other settings: other ids, other
    special pieces, no [CLS] and [SEP].
    """
    transformers = pytest.importorskip("transformers")
    tokenizer = WordPieceTokenizer(VOCAB, **changed)
    tokenizer.to_disk(tmp_path)
    theirs = transformers.BertTokenizerFast.from_pretrained(tmp_path, split_special_tokens=True)
    expected = theirs(TEXTS, add_special_tokens=False, return_offsets_mapping=True)
    for index, encoded in enumerate(tokenizer.encode_batch(TEXTS)):
        assert encoded.ids.tolist() == expected["input_ids"][index]
        assert [tuple(pair) for pair in encoded.offsets] == expected["offset_mapping"][index]
    for name in ("unk", "cls", "sep", "pad", "mask"):
        assert getattr(theirs, f"{name}_token_id") == getattr(tokenizer, f"{name}_id")
    ids = theirs("hello")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.cls_id, tokenizer.sep_id)
    assert len(theirs) == len(tokenizer)


@pytest.mark.parametrize("changed", SETTINGS[:5])
@pytest.mark.parametrize("kept", ["all", "without tokenizer.json", "only tokenizer.json"])
def test_we_read_what_huggingface_writes(changed, kept, hf_fast, tmp_path):
    """Catches a key of HuggingFace's files that is overlooked or misread."""
    ours = WordPieceTokenizer(VOCAB, **changed)
    theirs = hf_fast(
        do_lower_case=ours.settings.lowercase,
        strip_accents=ours.settings.strip_accents,
        tokenize_chinese_chars=ours.settings.handle_chinese_chars,
    )
    theirs.save_pretrained(tmp_path)
    for file in tmp_path.iterdir():
        if (file.name == "tokenizer.json") == (kept == "without tokenizer.json") and kept != "all":
            file.unlink()
    assert WordPieceTokenizer.from_disk(tmp_path) == ours


def test_slow_huggingface_reads_what_we_write(tmp_path, tokenizer):
    """Catches a tokenizer_config.json that only the fast tokenizer understands."""
    transformers = pytest.importorskip("transformers")
    tokenizer.to_disk(tmp_path)
    slow = transformers.BertTokenizer.from_pretrained(tmp_path)
    text = "hello É, the mask"
    assert slow(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).ids.tolist()


def test_real_checkpoint(checkpoint, tmp_path):
    """Catches a real folder that is misread, with or without each of its two vocabularies."""
    tokenizer = WordPieceTokenizer.from_disk(checkpoint)
    assert len(tokenizer) == 30522
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.mask_id) == (0, 100, 103)
    for name in ("vocab.txt", "tokenizer.json"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(checkpoint / name, folder / name)
        assert WordPieceTokenizer.from_disk(folder) == tokenizer


# -- writing --------------------------------------------------------------------------------------


def test_writing_replaces_an_earlier_tokenizer(tmp_path, vocab):
    """Catches a tokenizer.json that stays behind: HuggingFace would prefer it."""
    WordPieceTokenizer(vocab[:-5], lowercase=False, mask="[PAD]").to_disk(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    tokenizer = WordPieceTokenizer(vocab)
    tokenizer.to_disk(tmp_path)
    assert WordPieceTokenizer.from_disk(tmp_path) == tokenizer
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "notes.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    transformers = pytest.importorskip("transformers")
    assert len(transformers.BertTokenizerFast.from_pretrained(tmp_path)) == len(vocab)


def test_failed_write_leaves_the_old_folder(tmp_path, vocab, monkeypatch):
    """Catches files that are half written, and temporary ones that stay behind."""
    old = WordPieceTokenizer(vocab)
    old.to_disk(tmp_path)
    names = sorted(os.listdir(tmp_path))

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        WordPieceTokenizer(vocab[:-1]).to_disk(tmp_path)
    assert sorted(os.listdir(tmp_path)) == names
    assert WordPieceTokenizer.from_disk(tmp_path) == old


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        lines(VOCAB),
        "\n".join(VOCAB),
        lines(VOCAB).replace("\n", "\r\n"),
        lines(VOCAB) + "\n",
        lines(VOCAB).replace("\n", "\r\n") + "\r\n\r\n",
        "\ufeff" + lines(VOCAB),
    ],
    ids=["plain", "no last newline", "crlf", "blank line", "crlf, blank lines", "bom"],
)
def test_ways_to_end_a_line(content, tmp_path):
    """Catches ids that shift, or pieces with a stray "\\r", by how the file was saved. The
    vocabulary has U+0085 and U+2028, at which `str.splitlines` would split.
    """
    assert "\x85" in VOCAB and "\u2028" in VOCAB
    folder = write(tmp_path, vocab_txt=content)
    assert WordPieceTokenizer.from_disk(folder) == WordPieceTokenizer(VOCAB)


def test_blank_line_in_the_middle_keeps_its_id(tmp_path):
    """Catches later ids that shift by one."""
    pieces = [*SPECIALS, "", "a"]
    assert WordPieceTokenizer.from_disk(write(tmp_path, vocab_txt=lines(pieces))).pieces[6] == "a"


def test_only_vocab_is_uncased(tmp_path):
    """Catches another default than BERT's own."""
    assert WordPieceTokenizer.from_disk(write(tmp_path, vocab_txt=lines(VOCAB))).settings.lowercase


def test_tokenizer_json_says_otherwise(tmp_path):
    """Catches a cased tokenizer.json being read as uncased for want of a tokenizer_config.json."""
    library = library_json(
        normalizer={"lowercase": False, "clean_text": False},
        model={"max_input_chars_per_word": 7},
    )
    expected = WordPieceTokenizer(VOCAB, lowercase=False, clean_text=False, max_word_chars=7)
    assert WordPieceTokenizer.from_disk(write(tmp_path, tokenizer_json=library)) == expected
    both = write(tmp_path, vocab_txt=lines(VOCAB), tokenizer_json=library)
    assert WordPieceTokenizer.from_disk(both) == expected


def test_config_goes_before_the_other_files(tmp_path):
    """Catches the wrong order of the files: HuggingFace lets tokenizer_config.json decide."""
    folder = write(
        tmp_path,
        tokenizer_json=library_json(normalizer={"strip_accents": True}),
        special_tokens_map_json={"cls_token": "a", "sep_token": {"content": "b", "lstrip": False}},
        tokenizer_config_json={
            "do_lower_case": False,
            "strip_accents": None,
            "tokenize_chinese_chars": None,
            "cls_token": {"content": "c", "special": True},
            "model_max_length": 512,
            "some_key_of_tomorrow": {"a": [1]},
        },
    )
    assert WordPieceTokenizer.from_disk(folder) == WordPieceTokenizer(
        VOCAB, lowercase=False, cls="c", sep="b"
    )


def test_old_tokenizer_json_without_a_model_type(tmp_path):
    """Catches the first files of the library being refused."""
    library = library_json()
    del library["model"]["type"]
    folder = write(tmp_path, tokenizer_json=library)
    assert WordPieceTokenizer.from_disk(folder) == WordPieceTokenizer(VOCAB)


def test_added_special_pieces_extend_the_vocabulary(tmp_path):
    """Catches a vocabulary that is smaller than the checkpoint's embeddings, or pieces that HuggingFace
    finds in texts, and that are not found here, in silence."""
    n_pieces = len(VOCAB)
    added = [
        {"id": 0, "content": "[PAD]", "special": True},
        {"id": n_pieces, "content": "[E1]", "special": True},
    ]
    folder = write(tmp_path, tokenizer_json=library_json(added_tokens=added))
    with pytest.warns(UserWarning, match=r"added pieces: \['\[E1\]'\]\..*never found"):
        tokenizer = WordPieceTokenizer.from_disk(folder)
    assert tokenizer.pieces == (*VOCAB, "[E1]")


def test_pieces_with_a_role_are_not_warned_of(tmp_path, recwarn):
    """Catches a warning at every checkpoint, all of which list their special pieces as added."""
    added = [{"id": VOCAB.index(p), "content": p, "special": True} for p in ("[PAD]", "[MASK]")]
    folder = write(tmp_path, tokenizer_json=library_json(added_tokens=added))
    assert WordPieceTokenizer.from_disk(folder).pieces == tuple(VOCAB)
    assert not recwarn.list


def test_added_words_are_warned_of(tmp_path):
    """Catches ids that differ from HuggingFace's in silence."""
    for files in (
        {"added_tokens_json": {"covid": len(VOCAB)}},
        {"tokenizer_config_json": {"added_tokens_decoder": {len(VOCAB): {"content": "covid"}}}},
    ):
        folder = write(tmp_path / next(iter(files)), vocab_txt=lines(VOCAB), **files)
        with pytest.warns(UserWarning, match="'covid'"):
            assert WordPieceTokenizer.from_disk(folder).pieces == (*VOCAB, "covid")


BROKEN = {
    "nothing": ({}, "found nothing; expected a folder with vocab.txt or tokenizer.json"),
    "no vocabulary": ({"config_json": {}}, "found config.json; expected"),
    "bpe": ({"vocab_json": {}, "merges_txt": ""}, "merges.txt, vocab.json belongs to another"),
    "empty": ({"vocab_txt": "\n\n"}, "is empty"),
    "empty json": ({"tokenizer_json": library_json([])}, "is empty"),
    "duplicate": ({"vocab_txt": lines([*VOCAB, "the"])}, f"'the' twice.*and {len(VOCAB)} "),
    "no mask": (
        {"vocab_txt": lines(piece for piece in VOCAB if piece != "[MASK]")},
        r"lacks the special pieces '\[MASK\]' \(mask\)",
    ),
    "not utf-8": ({"vocab_txt": lines(VOCAB).encode() + b"caf\xe9"}, "not valid UTF-8.*0xe9"),
    "config not json": (
        {"vocab_txt": lines(VOCAB), "tokenizer_config_json": "{"},
        "tokenizer_config.json is not valid JSON",
    ),
    "config no object": (
        {"vocab_txt": lines(VOCAB), "tokenizer_config_json": [1]},
        "holds a JSON list; expected an object",
    ),
    "wrong type": (
        {"vocab_txt": lines(VOCAB), "tokenizer_config_json": {"do_lower_case": "false"}},
        "'do_lower_case'.*'false'; expected true or false",
    ),
    "japanese": (
        {"vocab_txt": lines(VOCAB), "tokenizer_config_json": {"word_tokenizer_type": "mecab"}},
        "'mecab'; expected BERT's own",
    ),
    "other class": (
        {
            "vocab_txt": lines(VOCAB),
            "tokenizer_config_json": {"tokenizer_class": "RoFormerTokenizer"},
        },
        "RoFormerTokenizer",
    ),
    "bpe model": (
        {"tokenizer_json": library_json(model={"type": "BPE"})},
        "a model of type BPE; expected WordPiece",
    ),
    "bpe model beside vocab.txt": (
        {"vocab_txt": lines(VOCAB), "tokenizer_json": library_json(model={"type": "BPE"})},
        "a model of type BPE; expected WordPiece",
    ),
    "other normalizer": (
        {"tokenizer_json": library_json(normalizer={"type": "NFKC"})},
        "a normalizer of type NFKC; expected BertNormalizer",
    ),
    "no pre-tokenizer": (
        {"tokenizer_json": library_json(pre_tokenizer=None)},
        "a pre_tokenizer of type None; expected BertPreTokenizer",
    ),
    "other prefix": (
        {"tokenizer_json": library_json(model={"continuing_subword_prefix": "@@"})},
        "'@@'; expected '##'",
    ),
    "gap": (
        {"tokenizer_json": library_json(model={"vocab": {"[PAD]": 0, "a": 2}})},
        "without gaps",
    ),
    "id as text": (
        {"tokenizer_json": library_json(model={"vocab": {"[PAD]": 0, "the": "1996"}})},
        "found the id '1996' of 'the'; expected a piece for every id",
    ),
    "true as id": (
        {"tokenizer_json": library_json(model={"vocab": {"[PAD]": 0, "a": True}})},
        "found the id True of 'a'",
    ),
    "deep": (
        {"vocab_txt": lines(VOCAB), "tokenizer_config_json": "[" * 100_000},
        "tokenizer_config.json is not valid JSON",
    ),
    "many digits": (
        {"vocab_txt": lines(VOCAB), "tokenizer_config_json": '{"max_len": ' + "1" * 5000 + "}"},
        "tokenizer_config.json is not valid JSON",
    ),
    "no vocabulary in tokenizer.json": (
        {"tokenizer_json": library_json(model={"vocab": None})},
        "found NoneType",
    ),
    "contradiction": (
        {"vocab_txt": lines(VOCAB), "tokenizer_json": library_json([*VOCAB[:-1], "zebra"])},
        f"contradict.*from id {len(VOCAB) - 1} on",
    ),
    "added elsewhere": (
        {"vocab_txt": lines(VOCAB), "added_tokens_json": {"covid": 3}},
        r"'covid' with id 3.*has '\[SEP\]'",
    ),
    "added unreadable": (
        {"vocab_txt": lines(VOCAB), "tokenizer_config_json": {"added_tokens_decoder": {"x": {}}}},
        "Cannot read the added pieces",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders_are_refused(name, tmp_path):
    """Catches a folder that loads with wrong ids, and errors that name no folder or no remedy."""
    files, found = BROKEN[name]
    folder = write(tmp_path / "folder", **files)
    with pytest.raises(ValueError, match=f"(?s){found}") as caught:
        WordPieceTokenizer.from_disk(folder)
    assert str(folder) in str(caught.value)
    assert "xpected" in str(caught.value)


def test_paths_that_are_no_folder(tmp_path):
    """Catches an error about a missing file where the path itself is wrong."""
    with pytest.raises(ValueError, match="no such folder"):
        WordPieceTokenizer.from_disk(tmp_path / "absent")
    file = write(tmp_path, vocab_txt=lines(VOCAB)) / "vocab.txt"
    with pytest.raises(ValueError, match="found a file.*Give the folder"):
        WordPieceTokenizer.from_disk(file)
    assert WordPieceTokenizer.from_disk(str(tmp_path)) == WordPieceTokenizer(VOCAB)
