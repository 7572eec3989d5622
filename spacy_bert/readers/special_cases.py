"""Where words of a text, from blank to blank, are not independent in spaCy's tokenizer: its special
cases, such as ":-)", are looked for among the tokens of all words."""

import re
from typing import TYPE_CHECKING, Dict, Sequence, Set, Tuple

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer


class SpecialCases:
    """The special cases of a tokenizer that it looks for among tokens, and not among words.

    tokenizer (Tokenizer): A tokenizer that works from blank to blank.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        from spacy.symbols import ORTH
        from spacy.tokenizer import Tokenizer

        # The same without special cases: what it looks for.
        self.bare = Tokenizer(
            tokenizer.vocab,
            prefix_search=tokenizer.prefix_search,
            suffix_search=tokenizer.suffix_search,
            infix_finditer=tokenizer.infix_finditer,
            token_match=tokenizer.token_match,
            url_match=tokenizer.url_match,
        )
        self.inside: Set[str] = set()  # those that change tokens
        pairs: Set[Tuple[str, str]] = set()  # tokens side by side in any of them
        for special, rule in tokenizer.rules.items():
            tokens = [token.text for token in self.bare(special)]
            if tokens != [token[ORTH] for token in rule] and (
                len(tokens) > 1 or tokenizer.find_prefix(special)
            ):
                self.inside.add(special)
            pairs.update(zip(tokens, tokens[1:]))
        self.search = re.compile("|".join(map(re.escape, sorted(self.inside))) or "(?!)").search
        self.before: Dict[str, Tuple[str, ...]] = {}
        self.after: Dict[str, Tuple[str, ...]] = {}
        for left, right in sorted(pairs):
            self.before[right] = (*self.before.get(right, ()), left)
            self.after[left] = (*self.after.get(left, ()), right)

    def beside(self, word: str, tokens: Sequence[str]) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
        """What beside a word could be, with an end of the word, another special case than the one
        within it.

        word (str): A word, from blank to blank.
        tokens (Sequence[str]): Its tokens.
        RETURNS (Tuple[Tuple[str, ...], Tuple[str, ...]]): Tokens before it, and after it.
        """
        if not self.search(word):
            return (), ()
        firsts, lasts = self.ends(word, tokens)
        return (
            tuple(text for token in sorted(firsts) for text in self.before.get(token, ())),
            tuple(text for token in sorted(lasts) for text in self.after.get(token, ())),
        )

    def ends(self, word: str, tokens: Sequence[str]) -> Tuple[Set[str], Set[str]]:
        """word (str): A word, from blank to blank.
        tokens (Sequence[str]): Its tokens.
        RETURNS (Tuple[Set[str], Set[str]]): What its first token may be, with and without special
            cases, and its last."""
        bare = [token.text for token in self.bare(word)]
        return {bare[0], tokens[0]}, {bare[-1], tokens[-1]}
