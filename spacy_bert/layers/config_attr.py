"""Attributes of a Thinc model that follow the config, or the pipeline, and not what was saved.

Thinc saves the attributes of a model and, when it is loaded, puts what was saved in the place of what the
config says by then: `spacy.load(path, config={"components.bert.model.window": 128})` would change nothing.
"""

from thinc.model import Model, deserialize_attr, serialize_attr


class ConfigAttr:
    """A value that is not saved; neither is one that is set in its place by hand."""


class ConfigInt(ConfigAttr, int):
    """A whole number."""


class ConfigStr(ConfigAttr, str):
    """A name."""


class ConfigList(ConfigAttr, list):
    """Several names."""


class ConfigDict(ConfigAttr, dict):
    """Names and values."""


@serialize_attr.register(ConfigAttr)
def serialize_nothing(_: ConfigAttr, value: ConfigAttr, name: str, model: Model) -> bytes:
    """RETURNS (bytes): Nothing."""
    return b""


@deserialize_attr.register(ConfigAttr)
def keep_configured(configured: ConfigAttr, value: bytes, name: str, model: Model) -> ConfigAttr:
    """RETURNS (ConfigAttr): What the config said, whatever was saved."""
    return configured
