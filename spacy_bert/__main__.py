"""The command line: `python -m spacy_bert`."""

from .cli.app import app

if __name__ == "__main__":
    app(prog_name="python -m spacy_bert")
