"""`python -m spacy bert COMMAND`: the same commands in spaCy's own command line.

spaCy imports this module whenever its command line starts (entry point `spacy_cli`).
"""

from spacy.cli._util import app as spacy_app

from .app import app as bert

spacy_app.add_typer(bert, name="bert")

__all__ = ["bert"]
