"""Wikitext to prose, as a reader of the page would see it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_bert.pretraining.formats.wikitext import REMAINS, prose


def shown(wikitext):
    return prose(wikitext, silent=("file", "image", "category"), end_sections=("references",))


@pytest.mark.parametrize(
    "wikitext, expected",
    [
        # bold and italics, balanced or not
        ("'''A''' is ''a'' '''''b'''''.", "A is a b."),
        ("'''A is a.\nB's 'c'.", "A is a. B's 'c'."),
        # links
        ("[[a|b]] and [[c]]s, [[:d]], [[e#f|g]] [[h (i)|]] [[j, k|]].", "b and cs, d, g h j."),
        ("[http://a.b c d], [http://e.f] and http://g.h.", "c d, and."),
        ("A[[File:a.png|thumb|A [[b]] c.]] b.[[Category:C]][[fr:A]][[zh-min-nan:A]]", "A b."),
        ("[[Star Trek: Voyager]] and [[wikt:word|word]].", "Star Trek: Voyager and word."),
        # footnotes
        ("A.<ref>B</ref> C<ref name=d/>, <ref name='e/f'>G {{cite|h}}</ref>i.", "A. C, i."),
        ("A <ref name=x /> b.<REF>c</REF>", "A b."),
        ("A.<ref>unclosed. B.<ref>note</ref> C.", None),
        ("<ref name=a/> A line that begins with a note.", "A line that begins with a note."),
        # entities
        ("5&nbsp;km &ndash; A&amp;B &lt;ref&gt; &#65;&#x42; &bogus;", "5 km – A&B AB &bogus;"),
        # templates
        ("Greek {{lang|el|''λόγος''}} (from {{lang-la|ratio}}).", "Greek λόγος (from ratio)."),
        ("{{Infobox\n| a = b\n| c = {{lang|x|y}}\n}}\nA{{citation needed|date=May}} b.", "A b."),
        ("It is {{convert|1300|mi|km}} or {{convert|5|to|7|ft|adj=on}}.", "It is 1300 miles or 5 to 7-feet."),
        ("{{As of|2014|5|lc=y}}, {{nowrap|[[a]] b}}{{ndash}}{{frac|3}}", "as of May 2014, a b–1/3"),
        ("{{chem|H|2|O}} {{val|6.2|e=18|u=C}} {{circa|300}}", "H2O 6.2×10^18 C c. 300"),
        ("{{ill|Title|de}} {{ill|de|Titel}} {{transl|ar|DIN|kitāb}}", "Title Titel kitāb"),
        ("{{formatnum: 3003}} {{USS|Hornet|CV-12}} {{{1|x}}}", "3003 USS Hornet"),
        # what is left of a bracket
        ("A ({{IPAc-en|a}}; {{lang|el|β}}) b ({{IPA|x}}) c ({{IPA|x}}, d), e .", "A (β) b c (d), e."),
        ("A ( b ) [] c.", "A (b) c."),
        # tags
        ("A<br />b<sup>2</sup> <small>c</small> <math>x=1</math> <nowiki>[d]</nowiki>.", "A b2 c [d]."),
        ("A</div> <span style='x'>b</span> c <!-- d\n\ne -->f 1 < 2.", "A b c f 1 < 2."),
        ("__NOTOC__A b.", "A b."),
        (".NET is by [[A]]; '''!Kung''' is not.", ".NET is by A; !Kung is not."),
    ],
)  # fmt: skip
def test_inline(wikitext, expected):
    """Catches markup that survives, text that is lost, and blanks that are left over."""
    if expected is not None:
        assert shown(wikitext) == [expected]
    assert not any(mark in text for text in shown(wikitext) for mark in REMAINS)


@pytest.mark.parametrize(
    "wikitext, expected",
    [
        ("A\nb.\n\nC.", ["A b.", "C."]),
        ("A.\n== H ==\nB.\n=== H ''2'' ===\nC.", ["A.", "B.", "C."]),
        ("A.\n* b\n** c\n# d\n: e\n; f : g\nH.", ["A.", "H."]),
        ("A.\n{| class=x\n! h\n|-\n| b || c\n|}\nD.", ["A.", "D."]),
        ("{{hat}}\n{| a\n| {{b|\n* c\n}}\n|}\nA.", ["A."]),
        ("<gallery>\nFile:a.png|B\n</gallery>\nA.\n<ul><li>b</li></ul>", ["A."]),
        ("A.\n<blockquote>B.</blockquote>\nC.", ["A.", "B.", "C."]),
        ("A.\n{{quote|B c.|D}}\nE.", ["A.", "B c.", "E."]),
        ("A.\n preformatted\nB.", ["A.", "B."]),
        ("A.\n<pre>x\ny</pre>\nB.\n----\nC.", ["A.", "B.", "C."]),
        ("A.\n==References==\nB.\n===C===\nD.\n== E ==\nF.", ["A.", "F."]),
        ("'''A''' may refer to:\n* B\n* C", []),
        ("A long one about B. " * 10 + "Such as:\n* C", [("A long one about B. " * 10 + "Such as:")]),
        # broken markup: its lines go, the others stay
        ("{{Infobox\n| a = b\nA.\n\nB.", ["A.", "B."]),
        ("A.\n\n{| b\n| c\n\nD.", ["A.", "D."]),
        ("A [[b.\n\nC.", ["C."]),
        ("| stray = cell\n\nA.", ["A."]),
        ("", []),
    ],
)  # fmt: skip
def test_blocks(wikitext, expected):
    """Catches lists, tables, headings and the like among the prose, and paragraphs run together."""
    assert shown(wikitext) == expected


MARKUP = st.sampled_from(
    "{{ }} [[ ]] {| |} | ! * # : ; = == ''' '' <ref> </ref> <ref/> <br> <!-- --> <nowiki> </nowiki> "
    "<pre> </div> & &amp; http://a.b File: Category: lang a . ( )".split()
    + [" ", "\n", "\n\n"]
)


@given(st.lists(MARKUP, max_size=40).map("".join))
def test_any_markup(wikitext):
    """Catches markup, however broken, that survives, and an error that ends a long run."""
    for text in shown(wikitext):
        assert text == " ".join(text.split()) and text
        assert not any(mark in text for mark in REMAINS)
        assert text[0] not in "|*#:;"


def test_deep_nesting():
    """Catches an error or a minute of work for markup that no page should have."""
    started = time.monotonic()
    for opening, closing in ("{{a|", "}}"), ("[[", "]]"), ("<div>", "</div>"), ("<ref>", ""):
        shown(opening * 2000 + "x" + closing * 2000)
    assert time.monotonic() - started < 30
