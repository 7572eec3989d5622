"""Settings of a config that are given as options: --training.max_steps 100."""

from typing import Any, Dict, List


def parse_overrides(args: List[str]) -> Dict[str, Any]:
    """args (List[str]): What is left of a command line when its own options are taken.
    RETURNS (Dict[str, Any]): Key of the config -> value, read as `spacy train` reads it.
    RAISES: ValueError for an option that is no key of a config, or that has no value."""
    from click import ClickException
    from spacy.cli._util import parse_config_overrides

    try:
        found: Dict[str, Any] = parse_config_overrides(list(args))  # which takes them off the list
    except ClickException as error:  # not always the click that typer catches errors of
        raise ValueError(
            f"{error.format_message()} --help lists the options; keys of the config are options with a dot "
            f"in them, such as --training.max_steps 100."
        ) from None
    return found
