"""What a recorded path says: the elements from the outermost one that was recorded to the target of an event.

Feeds have three forms, and each is told by its text:

- elements with `>` between them: `html > body > div#app > button.primary`;
- elements with blanks between them: `html body div#app button.primary[data-action='add']`;
- the tokens of the segment export, a word for each tag, class, id and attribute: `html .no-js body div a =href=/x`.
  In the export they are percent-encoded (`.no%2Djs`), in `raw_selector` they are decoded.

What is recorded is taken for the truth. Two elements that stand side by side in a path are parent and child, whatever
is between them: recorders walk up from the target, and none is known that leaves out an element on its way. An element
has exactly the classes and the id that its path gives it; a tag, an attribute or a number among siblings that a path
does not hold is unknown. An attribute without a value is empty, as in HTML. A path may be cut at its front, so it is
anchored at its end: the last element is the target.

Any text is read as far as it can be, in a time that grows with its length only. Of a path that is longer than 65,536
characters or deeper than 200 elements only the end is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

LONGEST = 65_536
DEEPEST = 200
MOST_KEPT = 50_000
LONGEST_KEPT = 250
"""Of so many elements what was read is remembered, if their text is no longer: the same ones stand in many paths."""


@dataclass(frozen=True, slots=True)
class Compound:
    """What a path holds of one element.

    Attributes:
        tag: in lower case, without the namespace of SVG or MathML; None where the path has none.
        id: None where the path has none.
        classes: as they were written, without escapes.
        attributes: by name in lower case. `id` and `class` are not among them, whichever way the path spells them.
        nth: the place among all siblings, from 1; None where the path has none.
        nth_of_type: the place among the siblings of the same tag, likewise.

    """

    tag: str | None = None
    id: str | None = None
    classes: frozenset[str] = frozenset()
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    nth: int | None = None
    nth_of_type: int | None = None


ESCAPE = r"\\(?:[0-9a-fA-F]{1,6}+\s?+|.|\Z)"
PSEUDO = (
    r"::?(?:nth-(?:child|of-type)\(\s{0,9}\d{1,9}\s{0,9}\)|nth-[a-z-]{1,20}\([^()]{0,50}\)"
    r"|(?:first|last|only)-(?:child|of-type)(?![\w-])"
    r"|(?:hover|active|focus|visited|root|before|after)(?=[.#\[]|\Z))"
)
"""What a colon begins in a path. Any other is part of a name: `md:flex`, `:r1:`, `o:p`."""

A_PSEUDO = re.compile(PSEUDO)
NAME_OF_TAG = re.compile(rf"(?:[^.#\[:\\]|{ESCAPE}|(?!{PSEUDO}):)++", re.DOTALL)
NAME = re.compile(rf"(?:[^.#\[:\\]|{ESCAPE}|(?<=\d)\.(?=\d)|(?!{PSEUDO}):)++", re.DOTALL)
"""A class or an id; a dot between digits is part of it, as in `py-2.5`."""

SIMPLE = re.compile(r"([A-Za-z][\w-]*)(?:#([A-Za-z][\w-]*))?((?:\.[A-Za-z_-][\w-]*)*)")
NO_SEPARATOR = re.compile(rf"(?:[^\s>\[\\]|{ESCAPE})++", re.DOTALL)
NUMBERED = re.compile(r"::?(?:nth-(child|of-type)\(\s*(\d+)\s*\)|(?:first|only)-(child|of-type))")
PREFIX = re.compile(r"(?:svg|math|html)[:|](?=.)")
CAPITALS = re.compile(r"[A-Z]+")
ESCAPED = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)

ATTRIBUTE = re.compile(r"\s*+([^\s=~|^$*\[\]\"']++)\s*+(?:(=)\s*+|\Z)")
QUOTED = re.compile(r"\[\s*+[^\s=~|^$*\[\]\"']++\s*+=\s*+([\"'])")
END_OF_ATTRIBUTE = r"\s{0,3}[iIsS]?\s{0,3}\]"
ENDS = {
    quote: re.compile(
        rf"(?:[^{quote}\\]|\\.|{quote}(?!{END_OF_ATTRIBUTE}))*+{quote}{END_OF_ATTRIBUTE}",
        re.DOTALL,
    )
    for quote in "\"'"
}
"""The rest of a quoted value, to the bracket after it. A quote that no bracket follows is part of the value."""

TAG = re.compile(r"[A-Za-z][\w:%-]*")
ENCODED = re.compile(r"\s*+(?:[.#]?(?:[\w=]|%[0-9A-Fa-f]{2})++(?:\s++|\Z))*+")
OF_NAMES = re.compile(r"[\[\\]")
SEVERAL = re.compile(r"[.#][^.#\[]*[^.#\[\d][.#][A-Za-z_-]")
ATTRIBUTE_TOKEN = re.compile(r"(?:\A| )=[^\s=]")
BEFORE_TAG = re.compile(r"\s+(?=[^\s.#=])")
BEFORE_MARK = re.compile(r"\s+(?=[.#=])")
TAGS = frozenset(
    re.findall(
        r"[\w-]+",
        "a abbr address animate area article aside audio b base bdi bdo blockquote body br button canvas caption "
        "cite circle clippath code col colgroup data datalist dd defs del desc details dfn dialog div dl dt "
        "ellipse em embed fieldset figcaption figure filter font footer foreignobject form frame frameset g h1 h2 "
        "h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins kbd label legend li line "
        "lineargradient link main map mark marker mask math menu meta meter nav noscript object ol optgroup option "
        "output p param path pattern picture polygon polyline pre progress q radialgradient rect rp rt ruby s samp "
        "script search section select slot small source span stop strong style sub summary sup svg symbol table "
        "tbody td template text textarea textpath tfoot th thead time title tr track tspan tt u ul use var video "
        "view wbr",
    )
)
"""The tags of HTML and the usual ones of SVG: they tell an element from a word of a value whose blanks were decoded."""


def parse(path: str) -> tuple[Compound, ...]:
    """Read a recorded path, outermost element first; the last one is the target. What can't be read is left out."""
    text = path if len(path) <= LONGEST else _end_of(path)
    words = text.split()
    encoded = "%" in text and ENCODED.fullmatch(text) is not None
    if encoded or _are_tokens(text, words):
        return tuple(
            [
                _tokens_kept(element, encoded) if len(element) <= LONGEST_KEPT else _of_tokens(element, encoded)
                for element in _elements(text, encoded)[-DEEPEST:]
            ]
        )
    if special := OF_NAMES.search(text):
        begin = max(text.rfind(" ", 0, special.start()), text.rfind(">", 0, special.start())) + 1
        words = text[:begin].replace(">", " ").split() + _words(text[begin:])
    elif ">" in text:
        words = text.replace(">", " ").split()
    return tuple([_kept(word) if len(word) <= LONGEST_KEPT else _compound(word) for word in words[-DEEPEST:]])


def _end_of(path: str) -> str:
    """The last characters of a path, from the first element that begins in them."""
    end = path[-LONGEST:]
    separator = re.search(r"[\s>]", end)
    return end[separator.start() :] if separator else ""


def _words(text: str) -> list[str]:
    """The text of each element, where names hold escapes, or brackets hold what separates elements elsewhere."""
    words, begin, at = [], 0, 0
    unclosed: set[str] = set()
    while at < len(text):
        if found := NO_SEPARATOR.match(text, at):
            at = found.end()
        elif text[at] == "[":
            at = _closing(text, at, unclosed) or at + 1
        else:
            words.append(text[begin:at])
            at += 1
            begin = at
    words.append(text[begin:])
    return [word for word in words if word]


def _closing(text: str, at: int, unclosed: set[str]) -> int | None:
    """Where the bracket that opens here has been closed; None if it never is.

    What was looked for in vain is remembered in `unclosed` and not looked for again, so that a text of brackets takes
    no longer than any other.
    """
    if (quoted := QUOTED.match(text, at)) and (quote := quoted[1]) not in unclosed:
        if end := ENDS[quote].match(text, quoted.end()):
            return end.end()
        unclosed.add(quote)
    if "]" not in unclosed:
        if (closing := text.find("]", at)) >= 0:
            return closing + 1
        unclosed.add("]")
    return None


def _compound(text: str) -> Compound:
    """Read the text of one element."""
    if simple := SIMPLE.fullmatch(text):
        return Compound(lower(simple[1]), simple[2], frozenset(simple[3].split(".")[1:]))
    tag = id_ = None
    classes: list[str] = []
    attributes: dict[str, str] = {}
    numbers: dict[str, int] = {}
    unclosed: set[str] = set()
    at = 0
    while at < len(text):
        mark = text[at]
        if mark == "[":
            end = _closing(text, at, unclosed)
            if end and (attribute := _attribute(text[at + 1 : end - 1])):
                attributes.setdefault(*attribute)
            at = end or at + 1
        elif found := A_PSEUDO.match(text, at):
            if number := NUMBERED.match(found[0]):
                numbers[number[1] or number[3]] = int(number[2] or 1)
            at = found.end()
        else:
            begin = at + (mark in ".#")
            end = _end_of_name(text, begin, NAME if mark in ".#" else NAME_OF_TAG, unclosed)
            name = unescape(text[begin:end])
            if mark == ".":
                classes.append(name)
            elif mark == "#":
                id_ = id_ or name
            elif at == 0:
                tag = name
            at = max(end, at + 1)
    return _made(tag, id_, classes, attributes, numbers)


_kept = lru_cache(maxsize=MOST_KEPT)(_compound)


def _end_of_name(text: str, at: int, name: re.Pattern[str], unclosed: set[str]) -> int:
    """Where a name ends: `text-[1.5rem]` and `[&>p]:mt-2` are names of classes, with what is in their brackets."""
    begin = at
    while at < len(text):
        if found := name.match(text, at):
            at = found.end()
        elif text[at] == "[" and (at == begin or text[at - 1] in "-:/!") and name is NAME:
            at = _closing(text, at, unclosed) or at + 1
        else:
            break
    return at


def _attribute(text: str) -> tuple[str, str] | None:
    """The name and value of what is in brackets; none where that is a pattern (`href^=…`) and not a value."""
    found = ATTRIBUTE.match(text)
    if not found:
        return None
    value = text[found.end() :].strip()
    if value[:1] in ('"', "'"):
        last = value.rfind(value[0])
        value = value[1 : last if last > 0 else None]
    return lower(found[1]), unescape(value)


def lower(text: str) -> str:
    """Lower case as HTML has it: of the letters A to Z only."""
    return text.lower() if text.isascii() else CAPITALS.sub(lambda found: found[0].lower(), text)


def unescape(text: str) -> str:
    r"""Take CSS escapes for what they stand for: `w-1\/2`, `\31 0`."""
    return ESCAPED.sub(_character, text) if "\\" in text else text


def _character(escape: re.Match[str]) -> str:
    if escape[2]:
        return escape[2]
    code = int(escape[1], 16)
    return chr(code) if 0 < code < 0xD800 or 0xDFFF < code <= 0x10FFFF else "\ufffd"


def _made(
    tag: str | None, id_: str | None, classes: list[str], attributes: dict[str, str], numbers: Mapping[str, int]
) -> Compound:
    classes += attributes.pop("class", "").split()
    id_ = id_ or attributes.pop("id", None)
    attributes.pop("id", None)
    return Compound(
        tag=PREFIX.sub("", lower(tag), count=1) if tag and tag != "*" else None,
        id=id_ or None,
        classes=frozenset(filter(None, classes)),
        attributes=attributes,
        nth=numbers.get("child"),
        nth_of_type=numbers.get("of-type"),
    )


def _are_tokens(text: str, words: Sequence[str]) -> bool:
    """Whether each word is a token. Elsewhere no element begins with `=`, and one without a tag is rare.

    So `html body .row` is a body with a class; where one word has more than one token, as in `div#app .row`, it is not.
    """
    if (" =" in text or text[:1] == "=") and (attribute := ATTRIBUTE_TOKEN.search(text)):
        before = attribute.start()
        return text.rfind("[", 0, before) <= text.rfind("]", 0, before)
    of_a_tag, was_tag = False, False
    for word in words:
        is_tag = word[0] not in ".#"
        if (is_tag and not TAG.fullmatch(word)) or (not is_tag and SEVERAL.match(word)):
            return False
        of_a_tag = of_a_tag or (was_tag and not is_tag)
        was_tag = is_tag
    return of_a_tag


def _elements(text: str, encoded: bool) -> list[str]:
    """The tokens of each element; each begins with its tag, or the path was cut before it.

    A value lost the code of its blanks when it was decoded, so what follows it and can't be a tag is more of it.
    """
    elements = BEFORE_TAG.split(text.strip())
    if encoded or "=" not in text:
        return elements
    joined: list[list[str]] = []
    in_value = False
    for element in elements:
        if in_value and not _may_be_tag(element.split(maxsplit=1)[0]):
            joined[-1].append(element)
        else:
            joined.append([element])
            in_value = False
        if len(tokens := BEFORE_MARK.split(element)) > 1:
            in_value = tokens[-1].find("=", 1) > 0 and tokens[-1][0] == "="
    return [" ".join(parts) for parts in joined]


def _may_be_tag(word: str) -> bool:
    return word in TAGS or bool("-" in word and re.fullmatch(r"[a-z][\w.-]*", word))


def _of_tokens(text: str, encoded: bool) -> Compound:
    decoded = unquote if encoded else str
    tag = id_ = None
    classes: list[str] = []
    attributes: dict[str, str] = {}
    for token in BEFORE_MARK.split(text):
        mark, rest = token[0], token[1:]
        if mark == ".":
            classes.append(decoded(rest))
        elif mark == "#":
            id_ = id_ or decoded(rest)
        elif mark == "=":
            name, _, value = rest.partition("=")
            attributes.setdefault(lower(decoded(name)), decoded(value))
        else:
            tag = decoded(token)
    return _made(tag, id_, classes, attributes, {})


_tokens_kept = lru_cache(maxsize=MOST_KEPT)(_of_tokens)
