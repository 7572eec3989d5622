"""MediaWiki XML dumps: the prose of their articles (Devlin et al. 2018, section 3.1: "only the text
passages, [ignoring] lists, tables, and headers")."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Tuple
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from ..documents import RawDocument
from .lines import read_blocks

ARTICLES = "0"
# Namespaces whose links show nothing in the text: Media, File, Category.
SILENT = ("-2", "6", "14")
SILENT_NAMES = ("media", "file", "image", "category")
# At the end of articles, with notes and lists; some of their entries are no list by markup.
END_SECTIONS = (
    "see also|references|notes|notes and references|references and notes|footnotes|citations|"
    "sources|bibliography|works cited|further reading|external links"
)
REDIRECT = re.compile(r"\s*#\w+\s*:?\s*\[\[")


class WikiPage(NamedTuple):
    """An article as the dump has it.

    source (str): The file and the title.
    wikitext (str): Its latest revision in the dump.
    silent (Tuple[str, ...]): Names, in lower case, of the namespaces of files and categories.
    """

    source: str
    wikitext: str
    silent: Tuple[str, ...]


@dataclass(frozen=True)
class WikiDump:
    """Reads MediaWiki XML dumps: articles (namespace 0, no redirects), each a document. Only prose:
    no lists, tables, infoboxes and other templates, references, headings, files, formulas.

    end_sections (str): Titles of sections to leave out, in lower case, with "|" between them.
    """

    end_sections: str = END_SECTIONS

    def __call__(self, path: Path) -> Iterator[RawDocument]:
        """path (Path): A file.
        YIELDS (RawDocument): Its articles, of those that have prose.
        RAISES (ValueError): The file is no MediaWiki dump, cut off or damaged; after the articles
            before.
        RAISES (ImportError): mwparserfromhell is not installed."""
        for page in self.split(path):
            yield from self.parse(page)

    def split(self, path: Path) -> Iterator[WikiPage]:
        """The cheap half: take the XML apart. Memory does not grow with the dump.

        path (Path): A file.
        YIELDS (WikiPage): Its articles, for `parse`.
        RAISES (ValueError): As `__call__`.
        """
        parser: Any = XMLPullParser(("start", "end"))
        walk = _PageWalk(path)
        try:
            for block in read_blocks(path):
                parser.feed(block)
                for kind, element in parser.read_events():
                    yield from walk.take(kind, element)
            parser.close()
        except ParseError as error:
            raise ValueError(
                f"{path} is no whole MediaWiki dump: {error}, after {walk.n_pages} pages. Expected "
                f"XML up to </mediawiki>. Copy or download it again."
            ) from None

    def parse(self, page: WikiPage) -> Iterator[RawDocument]:
        """The dear half: wikitext -> prose.

        page (WikiPage): An article.
        YIELDS (RawDocument): Its prose, if it has any.
        RAISES (ImportError): mwparserfromhell is not installed.
        """
        from .wikitext import prose

        skip: FrozenSet[str] = frozenset(self.end_sections.split("|"))
        paragraphs = prose(page.wikitext, silent=page.silent, end_sections=skip)
        if paragraphs:
            yield RawDocument(page.source, paragraphs)


class _PageWalk:
    """Follows the elements of a dump as they start and end, and keeps no more than one page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open: List[Element] = []
        self.silent = dict.fromkeys(SILENT_NAMES)
        self.page: Dict[str, str] = {}
        self.n_pages = 0

    def take(self, kind: str, element: Element) -> Iterator[WikiPage]:
        name = element.tag.rpartition("}")[2]
        if kind == "start":
            if not self.open and name != "mediawiki":
                raise ValueError(
                    f"{self.path} begins with <{name}>; expected <mediawiki>, as in a dump of "
                    f"MediaWiki (pages-articles). Name another reader, or another file."
                )
            self.open.append(element)
            return
        self.open.pop()
        text = element.text or ""
        if name == "namespace" and element.get("key") in SILENT and text:
            self.silent[text.lower()] = None
        elif name in ("title", "ns", "model", "text"):
            self.page[name] = text  # of the last revision, where there are several
        elif name == "redirect":
            self.page[name] = element.get("title", "")
        elif name == "revision":
            element.clear()
        elif name == "page":
            self.n_pages += 1
            page, self.page = self.page, {}
            self.open[-1].clear()
            if _is_article(page):
                source = f"{self.path} ({page.get('title', '')})"
                yield WikiPage(source, page.get("text", ""), tuple(self.silent))


def _is_article(page: Dict[str, str]) -> bool:
    return (
        page.get("ns", ARTICLES) == ARTICLES
        and "redirect" not in page
        and page.get("model", "wikitext") == "wikitext"
        # Dumps before 2009 have no element for it.
        and not REDIRECT.match(page.get("text", "")[:200])
    )
