"""A tokenizer's folder, in HuggingFace's format, <-> vocabulary and settings.

    vocab.txt                one piece a line, ended by "\\n"; the line number is the id
    tokenizer_config.json    do_lower_case, strip_accents, tokenize_chinese_chars, special pieces
    tokenizer.json           the `tokenizers` library's own file: vocabulary and settings in one
    special_tokens_map.json  special pieces

A folder needs vocab.txt or tokenizer.json. A setting is taken from the first file that has it, of
tokenizer_config.json, special_tokens_map.json and tokenizer.json; what none of them has is BERT's
default, so that a folder with nothing but vocab.txt is uncased.
"""

import json
import warnings
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

from ..files import make_folder, replacing
from .settings import CONFIG_KEYS, LIBRARY_KEYS, SPECIAL_NAMES, Settings

VOCAB = "vocab.txt"
CONFIG = "tokenizer_config.json"
LIBRARY = "tokenizer.json"
SPECIALS = "special_tokens_map.json"
ADDED = "added_tokens.json"

# Tokenizers whose folders may look like BERT's, but which split words in another way.
_OTHER_CLASSES = ("BertJapanese", "RoFormer", "Bertweet", "Phobert", "BertGeneration")


def read_folder(path: Union[str, Path]) -> Tuple[List[str], Settings]:
    """Read a folder that a BERT tokenizer was saved to, by us or by HuggingFace.

    path (Union[str, Path]): The folder.
    RETURNS (Tuple[List[str], Settings]): The pieces in the order of their ids, and the settings.
    RAISES (ValueError): The folder has no vocabulary, holds another kind of tokenizer, or a file
        cannot be read, contradicts another file, or has a setting of the wrong type.
    """
    folder = Path(path)
    library = _read_object(folder / LIBRARY)
    config = _read_object(folder / CONFIG)
    specials = _read_object(folder / SPECIALS)
    if library:
        _check_kind(folder / LIBRARY, library)
    _check_class(folder / CONFIG, config)
    pieces = _read_vocab(folder, library)
    added = _added_pieces(folder, library, config)
    _append_added(folder, pieces, added)
    values: Dict[str, Any] = {}
    for name, (section, key) in LIBRARY_KEYS.items():
        if key in library.get(section, {}):
            values[name] = library[section][key]
    for found in (specials, config):
        for name, key in CONFIG_KEYS.items():
            # null is a value of strip_accents only; elsewhere HuggingFace writes it for "unsaid".
            if key in found and (found[key] is not None or name == "strip_accents"):
                values[name] = found[key]
    for name in SPECIAL_NAMES:
        if isinstance(values.get(name), dict):  # HuggingFace's AddedToken
            values[name] = values[name].get("content")
    try:
        settings = Settings(**values)
    except ValueError as error:
        raise ValueError(f"Cannot read the tokenizer in {folder}. {error}") from None
    _warn_of_added(folder, [p for p in added.values() if p not in settings.specials.values()])
    return pieces, settings


def write_folder(
    path: Union[str, Path], pieces: Sequence[str], settings: Settings, library_json: str
) -> None:
    """Write the files that HuggingFace's `BertTokenizerFast.save_pretrained` writes.

    All four, even if vocab.txt and tokenizer_config.json would do: HuggingFace prefers the other
    two where they exist, so those of an earlier tokenizer must not stay behind.

    path (Union[str, Path]): The folder, made if need be.
    pieces (Sequence[str]): The pieces in the order of their ids.
    settings (Settings): The settings.
    library_json (str): The content of tokenizer.json.
    RAISES (OSError): Something else is in the way, or the disk does not take it.
    """
    folder = Path(path)
    make_folder(folder)
    config = {key: getattr(settings, name) for name, key in CONFIG_KEYS.items()}
    config["tokenizer_class"] = "BertTokenizer"
    specials = {CONFIG_KEYS[name]: piece for name, piece in settings.specials.items()}
    _write(folder / VOCAB, "".join(f"{piece}\n" for piece in pieces))
    _write(folder / LIBRARY, library_json)
    _write(folder / SPECIALS, json.dumps(specials, indent=2, ensure_ascii=False) + "\n")
    _write(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _write(file: Path, content: str) -> None:
    # To another name first: a reader, or a killed run, finds the old file or the new one.
    with replacing(file) as temporary:
        temporary.write_bytes(content.encode("utf8"))


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not valid UTF-8: found byte {error.object[error.start]:#04x} at position "
            f"{error.start}. Expected UTF-8; convert the file (iconv -t utf-8), or fetch it again."
        ) from None


def _read_object(file: Path) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): The object in a JSON file; empty if there is no such file."""
    if not file.exists():
        return {}
    text = _read_text(file)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # not only bad JSON: too many digits, or brackets
        raise ValueError(
            f"{file} is not valid JSON: {error}. Expected a JSON object; fetch the file again, or "
            f"delete it if {VOCAB} is there and the tokenizer is BERT's uncased one."
        ) from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{file} holds a JSON {type(content).__name__}; expected an object. Fetch the file "
            "again."
        )
    return content


def _check_kind(file: Path, library: Mapping[str, Any]) -> None:
    for section, expected in (
        ("model", "WordPiece"),
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
    ):
        content = library.get(section)
        found = content.get("type") if isinstance(content, dict) else None
        # The library's first files named no type for the model.
        if section == "model" and isinstance(content, dict) and found is None:
            found = "WordPiece" if "max_input_chars_per_word" in content else None
        if found != expected:
            raise ValueError(
                f"{file} has a {section} of type {found}; expected {expected}, as in BERT. This "
                "tokenizer would give other ids than the checkpoint was trained with: use a "
                "checkpoint with a BERT (WordPiece) tokenizer."
            )
    prefix = library["model"].get("continuing_subword_prefix", "##")
    if prefix != "##":
        raise ValueError(
            f"{file} marks pieces inside a word with {prefix!r}; expected '##', as in BERT. Use a "
            "checkpoint with a BERT (WordPiece) tokenizer."
        )


def _check_class(file: Path, config: Mapping[str, Any]) -> None:
    name = str(config.get("tokenizer_class"))
    words = config.get("word_tokenizer_type", "basic")
    if name.startswith(_OTHER_CLASSES) or words != "basic":
        raise ValueError(
            f"{file} names the tokenizer class {name} with the word tokenizer {words!r}; expected "
            "BERT's own (BertTokenizer, basic). It splits words in a way that is not available "
            "here: use a checkpoint with a BERT (WordPiece) tokenizer."
        )


def _read_vocab(folder: Path, library: Mapping[str, Any]) -> List[str]:
    file = folder / VOCAB
    if not file.exists() and not library:
        raise ValueError(_no_vocabulary(folder))
    from_library = _library_vocab(folder / LIBRARY, library) if library else []
    if not file.exists():
        return from_library
    # Never splitlines(): vocabularies have pieces such as U+0085 and U+2028, which it splits at.
    lines = _read_text(file).split("\n")
    pieces = _drop_blank_end([line.removesuffix("\r") for line in lines])
    if library and pieces != from_library:
        differ = [i for i, pair in enumerate(zip(pieces, from_library)) if pair[0] != pair[1]]
        index = differ[0] if differ else min(len(pieces), len(from_library))
        raise ValueError(
            f"{file} and {LIBRARY} beside it contradict each other: found {len(pieces)} and "
            f"{len(from_library)} pieces, different from id {index} on. Expected the same "
            "vocabulary in both; delete the file that does not belong to the checkpoint."
        )
    return pieces


def _library_vocab(file: Path, library: Mapping[str, Any]) -> List[str]:
    vocab = library["model"].get("vocab")
    wrong, found = True, type(vocab).__name__
    if isinstance(vocab, dict):
        # Not `isinstance`: JSON's true is no id.
        odd = next((piece for piece, index in vocab.items() if type(index) is not int), None)
        found = f"{len(vocab)} pieces" if odd is None else f"the id {vocab[odd]!r} of {odd!r}"
        wrong = odd is not None or sorted(vocab.values()) != list(range(len(vocab)))
    if wrong:
        raise ValueError(
            f"{file}: the vocabulary of the model section is not usable: found {found}; expected "
            "a piece for every id from 0 on, without gaps. Fetch the file again, or delete it if "
            f"{VOCAB} is there."
        )
    return _drop_blank_end(sorted(vocab, key=vocab.__getitem__))


def _drop_blank_end(pieces: List[str]) -> List[str]:
    while pieces and pieces[-1] == "":
        pieces.pop()
    return pieces


def _no_vocabulary(folder: Path) -> str:
    expected = f"expected a folder with {VOCAB} or {LIBRARY}, as HuggingFace's BERT has them."
    if not folder.exists():
        return f"No tokenizer at {folder}: found no such folder; {expected} Check the path."
    if not folder.is_dir():
        return f"No tokenizer at {folder}: found a file; {expected} Give the folder it is in."
    names = sorted(entry.name for entry in folder.iterdir())
    found = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") or "nothing"
    other = {"merges.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model"} & set(names)
    remedy = (
        f"{', '.join(sorted(other))} belongs to another kind of tokenizer than WordPiece: use a "
        "BERT checkpoint."
        if other
        else "Fetch the file that is missing, or check the path."
    )
    return f"No tokenizer at {folder}: found {found}; {expected} {remedy}"


def _added_pieces(
    folder: Path, library: Mapping[str, Any], config: Mapping[str, Any]
) -> Dict[int, str]:
    """RETURNS (Dict[int, str]): Id -> piece, for what was added to the vocabulary later. HuggingFace has
    kept it in three places over the years.
    """
    added = {}
    try:
        for piece, index in _read_object(folder / ADDED).items():
            added[int(index)] = piece
        for index, token in (config.get("added_tokens_decoder") or {}).items():
            added[int(index)] = token["content"]
        for token in library.get("added_tokens") or []:
            added[int(token["id"])] = token["content"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Cannot read the added pieces of the tokenizer in {folder}: {error!r} in {ADDED}, in "
            f"'added_tokens_decoder' of {CONFIG} or in 'added_tokens' of {LIBRARY}. Expected an id "
            "and a content for each; fetch the files again."
        ) from None
    return added


def _append_added(folder: Path, pieces: List[str], added: Mapping[int, str]) -> None:
    for index, piece in sorted(added.items()):
        if index == len(pieces):
            pieces.append(piece)
        elif index > len(pieces) or pieces[index] != piece:
            found = repr(pieces[index]) if index < len(pieces) else "no piece"
            raise ValueError(
                f"The tokenizer in {folder} adds the piece {piece!r} with id {index}, where its "
                f"vocabulary of {len(pieces)} pieces has {found}. Expected the next free id, or "
                "the same piece; fetch the files again, from one checkpoint."
            )


def _warn_of_added(folder: Path, added: Sequence[str]) -> None:
    if added:
        more = f" and {len(added) - 10} more" if len(added) > 10 else ""
        warnings.warn(
            f"The tokenizer in {folder} has added pieces: {list(added[:10])}{more}. HuggingFace finds "
            "them anywhere in the raw text. Here they are pieces of words like all others: one with blanks "
            "or punctuation in it, such as [E1], is never found in a text, so that ids differ where it occurs.",
            stacklevel=4,
        )
