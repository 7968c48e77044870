"""What one value would match, why, and what it nearly matches: for who writes definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ..errors import UsageError
from . import conditions, paths, selectors
from .matcher import Matcher
from .model import Condition, Definition, Element, Event, Page, in_one_line
from .pages import App, called, names_of
from .urls import COMPONENTS, UrlPattern, readable

MAX_NEAR = 10
NEAR = 0.5
"""How much two paths have in common that are nearly the same."""
COMPARED = 200
SHOWN = 80


@dataclass(frozen=True)
class Reason:
    """Why a definition matches, or what keeps it from it."""

    kind: str
    """page, element, event, or page rule."""
    id: str
    name: str
    words: str


@dataclass(frozen=True)
class Answer:
    """What a value matches."""

    matches: tuple[Reason, ...]
    """Of each kind the first is what an event is stamped with."""
    near: tuple[Reason, ...]


class NoValueError(UsageError):
    """A text that begins as the JSON of an event, and is none."""


def tried(matcher: Matcher, value: str) -> Answer:
    """What a URL, a recorded path or an event as JSON matches.

    Raises:
        NoValueError: it begins as JSON, and is no event.
    """
    value = value.strip()
    if value.startswith("{"):
        matches, near = _event(matcher, _decoded(value))
    elif "://" in value.split("?")[0].split("#")[0].split("[")[0]:
        matches, near = _url(matcher, value)
    else:
        matches, near = _path(matcher, value, None, None)
    return Answer(tuple(matches), tuple(near[:MAX_NEAR]))


Found = tuple[list[Reason], list[Reason]]
"""What matches, and what nearly does."""


def _decoded(text: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
        for column in ("event_properties", "source_properties"):
            if isinstance(event.get(column), str):
                event[column] = json.loads(event[column])
            if not isinstance(event.setdefault(column, {}), dict):
                raise NoValueError(f"{column} is no JSON object")
    except (ValueError, RecursionError) as error:
        raise NoValueError(f"this is no event as JSON: {error}") from None
    return dict(event)


def value_at(event: dict[str, Any], path: str) -> Any:
    """The value at a path of an event; None where there is none."""
    column, keys = conditions.steps(path)
    return conditions.walk(event.get(column), keys)


def _text_at(event: dict[str, Any], path: str) -> str | None:
    found = value_at(event, path)
    return found if isinstance(found, str) and found else None


# URLs


def _url(matcher: Matcher, url: str) -> Found:
    known = readable(url)
    found: dict[str, tuple[Page, UrlPattern]] = {}
    for page, pattern in matcher.pages.matching(known):
        found.setdefault(page.id, (page, pattern))
    first, *others = found.values() or [None]
    matches = [_reason("page", first[0], f"url {first[1].text}")] if first else []
    near = []
    for page, pattern in filter(None, others):
        assert first  # noqa: S101 (there are others after it alone)
        is_lower = page.priority != first[0].priority
        why = f"priority {page.priority} against {first[0].priority}" if is_lower else "its url is less special"
        near.append(_reason("page", page, f"url {pattern.text} matches too, but {first[0].id} goes before it: {why}"))
    every = EVERY_URL.parts_of(known) if known else None
    almost = [
        (*max(reasons), page)
        for page in matcher.definitions.pages
        if known and every and page.id not in found and (reasons := list(_near_urls(page, known, every)))
    ]
    almost.sort(key=lambda one: (-one[0], one[2].id))
    near += [_reason("page", page, words) for _, words, page in almost]
    if rule := matcher.pages.rule_of(url):
        matches.append(
            Reason(
                "page rule",
                rule,
                "",
                "what the page is called where no definition names it" if found else "by page_rules",
            )
        )
    return matches, near


def _near_urls(page: Page, url: str, every: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    """What keeps the patterns of a page from matching a URL, if it is one thing, and how near they are, up to 1."""
    for pattern in map(UrlPattern, page.urls):
        if pattern.matches(url):
            yield 1, f"url {pattern.text} matches, but it is archived"
            continue
        wrong = [name for name in COMPONENTS if not pattern.takes(name, every[name])]
        if len(wrong) != 1 or wrong[0] == "hostname":
            continue
        closeness = 0.9
        if wrong[0] == "pathname":
            closeness = SequenceMatcher(None, pattern.path[:COMPARED], every["pathname"][:COMPARED]).ratio()
        if closeness > NEAR:
            yield closeness, f"url {pattern.text} wants another {wrong[0]} than {_shown(every[wrong[0]])}"


EVERY_URL = UrlPattern("*://*:*/*")


# Recorded paths


def _path(
    matcher: Matcher, path: str, text: str | None, app: App, page: str | None = None, has_page: bool = False
) -> Found:
    definitions = {one.id: one for one in matcher.definitions.elements}
    matched = [definitions[one.definition_id] for one in matcher.elements_of(path, text, app)]
    compounds = paths.parse(path)
    matches, near = [], []
    for one in matched:
        if one.page is not None and has_page and one.page != page:
            near.append(_reason("element", one, f"it is bound to the page {one.page}"))
            continue
        bound = f"; on the page {one.page} alone" if one.page is not None and not has_page else ""
        matches.append(_reason("element", one, f"selector {_selector_of(one, compounds)}{bound}"))
    for one in definitions.values():
        if one not in matched and (words := _near_path(one, compounds, text, app)):
            near.append(_reason("element", one, words))
    return matches, near


def _selector_of(one: Element, compounds: Any) -> str:
    index = selectors.Index([(selectors.compile(text), one.is_within) for text in one.selectors])
    best = max(index.matches(compounds), key=lambda match: (match.depth, match.specificity))
    levels = len(compounds) - 1 - best.depth
    where = "the target" if levels == 0 else f"the element {levels} above the target"
    return f"{one.selectors[best.number]} matches {where}, specificity {','.join(map(str, best.specificity))}"


def _near_path(one: Element, compounds: Any, text: str | None, app: App) -> str | None:
    compiled = [selectors.compile(selector) for selector in one.selectors]
    if not selectors.Index([(selector, True) for selector in compiled]).matches(compounds):
        return None
    if not selectors.Index([(selector, one.is_within) for selector in compiled]).matches(compounds):
        return f"selector {_shown(one.selectors[0])} matches what the target lies in, and it has match: target"
    if not one.is_active:
        return "its selector matches, but it is archived"
    if one.texts and in_one_line(text) not in one.texts:
        return f"its selector matches, and it wants the text {_shown(one.texts[0])}, not {_shown(text)}"
    return f"its selector matches, and it is of the app {one.app}, not {' '.join(names_of(app)) or 'of none'}"


# Events


def _event(matcher: Matcher, event: dict[str, Any]) -> Found:
    url = _text_at(event, "source_properties.url.full_url")
    app = called(*(_text_at(event, f"source_properties.app.{key}") for key in ("name", "package_name")))
    screen = _screen_of(event)
    page_id = matcher.page_of(url, screen, app)
    matches, near = _url(matcher, url) if url else ([], [])
    if page_id and not any(one.id == page_id for one in matches):
        pages = {page.id: page for page in matcher.definitions.pages}
        matches.append(_reason("page", pages[page_id], f"the screen {screen}"))
    path = _text_at(event, "target.raw_selector")
    element_ids: frozenset[str] = frozenset()
    if path:
        is_masked = any(value_at(event, key) is True for key in ("target.is_masked", "target.masked"))
        text = None if is_masked else _text_at(event, "target.text")
        of_elements, near_elements = _path(matcher, path, text, app, page_id, has_page=True)
        matches += of_elements
        near += near_elements
        element_ids = frozenset(one.id for one in of_elements)
    kind = event.get("event_type") if isinstance(event.get("event_type"), str) else None
    found = matcher.events_of(kind, page_id, element_ids, lambda path: value_at(event, path))
    events = {one.id: one for one in matcher.definitions.events}
    matches += [
        _reason("event", events[name], f"all that it asks for holds, {events[name].weight} in number") for name in found
    ]
    for one in events.values():
        if one.id not in found and (words := _near_event(one, event, page_id, element_ids)):
            near.append(_reason("event", one, words))
    return matches, near


def _screen_of(event: dict[str, Any]) -> str | None:
    if event.get("source_type") != "mobile_app":
        return None
    of_view = _text_at(event, "page_name") if event.get("event_type") == "page_view" else None
    return of_view or _text_at(event, "source_properties.app.view_name")


def _near_event(one: Event, event: dict[str, Any], page_id: str | None, element_ids: frozenset[str]) -> str | None:
    """What keeps an event definition from matching, if it is one thing."""
    wrong = list(_wrong_of(one, event, page_id, element_ids))
    if not wrong:
        return None if one.is_active else "all that it asks for holds, but it is archived"
    return wrong[0] if len(wrong) == 1 and one.is_active and one.weight > 1 else None


def _wrong_of(one: Event, event: dict[str, Any], page_id: str | None, element_ids: frozenset[str]) -> Iterator[str]:
    if one.types and event.get("event_type") not in one.types:
        yield f"it wants the type {' or '.join(one.types)}, not {_shown(event.get('event_type'))}"
    if one.pages and page_id not in one.pages:
        yield f"it wants the page {' or '.join(one.pages)}, not {_shown(page_id)}"
    if one.elements and element_ids.isdisjoint(one.elements):
        yield f"it wants the element {' or '.join(one.elements)}, not {', '.join(sorted(element_ids)) or 'none'}"
    for condition in one.where:
        value = value_at(event, condition.property)
        if not conditions.compiled(condition)(value):
            yield _wrong(condition, value)


def _wrong(condition: Condition, value: Any) -> str:
    """Why a condition does not hold, with the types where they are what differs."""
    said = f"{condition.property} is {_shown(value)}, and it wants {condition.operator}: {_shown(condition.value)}"
    wanted = condition.value[0] if isinstance(condition.value, tuple) else condition.value
    kinds = conditions.kind_of(value), conditions.kind_of(wanted)
    differ = kinds[0] != kinds[1] and value is not None and condition.operator != "exists"
    return f"{said} ({kinds[0]}, not {kinds[1]})" if differ else said


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _reason(kind: str, one: Definition, words: str) -> Reason:
    return Reason(kind, one.id, one.name, words)
