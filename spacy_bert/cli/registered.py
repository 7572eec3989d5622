"""Readers and splitters, as they are named on the command line.

JsonlDocuments                                 with its default settings
spacy-bert.JsonlDocuments.v1                   the same, by its full name
JsonlDocuments:text=content,errors=replace     with others
PipelineSentences:{"pipeline": "en_core_web_sm", "exclude": ["ner"]}
"""

import json
from typing import Any, Dict


def make_named(group: str, text: str, **defaults: Any) -> Any:
    """group (str): The entry points: "spacy_readers" or "spacy_misc".
    text (str): A name, and settings if need be, as above.
    **defaults: Settings where `text` has none.
    RETURNS (Any): What is registered under the name, made with the settings.
    RAISES (ValueError): There is no such name, or it takes no such settings."""
    from ..pretraining.documents import make_registered

    name, _, settings = text.partition(":")
    return make_registered(group, name, **{**defaults, **_settings(text, settings.strip())})


def _settings(text: str, settings: str) -> Dict[str, Any]:
    if settings.startswith("{"):
        try:
            found = json.loads(settings)
        except ValueError as error:
            raise ValueError(f"The settings of {text!r} are not valid JSON: {error}.") from None
        assert isinstance(found, dict)
        return found
    pairs: Dict[str, Any] = {}
    for pair in filter(None, settings.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(
                f"{pair!r} of {text!r} is no setting; expected NAME:KEY=VALUE,KEY=VALUE, or JSON "
                'as in NAME:{"key": "value"}.'
            )
        pairs[key.strip()] = _value(value)
    return pairs


def _value(text: str) -> Any:
    """A number, true, false or null; else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (list, dict)) else value
