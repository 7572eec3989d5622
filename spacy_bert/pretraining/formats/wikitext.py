"""The markup of a MediaWiki page -> its prose.

wikitext ─ mwparserfromhell ─> nodes ─ show ─> lines ─> paragraphs
           templates, links,           what a reader     lists, tables, headings and
           tags, headings              would see         what is broken left out
"""

import re
from typing import Any, Callable, Collection, Dict, List

from .lines import clean
from .wiki_templates import is_shown, shown_text

# Characters that no page can hold: XML has no such.
NO_PROSE = "\x02"  # the line from here on is part of a list, or the like
GONE = "\x03"  # here was something that is not shown
BREAK = "\n\n"

# What is in these tags is no prose; with HTML's names of tables and lists.
DROPPED_TAGS = frozenset(
    "ref references table tr td th caption gallery timeline math chem ce score source "
    "syntaxhighlight pre hiero imagemap inputbox graph mapframe maplink templatestyles indicator "
    "section includeonly poll quiz categorytree dynamicpagelist ul ol li dl dt dd h1 h2 h3 h4 h5 "
    "h6 rt rp style script".split()
)
BLOCK_TAGS = frozenset("p div blockquote center poem hr table gallery ul ol dl pre".split())
# Templates whose parameter is a paragraph of its own.
QUOTES = frozenset(("quote", "blockquote", "cquote", "rquote", "quotation", "poemquote"))

COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# One that is not closed must not take the text up to the next one with it.
FOOTNOTE = re.compile(
    r"<ref\b[^<>]*/>|<ref\b[^<>]*>(?:(?!<ref\b).)*?</ref\s*>", re.DOTALL | re.IGNORECASE
)
# The blank after it would make the line a preformatted one.
FIRST_GONE = re.compile(rf"^{GONE}[{GONE} ]*", re.MULTILINE)
HEADING = re.compile(r"(={2,6})\s*(.+?)\s*\1\s*")
QUOTE_MARKS = re.compile(r"'{5}|'{3}|'{2}")
SWITCHES = re.compile(r"__[A-Z]+__")
TAG_REMAINS = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*|-->")
PREFORMATTED = re.compile(r"(?<=\n) (?=\S)")
NOT_TEXT_LINE = re.compile(r"[*#:;|!]|\{\||=.*=$|----")
REMAINS = ("{{", "}}", "[[", "]]", "{|", "|}", "==", "<ref", "</ref")
INTRODUCTION = 160  # characters of a line such as "A may refer to:", which belongs to its list

# What is left where something shows nothing: "( ; )", "(, or", "word ,".
EMPTY_BRACKETS = re.compile(r"[(（][\s;,:/–—-]*[)）]|\[\s*\]")
OPENED = re.compile(r"([(（])\s*(?:[;,:/]\s*)+|([(（])\s+(?=\S)")
CLOSED = re.compile(r"(?:\s*[;,:/])+\s*([)）])|\s+([)）])")
TWICE = re.compile(r"([,;])(?:\s*[,;])+")
LEADING = re.compile(r"^(?:[,;.:)]\s+|[|*#:;]\s*)+")
LOOSE = re.compile(r"\s+([,.])(?=\s|$)")


def prose(wikitext: str, *, silent: Collection[str], end_sections: Collection[str]) -> List[str]:
    """Take the prose out of a page.

    wikitext (str): Its markup.
    silent (Collection[str]): Namespaces, in lower case, whose links show nothing.
    end_sections (Collection[str]): Titles of sections to leave out, in lower case.
    RETURNS (List[str]): Its paragraphs, clean.
    RAISES (ImportError): mwparserfromhell is not installed.
    """
    # Bold and italics are taken away afterwards: unbalanced ones mislead the parser.
    code = _parser()(_shorten(wikitext, end_sections), skip_style_tags=True)
    return _paragraphs(_Show(silent).code(code))


def _shorten(wikitext: str, end_sections: Collection[str]) -> str:
    """Leave out what is not shown and easily found: half of an article, and its hardest half."""
    kept = []
    left_out = 0  # level of the section that is being left out
    marked = FOOTNOTE.sub(GONE, COMMENT.sub(GONE, wikitext))
    for line in FIRST_GONE.sub("", marked).replace(GONE, "").split("\n"):
        heading = HEADING.fullmatch(line)
        if heading and not (left_out and len(heading[1]) > left_out):
            title = clean(QUOTE_MARKS.sub("", heading[2])).lower()
            left_out = len(heading[1]) if title in end_sections else 0
        if not left_out:
            kept.append(line)
    return "\n".join(kept)


def _parser() -> Callable[..., Any]:
    try:
        from mwparserfromhell import parse
    except ImportError:
        raise ImportError(
            "To read MediaWiki dumps, the package mwparserfromhell is needed. Run: "
            "pip install mwparserfromhell"
        ) from None
    return parse


class _Show:
    """What a reader of the page would see of each node, by the name of its type.

    silent (Collection[str]): Namespaces, in lower case, whose links show nothing.
    """

    def __init__(self, silent: Collection[str]) -> None:
        self.silent = frozenset(silent)

    def node(self, node: Any) -> str:
        kind = type(node).__name__
        return _KINDS[kind](self, node) if kind in _KINDS else ""

    def code(self, code: Any) -> str:
        return "" if code is None else "".join(map(self.node, code.nodes))

    def plain(self, code: Any) -> str:
        return clean(QUOTE_MARKS.sub("", self.code(code)))

    def text(self, node: Any) -> str:
        return PREFORMATTED.sub(NO_PROSE, node.value)

    def entity(self, node: Any) -> str:
        try:
            return node.normalize()
        except (ValueError, OverflowError):  # of no character
            return ""

    def tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        if node.wiki_markup in ("*", "#", ":", ";"):
            return NO_PROSE
        edge = BREAK if name in BLOCK_TAGS else ""
        if name in DROPPED_TAGS:
            return edge
        if name == "br":
            return " "
        if name == "nowiki":
            return str(node.contents)
        return edge + self.code(node.contents) + edge

    def link(self, node: Any) -> str:
        title = self.code(node.title).strip()
        prefix, colon, rest = title.partition(":")
        prefix = prefix.strip().lower()
        if colon and prefix:
            if prefix in self.silent:
                return ""
            # The same article in another language, which is shown beside the page.
            if node.text is None and re.fullmatch(r"[a-z]{2,3}(-[a-z-]+)?|simple", prefix):
                return ""
        if node.text is None:
            return title.lstrip(":")
        # "[[Paris, Texas|]]" is shown without what distinguishes it.
        return self.code(node.text) or re.sub(r",.*| \(.*\)$", "", rest or title)

    def external(self, node: Any) -> str:
        return self.code(node.title) if node.brackets else ""

    def template(self, node: Any) -> str:
        name = self.code(node.name).strip()
        is_quote = name.lower() in QUOTES
        if not is_quote and not is_shown(name):
            return ""  # most of them, and the largest
        parameters = {str(p.name).strip(): self.code(p.value) for p in node.params}
        if is_quote:
            text = parameters.get("text") or parameters.get("quote") or parameters.get("1", "")
            return BREAK + text + BREAK
        return shown_text(name, parameters)


_KINDS: Dict[str, Callable[[_Show, Any], str]] = {
    "Text": _Show.text,
    "HTMLEntity": _Show.entity,
    "Tag": _Show.tag,
    "Wikilink": _Show.link,
    "ExternalLink": _Show.external,
    "Template": _Show.template,
    "Heading": lambda show, node: BREAK,
}


def _paragraphs(shown: str) -> List[str]:
    """Lines -> paragraphs: MediaWiki joins lines up to the next blank one, list or heading."""
    found: List[str] = []
    lines: List[str] = []
    for line in [*shown.split("\n"), ""]:
        text, no_prose, _ = line.partition(NO_PROSE)
        kept = "" if NOT_TEXT_LINE.match(text.strip()) else text
        if kept.strip():
            lines.append(kept)
        if lines and (no_prose or not kept.strip()):
            paragraph = _tidy(" ".join(lines))
            introduces = bool(no_prose) and _is_introduction(paragraph)
            if paragraph and not introduces and not any(map(paragraph.__contains__, REMAINS)):
                found.append(paragraph)
            lines = []
    return found


def _is_introduction(paragraph: str) -> bool:
    return len(paragraph) <= INTRODUCTION and paragraph.endswith(":")


def _tidy(paragraph: str) -> str:
    """A paragraph as it is shown, without the marks of bold text and what the parser left over."""
    text = SWITCHES.sub("", QUOTE_MARKS.sub("", TAG_REMAINS.sub("", paragraph)))
    text = clean(text)
    before = None
    while before != text:  # brackets within brackets
        before = text
        text = EMPTY_BRACKETS.sub("", text)
        text = OPENED.sub(lambda match: match[1] or match[2], text)
        text = CLOSED.sub(lambda match: match[1] or match[2], text)
    text = LOOSE.sub(r"\1", TWICE.sub(r"\1", text))
    return LEADING.sub("", clean(text))
