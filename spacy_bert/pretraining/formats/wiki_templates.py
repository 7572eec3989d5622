"""Templates that stand in the middle of sentences, and the text that they show there.

A dump has no texts of templates, only their names and parameters. Most of them show nothing in a
sentence (footnotes, marks for editors, pronunciations) or are no prose at all (infoboxes, boxes
above an article). Those that do, in the English Wikipedia and in others that use the same names:
"""

import re
from typing import Callable, Dict, Mapping

# Names, separated by "|" -> what they show; "{2}" is the second parameter.
SHOWN: Dict[str, str] = {
    "nowrap|nobr|small|smaller|big|large|larger|sc|smallcaps|smcaps|abbr|tooltip|em|strong|mvar|var": "{1}",
    "linktext|visible anchor|vanchor|not a typo|proper name|avoid wrap|sub|sup|tt|mono|code|kbd": "{1}",
    "nihongo|nq|track gauge|railgauge|nts": "{1}",
    "lang|rtl-lang|langx|wikt-lang": "{2}",
    "angbr|vr|grapheme": "⟨{1}⟩",
    "circa|c.|ca.": "c. {1}",
    "e": "×10^{1}",
    "oldstyledate|old style date": "{1} {2}",
    "us$|usd": "US${1}",
    "£|gbp": "£{1}",
    "€|eur": "€{1}",
    "₹|inr": "₹{1}",
    "ss|uss|hms|hmas|hmcs|rms|mv|ms|sms": "{name} {1}",
    "ndash|en dash": "–",
    "spaced ndash|snd|snds|spnd|spndash|ndashb": " – ",
    "mdash|em dash": "—",
    "mdashb|spaced mdash|smd": " — ",
    "nbsp|spaces|space|thinsp|hairsp": " ",
    "=": "=",
    "'|`": "'",
    "'s": "'s",
    "' \"|'-\"|'\"": "'\"",
    "\" '|\"'": "\"'",
    '-"': '"',
    "-'": "'",
    "·|dot|middot|•|bull|bullet": "·",
}
TEXTS: Dict[str, str] = {name: text for names, text in SHOWN.items() for name in names.split("|")}

# Families of names; of all but the last the first parameter is shown.
PREFIXES = ("lang-", "script/", "formatnum:")

MONTHS = "January February March April May June July August September October November December"
# As `convert` writes them, where its codes are no words that a text would have.
UNITS = {
    "sqmi": "sq mi",
    "sqft": "sq ft",
    "sqkm": "km²",
    "km2": "km²",
    "m2": "m²",
    "ft2": "sq ft",
    "mi2": "sq mi",
    "m3": "m³",
    "km3": "km³",
    "ft3": "cu ft",
    "cuft": "cu ft",
    "C": "°C",
    "F": "°F",
    "C-change": "°C",
    "F-change": "°F",
    "kph": "km/h",
    "lb-f": "lbf",
    "USgal": "US gallons",
    "impgal": "imperial gallons",
    "ha": "hectares",
    "acre": "acres",
    "in": "inches",
    "ft": "feet",
    "mi": "miles",
    "lb": "pounds",
}
RANGES = {
    "to": " to ",
    "and": " and ",
    "or": " or ",
    "by": " by ",
    "x": " × ",
    "-": "–",
    "–": "–",
    "to(-)": " to ",
    "+/-": " ± ",
    "±": " ± ",
}

Parameters = Mapping[str, str]


def is_shown(name: str) -> bool:
    """name (str): The name of a template, as it is written.
    RETURNS (bool): Whether it may show a text."""
    key = _key(name)
    return key in TEXTS or key in MADE or key.startswith(PREFIXES)


def shown_text(name: str, parameters: Parameters) -> str:
    """The text that a template shows within a sentence.

    name (str): The name of the template, as it is written.
    parameters (Parameters): Their names ("1", "2", ... for those without) -> plain text.
    RETURNS (str): The text; empty for templates that show none, or that are not known.
    """
    key = _key(name)
    if key in MADE:
        return MADE[key](parameters)
    if key in TEXTS:
        return _fill(TEXTS[key], name.strip(), parameters)
    if key.startswith("formatnum:"):
        return name.partition(":")[2].strip()
    return parameters.get("1", "") if key.startswith(PREFIXES) else ""


def _key(name: str) -> str:
    return name.strip().replace("_", " ").lower()


def _fill(text: str, name: str, parameters: Parameters) -> str:
    def value(match: "re.Match[str]") -> str:
        return name if match[1] == "name" else parameters.get(match[1], "").strip()

    return re.sub(r"\{(\w+)\}", value, text)


def _convert(parameters: Parameters) -> str:
    """{{convert|10|to|20|km|mi}}: what was measured, without its conversion."""
    text = parameters.get("1", "").strip()
    at = 2
    while parameters.get(str(at), "").strip() in RANGES and str(at + 1) in parameters:
        text += RANGES[parameters[str(at)].strip()] + parameters[str(at + 1)].strip()
        at += 2
    unit = parameters.get(str(at), "").strip()
    joint = "-" if parameters.get("adj", "").strip() in ("on", "mid") else " "
    return f"{text}{joint}{UNITS.get(unit, unit)}".strip()


def _as_of(parameters: Parameters) -> str:
    """{{as of|2014|5|lc=y}}: "as of May 2014"."""
    if "alt" in parameters:
        return parameters["alt"].strip()
    year, month, day = (parameters.get(key, "").strip() for key in ("1", "2", "3"))
    if month.isdigit() and 1 <= int(month) <= 12:
        month = MONTHS.split()[int(month) - 1]
    start = "as of" if parameters.get("lc", "").strip() in ("y", "yes", "on") else "As of"
    return " ".join(part for part in (start, day, month, year) if part)


def _value(parameters: Parameters) -> str:
    """{{val|6.241|e=18|u=C}}: "6.241×10^18 C"."""
    text = parameters.get("1", "").strip()
    if parameters.get("2"):
        text += f" ± {parameters['2'].strip()}"
    if parameters.get("e"):
        text += f"×10^{parameters['e'].strip()}"
    unit = (parameters.get("u") or parameters.get("ul") or "").strip()
    return f"{text} {unit}".strip()


def _fraction(parameters: Parameters) -> str:
    """{{frac|3}}: 1/3; {{frac|1|4}}: 1/4; {{frac|2|1|4}}: 2 1/4."""
    parts = [parameters[key].strip() for key in ("1", "2", "3") if parameters.get(key)]
    if not parts:
        return ""
    whole = f"{parts[0]} " if len(parts) == 3 else ""
    above = parts[-2] if len(parts) > 1 else "1"
    return f"{whole}{above}/{parts[-1]}"


def _formula(parameters: Parameters) -> str:
    """{{chem|H|2|O}}: "H2O"."""
    return "".join(parameters[key].strip() for key in sorted(parameters) if key.isdigit())


def _last(parameters: Parameters) -> str:
    """{{transl|ar|al-Jazā'ir}}, {{transl|ar|DIN|al-Jazā'ir}}."""
    keys = [key for key in parameters if key.isdigit()]
    return parameters[max(keys, key=int)] if keys else ""


def _foreign_link(parameters: Parameters) -> str:
    """{{ill|Title|de}}, and {{ill|de|Title}} in older dumps."""
    first = parameters.get("1", "").strip()
    old = re.fullmatch("[a-z]{2,3}", first) and not re.fullmatch(
        "[a-z]{2,3}", parameters.get("2", "").strip()
    )
    return parameters.get("lt") or (parameters.get("2", "") if old else first)


def _note(sign: str) -> str:
    return {"flat": "♭", "sharp": "♯", "natural": "♮"}.get(sign.strip(), "")


MADE: Dict[str, Callable[[Parameters], str]] = {
    **dict.fromkeys(("convert", "cvt"), _convert),
    **dict.fromkeys(("as of", "asof"), _as_of),
    **dict.fromkeys(("frac", "sfrac", "fraction"), _fraction),
    **dict.fromkeys(("chem", "chem2"), _formula),
    **dict.fromkeys(("transl", "transliteration"), _last),
    **dict.fromkeys(("ill", "interlanguage link"), _foreign_link),
    "val": _value,
    "music": lambda parameters: _note(parameters.get("1", "")),
}
