"""A small vocabulary that can spell many scripts, and the characters in it."""

from typing import List

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["un", "##aff", "##able", "the", "mask", "cls", "don", "hello", "istanbul", "ab", "##cd"]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEIÅåéßẞςσΣﬁİıñ0123456789"
SCRIPTS = "中文字日本語のかがกาษไทยहिन्दीมеёжяعربيאבγδ한국한국"
MARKS = "\u0301\u0307\u030a\u0323\u0e31\u093f\u094d\u1bf2\U0001e00b\U0001e944\u302e"
SYMBOLS = "[]#'.,!?-_$😀👩\u200d\ue000\u0085\u2028"


def small_vocab() -> List[str]:
    singles = dict.fromkeys(LETTERS + SCRIPTS + MARKS + SYMBOLS)
    inside = [f"##{char}" for char in singles]
    return list(dict.fromkeys([*SPECIALS, *WORDS, *singles, *inside]))
