"""Raw text to checkpoint. Imports neither spaCy nor Thinc."""
