"""MediaWiki dumps: which pages are articles, and what is wrong with a dump."""

import bz2
import itertools
import pickle
import tracemalloc
from xml.sax.saxutils import escape

import pytest

from spacy_bert.pretraining.documents import parse_part, split_file
from spacy_bert.pretraining.formats.wiki_dump import WikiDump

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="de">
<siteinfo><sitename>W</sitename><namespaces>
<namespace key="-2" case="first-letter">Medium</namespace><namespace key="0" case="first-letter" />
<namespace key="6" case="first-letter">Datei</namespace>
<namespace key="14" case="first-letter">Kategorie</namespace></namespaces></siteinfo>
"""


def page(title, *texts, ns=0, extra="", model="wikitext"):
    revisions = "".join(
        f"<revision><id>1</id><contributor><username>title</username></contributor>"
        f"<model>{model}</model><text xml:space='preserve'>{escape(text)}</text></revision>"
        for text in texts
    )
    return f"<page><title>{escape(title)}</title><ns>{ns}</ns><id>1</id>{extra}{revisions}</page>\n"


@pytest.fixture
def write(tmp_path):
    def write(*pages, name="wiki.xml", end="</mediawiki>"):
        path = tmp_path / name
        content = (HEAD + "".join(pages) + end).encode()
        path.write_bytes(bz2.compress(content) if name.endswith("bz2") else content)
        return path

    return write


def test_articles(write):
    """Catches a page that is no article among the documents, an old revision, or an article that is
    lost."""
    path = write(
        page("One & a half", "Old text.", "New [[text]]."),
        page("Talk:One", "Talk.", ns=1),
        page("Two", "#REDIRECT [[One]]", extra='<redirect title="One" />'),
        page("Three", "#WEITERLEITUNG [[One]]"),
        page("Four.css", "a { b: c }", model="css"),
        page("Five", "* a list\n* alone"),
        page("Six", ""),
        page("Seven", "Text.\n[[Datei:A.png|mini|Beschreibung.]]\n[[Kategorie:K]]"),
    )
    found = list(WikiDump()(path))
    assert [d.paragraphs for d in found] == [["New text."], ["Text."]]
    assert found[0].source == f"{path} (One & a half)"


def test_stages(write):
    """Catches parts that cannot go to another process, or give other documents there."""
    path = write(page("A", "Text one."), page("B", "* list"), page("C", "Text two."))
    reader = pickle.loads(pickle.dumps(WikiDump()))
    parts = pickle.loads(pickle.dumps(list(split_file(reader, path))))
    assert [d for part in parts for d in parse_part(reader, part)] == list(reader(path))
    assert len(parts) == 3


def test_truncated_bz2(write, tmp_path):
    """Catches a truncated dump that passes for a whole one, and articles lost that were whole."""
    # Of streams, as Wikipedia's are: what bz2 gives out comes a block at a time.
    pages = [page(f"T{i}", f"Text {i}.") for i in range(4)]
    streams = [bz2.compress(x.encode()) for x in [HEAD, *pages, "</mediawiki>"]]
    path = tmp_path / "wiki.xml.bz2"
    path.write_bytes(b"".join(streams[:4]) + streams[4][:20])
    found = []
    with pytest.raises(ValueError, match=r"wiki\.xml\.bz2 is cut off: .* Copy or download"):
        found.extend(d.paragraphs[0] for d in WikiDump()(path))
    found = []
    reading = WikiDump()(path)
    with pytest.raises(ValueError):
        for document in reading:
            found.append(document.paragraphs[0])
    assert found == ["Text 0.", "Text 1.", "Text 2."]
    # Cut between two streams, the compression is whole: only the XML tells.
    path.write_bytes(b"".join(streams[:4]))
    with pytest.raises(ValueError, match="no whole MediaWiki dump: no element found.*3 pages"):
        list(WikiDump()(path))


@pytest.mark.parametrize(
    "content, message",
    [
        ("<html><body/></html>", "begins with <html>; expected <mediawiki>"),
        ("plain text", "no whole MediaWiki dump: syntax error"),
        ("", "no whole MediaWiki dump: no element found"),
        (HEAD + "<page></title>", "no whole MediaWiki dump: mismatched tag"),
    ],
)
def test_no_dump(tmp_path, content, message):
    """Catches a file that is no dump and reads as one without articles."""
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"a\.xml.*{message}"):
        list(WikiDump()(path))


def test_end_sections(write):
    """Catches a setting for other languages without effect."""
    path = write(page("A", "Text.\n== Weblinks ==\nSeite.\n== Mehr ==\nMehr Text."))
    assert [d.paragraphs for d in WikiDump()(path)] == [["Text.", "Seite.", "Mehr Text."]]
    reader = WikiDump(end_sections="weblinks|literatur")
    assert [d.paragraphs for d in reader(path)] == [["Text.", "Mehr Text."]]


def test_memory_is_flat(write):
    """Catches pages, or revisions of a page, that are kept while the dump is read."""

    def peak(n_pages, n_revisions):
        text = "Some text. " * 200
        path = write(*(page("T", *[text] * n_revisions) for _ in range(n_pages)))
        tracemalloc.start()
        for _ in WikiDump().split(path):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    few = peak(200, 1)
    assert peak(2000, 1) < few * 1.5
    assert peak(1, 2000) < few * 1.5


def test_parser_is_optional(write, monkeypatch):
    """Catches an error that does not say which package is missing."""
    monkeypatch.setitem(__import__("sys").modules, "mwparserfromhell", None)
    with pytest.raises(ImportError, match=r"mwparserfromhell.*pip install mwparserfromhell"):
        list(itertools.islice(WikiDump()(write(page("A", "Text."))), 1))
