"""Reading in several processes."""

import pytest

from spacy_bert.pretraining import parsing as module
from spacy_bert.pretraining.documents import read_documents
from spacy_bert.pretraining.formats.text_files import TextFiles
from spacy_bert.pretraining.formats.wiki_dump import WikiDump
from spacy_bert.pretraining.parsing import read_in_processes


@pytest.fixture
def dump(tmp_path):
    path = tmp_path / "wiki.xml"
    pages = "".join(
        f"<page><title>T{i}</title><ns>0</ns><revision><text>Text [[{i}]]. {'a ' * 5 * (i % 7)}"
        f"</text></revision></page>"
        for i in range(40)
    )
    path.write_text(f"<mediawiki>{pages}</mediawiki>")
    return path


def test_same_documents(dump, monkeypatch):
    """Catches an order that depends on which process is the fastest, and pages lost between tasks."""
    monkeypatch.setattr(module, "TASK_CHARACTERS", 60)
    found = list(read_in_processes([dump, dump], n_process=2))
    assert found == list(read_documents([dump, dump])) and len(found) == 80


def test_damage_comes_last(dump, monkeypatch):
    """Catches whole pages before the damage that are lost, and damage that goes unnoticed."""
    monkeypatch.setattr(module, "TASK_CHARACTERS", 60)
    dump.write_text(dump.read_text().removesuffix("</mediawiki>"))
    found = []
    with pytest.raises(ValueError, match="no whole MediaWiki dump"):
        for document in read_in_processes([dump], n_process=2):
            found.append(document)
    assert len(found) == 40


def test_others_stay_here(tmp_path, monkeypatch):
    """Catches processes for readers that gain nothing by them."""
    monkeypatch.setattr(module, "ProcessPoolExecutor", None)
    (tmp_path / "a.txt").write_text("One.\n")
    assert len(list(read_in_processes([tmp_path / "a.txt"], TextFiles(), n_process=2))) == 1
    with pytest.raises(TypeError):
        list(read_in_processes([tmp_path / "a.txt"], WikiDump(), n_process=2))
