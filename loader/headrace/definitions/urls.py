"""URL patterns of the URL Pattern standard: what they are made of, which is the more special, whether two overlap."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from urlpattern import URLPattern

MAX_URL = 8_192
"""Characters of a URL that are looked at: servers refuse longer ones, and what is cut off is query or hash."""

MAX_GROUPS = 20
"""Wildcards, names and groups of a pattern: each makes it slower."""

MAX_STATES = 20_000
"""How far a URL is looked for that two patterns match."""

MAX_EFFORT = 10_000_000
"""What all such searches may cost in all: some seconds. Two short patterns cost about two hundred."""

LOOK = 3
"""What a look at two patterns costs that can't match one URL."""

SAMPLES = (
    *("1", "12", "123", "1234", "12345", "123456", "12345678", "2026", "2026-03", "2026-03-02", "1.0", "v1", "a1"),
    *(
        "a",
        "ab",
        "abc",
        "abcd",
        "abcde",
        "A",
        "AB",
        "ABC",
        "en",
        "de",
        "en-us",
        "en-US",
        "en_US",
        "a-b",
        "a_b",
        "index",
    ),
    *("deadbeef", "0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef", "", "x/y", "a.html"),
)
"""What a regular expression in a pattern may stand for."""

ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
PLAIN_HOST = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@\\\s]*@)?([a-zA-Z0-9._-]+)(?::[0-9]*)?(?:[/?#]|\Z)")
"""A URL whose host is as it is written, but for its case."""

COMPONENTS = ("protocol", "hostname", "port", "pathname", "search", "hash")


@dataclass(frozen=True)
class Part:
    """A part of a pattern: a fixed text, a name, a wildcard, a regular expression, or a group of parts."""

    kind: str
    """text, name, any, regexp or group."""
    text: str = ""
    """The fixed text, the name, or the regular expression."""
    modifier: str = ""
    """? * or +: how often it comes, otherwise once."""
    parts: tuple[Part, ...] = ()


def parts_of(pattern: str, prefix: str = "") -> tuple[Part, ...]:
    """The parts of one component of a pattern, as the standard reads it.

    Args:
        pattern: as the library says it again, so that it is known to be well-formed.
        prefix: the character that belongs to what follows it when that comes more or less than once: / in a path.
    """
    found, end = _parts(pattern, 0, prefix)
    assert end == len(pattern), pattern  # noqa: S101 (it is well-formed)
    return found


def _parts(pattern: str, at: int, prefix: str) -> tuple[tuple[Part, ...], int]:
    parts: list[Part] = []
    text: list[str] = []

    def flush() -> None:
        if text:
            parts.append(Part("text", "".join(text)))
            text.clear()

    while at < len(pattern) and pattern[at] != "}":
        sign = pattern[at]
        if sign not in "{*(:":
            at += sign == "\\"
            text.append(pattern[at])
            at += 1
            continue
        inner, at = _part(pattern, at, prefix)
        modifier = pattern[at : at + 1] if pattern[at : at + 1] in ("?", "*", "+") else ""
        at += len(modifier)
        before = text.pop() if modifier and inner.kind != "group" and prefix and text[-1:] == [prefix] else ""
        flush()
        if before:
            parts.append(Part("group", modifier=modifier, parts=(Part("text", before), inner)))
        else:
            parts.append(Part(inner.kind, inner.text, modifier, inner.parts))
    flush()
    return tuple(parts), at


def _part(pattern: str, at: int, prefix: str) -> tuple[Part, int]:
    """The part that begins with a sign, without its modifier."""
    if pattern[at] == "{":
        inner, end = _parts(pattern, at + 1, prefix)
        return Part("group", parts=inner), end + 1
    if pattern[at] == "*":
        return Part("any"), at + 1
    name = ""
    if pattern[at] == ":":
        end = at + 1
        while end < len(pattern) and (pattern[at + 1 : end + 1].isidentifier() or pattern[end] in "$\u200c\u200d"):
            end += 1
        name, at = pattern[at + 1 : end], end
        if pattern[at : at + 1] != "(":
            return Part("name", name), at
    depth, end = 0, at
    while True:
        depth += {"(": 1, ")": -1}.get(pattern[end], 0)
        end += 2 if pattern[end] == "\\" else 1
        if depth == 0:
            return Part("regexp", pattern[at + 1 : end - 1], parts=(Part("name", name),) if name else ()), end


def in_capitals(url: str) -> str:
    """A URL whose escapes are written alike: %c3 as %C3."""
    return ESCAPE.sub(lambda found: found[0].upper(), url) if "%" in url else url


def readable(url: str | None) -> str | None:
    """A URL as patterns are tried on; None for what can't be one."""
    if not url or ":" not in url[:MAX_URL]:
        return None
    url = url[:MAX_URL]
    if not url.isascii():
        url = url.encode(errors="replace").decode()  # half a surrogate pair, which the library does not take
    return in_capitals(url)


def host_of(url: str) -> str | None:
    """The host of a URL in lower case; None where the library has to say what it is."""
    found = PLAIN_HOST.match(url)
    host = found[1].lower() if found else None
    # A last label that begins with a digit makes an address of numbers, which can be written in many ways.
    return None if host is None or host.rpartition(".")[2][:1].isdigit() or host.endswith(".") else host


class UrlPattern:
    """A pattern, tried on URLs.

    Raises:
        ValueError: it is no pattern, or one that would be slow, with what is wrong with it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._pattern = URLPattern(in_capitals(text))
        except (ValueError, TypeError) as error:
            raise ValueError(_words(error, text)) from None
        self.components = {
            name: parts_of(getattr(self._pattern, name), "/" if name == "pathname" else "") for name in COMPONENTS
        }
        _check(self.components)

    def matches(self, url: str) -> bool:
        """Whether it matches a URL, as `readable` gives it."""
        return bool(self._pattern.test(url))

    def takes(self, component: str, text: str) -> bool:
        """Whether one component of it matches a text."""
        pattern: Any = URLPattern
        return bool(pattern({component: getattr(self._pattern, component)}).test({component: text}))

    @property
    def path(self) -> str:
        """The pattern of its path."""
        return str(self._pattern.pathname)

    def parts_of(self, url: str) -> dict[str, str] | None:
        """The components of a URL; None where it does not match."""
        found: Any = self._pattern.exec(url)
        return {name: str(found[name]["input"]) for name in COMPONENTS} if found else None

    @cached_property
    def host(self) -> str | None:
        """The one host that it matches; None when there are several."""
        parts = self.components["hostname"]
        host = parts[0].text.lower() if len(parts) == 1 and parts[0].kind == "text" else ""
        return host if host and host_of(f"https://{host}/") == host else None

    @cached_property
    def specificity(self) -> tuple[int, int]:
        """The more fixed characters, and then the fewer parts that vary, the greater."""
        parts = [part for name in COMPONENTS[1:] for part in self.components[name]]
        return sum(len(part.text) for part in parts if part.kind == "text"), -sum(part.kind != "text" for part in parts)

    @cached_property
    def ends(self) -> tuple[str, str]:
        """What its paths begin and end with."""
        parts = self.components["pathname"]
        first = parts[0].text if parts and parts[0].kind == "text" else ""
        return first, parts[-1].text if parts and parts[-1].kind == "text" else ""

    @cached_property
    def segments(self) -> tuple[str | None, ...]:
        """What its paths have between slashes, from the front on as far as it is known; None for what varies."""
        segments: list[str | None] = [""]
        for part in self.components["pathname"]:
            if part.kind == "text":
                first, *others = part.text.split("/")
                segments[-1] = None if segments[-1] is None else segments[-1] + first
                segments += others
            elif part.kind == "name" and not part.modifier:
                segments[-1] = None
            else:
                return tuple(segments[:-1])
        return tuple(segments)


def _words(error: Exception, text: str) -> str:
    words = str(error).splitlines()[0]
    if "relative input" in words:
        return "it has no scheme and host: write https://example.com/checkout, or *://*/checkout for any host"
    if "regexp" in words or "invalid regex" in words:
        return f"a regular expression in ( ) is none, needs look-around, or is too large ({words})"
    if "invalid name" in words:
        return f"after : there has to be a name; write \\: for a colon ({words})"
    if "failed to extract" in words:
        return "it holds half a character (a lone surrogate)"
    return words


def _check(components: dict[str, tuple[Part, ...]]) -> None:
    groups = sum(_groups(parts) for name, parts in components.items() if parts != (Part("any"),))
    if groups > MAX_GROUPS:
        raise ValueError(f"it has {groups} wildcards, names and groups, and may have {MAX_GROUPS}")
    path = components["pathname"]
    for part, after in pairwise(path):
        if part.modifier == "?" and after.kind == "text" and "=" in after.text:
            raise ValueError("a ? after * : ) or } means that this may be missing: write \\? to begin the query")


def _groups(parts: Iterable[Part]) -> int:
    return sum((part.kind != "text") + _groups(part.parts) for part in parts)


class Route:
    """A route of page rules, which says what of a path makes a page.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_of_hash = text.startswith("#")
        self.path = text.removeprefix("#").removeprefix("!") if self.is_of_hash else text
        if not self.path.startswith("/"):
            raise ValueError("it has to begin with /, or with #/ for a route in the hash")
        try:
            self._pattern = URLPattern({"pathname": in_capitals(self.path)})
        except (ValueError, TypeError) as error:
            raise ValueError(_words(error, text)) from None
        self.parts = parts_of(self._pattern.pathname, "/")
        if any(part.kind == "group" or part.modifier for part in self.parts):
            raise ValueError("{ } and the signs ? * + after a name can't be shown: write several routes")
        if _groups(self.parts) > MAX_GROUPS:
            raise ValueError(f"it has more than {MAX_GROUPS} wildcards and names")

    @property
    def specificity(self) -> tuple[int, int]:
        """The more fixed characters, and then the fewer parts that vary, the greater."""
        fixed = [len(part.text) for part in self.parts if part.kind == "text"]
        return sum(fixed), len(fixed) - len(self.parts)

    def shown(self, path: str) -> str | None:
        """A path with names in place of what differs within the page; None when it is none of this route."""
        found = self._pattern.exec({"pathname": path})
        if not found:
            return None
        groups = found["pathname"]["groups"]
        shown, unnamed = [], 0
        for part in self.parts:
            name = part.text if part.kind == "name" else part.parts[0].text if part.parts else ""
            if part.kind == "text":
                shown.append(part.text)
            elif name:
                shown.append(f":{name}")
            else:
                shown.append(groups.get(str(unnamed)) or "")
                unnamed += 1
        return "".join(shown)


# Whether two patterns overlap: each component is an automaton over characters, and a way that both can go is a text
# that both match. A regular expression in a pattern is tried with samples alone, so this is a search, and no proof.

Label = tuple[bool, str]
"""A character, or (False, c) for any but c."""


class Effort:
    """What may still be spent on searches."""

    def __init__(self, left: int = MAX_EFFORT) -> None:
        self.left = left


class _Automaton:
    def __init__(self, parts: tuple[Part, ...], separator: str, words: Iterable[str]) -> None:
        self.separator = separator
        self.words = words
        self.steps: list[list[tuple[Label, int]]] = [[]]
        self.jumps: list[list[int]] = [[]]
        self.end = self._of(parts, 0)

    def _new(self) -> int:
        self.steps.append([])
        self.jumps.append([])
        return len(self.steps) - 1

    def _of(self, parts: Iterable[Part], at: int) -> int:
        for part in parts:
            first = self._new()
            self.jumps[at].append(first)
            last = self._one(part, first)
            at = self._new()
            self.jumps[last].append(at)
            if part.modifier in ("?", "*"):
                self.jumps[first].append(at)
            if part.modifier in ("*", "+"):
                self.jumps[last].append(first)
        return at

    def _one(self, part: Part, at: int) -> int:
        if part.kind == "text":
            return self._text(part.text, at)
        if part.kind == "group":
            return self._of(part.parts, at)
        if part.kind == "any":
            self.steps[at].append(((False, ""), at))
            return at
        end = self._new()
        if part.kind == "name":
            self.steps[at].append(((False, self.separator), end))
            self.steps[end].append(((False, self.separator), end))
        else:
            for word in _fitting(part.text, self.words):
                self.jumps[self._text(word, at)].append(end)
        return end

    def _text(self, text: str, at: int) -> int:
        for sign in text:
            after = self._new()
            self.steps[at].append(((True, sign), after))
            at = after
        return at

    @cached_property
    def reach(self) -> list[frozenset[int]]:
        """Where one gets to from each state without a character."""
        found = []
        for state in range(len(self.jumps)):
            seen, waiting = {state}, [state]
            while waiting:
                for after in self.jumps[waiting.pop()]:
                    if after not in seen:
                        seen.add(after)
                        waiting.append(after)
            found.append(frozenset(seen))
        return found

    def accepts(self, text: str) -> bool:
        now = self.reach[0]
        for sign in text:
            after = {to for state in now for label, to in self.steps[state] if _common(label, (True, sign))}
            now = frozenset(state for to in after for state in self.reach[to])
        return self.end in now


def _fitting(regexp: str, words: Iterable[str]) -> list[str]:
    import re2

    from .conditions import compile_regexp

    try:
        fits = compile_regexp(regexp).fullmatch
    except (ValueError, re2.error):
        return []
    return [word for word in dict.fromkeys((*SAMPLES, *regexp.split("|"), *words)) if fits(word.encode())]


def _common(one: Label, other: Label) -> str | None:
    """A character that both take."""
    if one[0] and other[0]:
        return one[1] if one[1] == other[1] else None
    if not one[0] and not other[0]:
        return "x"
    fixed, but = (one[1], other[1]) if one[0] else (other[1], one[1])
    return None if fixed == but else fixed


def _shared(
    one: _Automaton, other: _Automaton, preferred: Iterable[str], first: str | None, effort: Effort
) -> str | None:
    """A text that both match, the shortest where none of the preferred ones is.

    Args:
        one: an automaton.
        other: another.
        preferred: what is easy to read.
        first: the character that it begins with; "" for any, None where it may be empty, too.
        effort: what it costs is taken from it.
    """
    for text in preferred:
        if one.accepts(text) and other.accepts(text):
            return text
    effort.left -= len(one.steps) + len(other.steps)
    start = (0, 0)
    before: dict[tuple[int, int], tuple[tuple[int, int], str] | None] = {start: None}
    waiting = deque([start])
    while waiting and len(before) < MAX_STATES:
        state = waiting.popleft()
        effort.left -= 1
        if one.end in one.reach[state[0]] and other.end in other.reach[state[1]] and (first is None or state != start):
            return _way(before, state)
        for left in one.reach[state[0]]:
            for label, to in one.steps[left]:
                for right in other.reach[state[1]]:
                    for other_label, other_to in other.steps[right]:
                        sign = _common(label, other_label)
                        after = (to, other_to)
                        if sign and first and state == start:
                            sign = (
                                first if _common(label, (True, first)) and _common(other_label, (True, first)) else None
                            )
                        if sign and after not in before:
                            before[after] = (state, sign)
                            waiting.append(after)
    return None


def _way(before: dict[tuple[int, int], tuple[tuple[int, int], str] | None], state: tuple[int, int]) -> str:
    signs: list[str] = []
    while step := before[state]:
        state, sign = step
        signs.append(sign)
    return "".join(reversed(signs))


PREFERRED = {
    "protocol": ("https", "http"),
    "hostname": ("example.com", "www.example.com"),
    "port": ("",),
    "pathname": ("/",),
    "search": ("",),
    "hash": ("",),
}

FIRST = {"protocol": "", "hostname": "", "pathname": "/"}


def may_overlap(one: UrlPattern, other: UrlPattern) -> bool:
    """False where a look at their hosts and paths says that no URL matches both."""
    if one.host and other.host and one.host != other.host:
        return False
    if any(a != b and None not in (a, b) for a, b in zip(one.segments, other.segments, strict=False)):
        return False
    (begins, ends), (other_begins, other_ends) = one.ends, other.ends
    return (begins.startswith(other_begins) or other_begins.startswith(begins)) and (
        ends.endswith(other_ends) or other_ends.endswith(ends)
    )


def example_of_both(one: UrlPattern, other: UrlPattern, effort: Effort | None = None) -> str | None:
    """A URL that two patterns match; None when none was found, or the effort is spent."""
    effort = effort or Effort()
    effort.left -= LOOK
    if effort.left <= 0 or not may_overlap(one, other):
        return None
    texts = {}
    for name in COMPONENTS:
        pair = one.components[name], other.components[name]
        words = [word for parts in pair for text in _texts(parts) for word in (text, *re.split("[/.&=]", text))]
        separator = {"pathname": "/", "hostname": "."}.get(name, "")
        left, right = (_Automaton(parts, separator, words) for parts in pair)
        found = _shared(left, right, PREFERRED[name], FIRST.get(name), effort)
        if found is None:
            return None
        texts[name] = found
    port, search, mark = (texts[name] for name in ("port", "search", "hash"))
    url = (
        f"{texts['protocol']}://{texts['hostname']}{port and f':{port}'}{texts['pathname']}"
        f"{search and f'?{search}'}{mark and f'#{mark}'}"
    )
    return url if one.matches(url) and other.matches(url) else None


def _texts(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        if part.kind == "text":
            yield part.text
        yield from _texts(part.parts) if part.kind == "group" else ()
