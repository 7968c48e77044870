"""The one matcher: which definitions match a URL, a recorded path, an event.

It answers for distinct values, which are few where events are many, and keeps the answers. The same answers come of the
same definitions in whatever order and files they are written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from . import conditions, paths, selectors
from .conditions import Test
from .model import Definition, Definitions, Element, Event, in_one_line
from .pages import App, Pages, names_of

VERSION: int = 1
"""Of the matcher: raise it when what a definition matches changes."""

CACHED_PATHS = 16_384

LONGEST_KEPT = 4_096
"""Characters of a path whose answer is kept."""


class ElementMatch(NamedTuple):
    """An element definition that matches."""

    definition_id: str
    page_definition_id: str | None
    """The page that it is bound to: elsewhere it is no match."""


def on_page(found: Iterable[ElementMatch], page: str | None) -> list[str]:
    """The ids of those that match on a page, in their order."""
    return [one.definition_id for one in found if one.page_definition_id in (None, page)]


@dataclass(frozen=True)
class Defined:
    """An event definition made ready."""

    event: Event
    rank: int
    """The place among all: 0 goes before all others."""
    elements: frozenset[str]
    pages: frozenset[str]
    tests: tuple[tuple[str, Test], ...]

    def holds(self, page_id: str | None, element_ids: frozenset[str], value_of: Callable[[str], Any]) -> bool:
        """Whether an event of one of its types is it."""
        if self.pages and page_id not in self.pages:
            return False
        if self.elements and self.elements.isdisjoint(element_ids):
            return False
        return all(test(value_of(path)) for path, test in self.tests)


RANK = attrgetter("rank")


class Matcher:
    """Which definitions match.

    Each thread needs one of its own. It can be pickled: the copy is made anew of the definitions.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.pages = Pages(definitions)
        elements = [one for one in definitions.elements if one.is_active]
        entries = [(selectors.compile(text), one) for one in elements for text in one.selectors]
        self._element_of = [one for _, one in entries]
        self._index = selectors.Index([(selector, one.is_within) for selector, one in entries])
        self._ranked = lru_cache(CACHED_PATHS)(self._ranked_elements)
        events = sorted((one for one in definitions.events if one.is_active), key=_event_rank)
        self._events = [_defined(event, rank) for rank, event in enumerate(events)]
        self._by_type = {
            kind: _OfType(one for one in self._events if not one.event.types or kind in one.event.types)
            for kind in {None, *(kind for event in events for kind in event.types)}
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return Matcher, (self.definitions,)

    def page_of(self, url: str | None, screen: str | None = None, app: App = None) -> str | None:
        """The id of the page that a URL is, else that the screen of an app is; None where none is defined."""
        return self.pages.page_of(url, screen, app)

    def rule_of(self, url: str | None) -> str | None:
        """The page that a URL is by the page rules (see Pages)."""
        return self.pages.rule_of(url)

    def elements_of(self, path: str | None, text: str | None = None, app: App = None) -> tuple[ElementMatch, ...]:
        """The elements that a recorded path with the target's text is, on whatever page: the first is the element.

        In this order: the deepest element, the most specific selector (CSS), bound to most of page, text and app, the
        newest, the id. Those that are bound to another page than the event's have to be left out; the order stays.

        Args:
            path: as recorded, in any form that a feed has.
            text: the target's; None where it has none, or a masked one. However many blanks or ends of lines are
                between its words, they count as one blank.
            app: its name, its package, or both.
        """
        if not path or not self._element_of:
            return ()
        ranked = self._ranked(path) if len(path) <= LONGEST_KEPT else self._ranked_elements(path)
        apps, shown = names_of(app), in_one_line(text)
        return tuple(
            ElementMatch(one.id, one.page)
            for one in ranked
            if (not one.texts or shown in one.texts) and (one.app is None or one.app in apps)
        )

    def _ranked_elements(self, path: str) -> tuple[Element, ...]:
        best: dict[str, tuple[Any, ...]] = {}
        found: dict[str, Element] = {}
        for match in self._index.matches(paths.parse(path)):
            one = self._element_of[match.number]
            found[one.id] = one
            best[one.id] = max((match.depth, match.specificity), best.get(one.id, (-1, ())))
        return tuple(sorted(found.values(), key=lambda one: (*_downwards(best[one.id]), *_element_rank(one))))

    def events_of(
        self,
        event_type: str | None,
        page_id: str | None,
        element_ids: frozenset[str],
        value_of: Callable[[str], Any],
    ) -> tuple[str, ...]:
        """The ids of the events that an event is: the first is the event.

        In this order: who asks for most (type, element, page and each condition), the newest, the id.

        Args:
            event_type: its type.
            page_id: the id of its page definition.
            element_ids: those of its element definitions.
            value_of: gives the value at a path of `properties`, decoded from JSON; None where there is none.
        """
        group = self._by_type.get(event_type) or self._by_type[None]
        found = group.candidates(page_id, element_ids, value_of)
        return tuple(one.event.id for one in found if one.holds(page_id, element_ids, value_of))

    @property
    def tests(self) -> list[tuple[str, Test]]:
        """All conditions of events: a path, as `conditions.steps` takes it apart, and what is asked of its value."""
        return [test for one in self._events for test in one.tests]

    @property
    def properties(self) -> tuple[str, ...]:
        """The paths that are asked for."""
        return tuple(sorted({path for path, _ in self.tests}))


@lru_cache(1)
def matcher_of(definitions: Definitions) -> Matcher:
    """The matcher of some definitions, made once in a process."""
    return Matcher(definitions)


class _OfType:
    """Event definitions of one type, each found by one thing that it asks for: a value, an element or a page."""

    def __init__(self, defined: Iterable[Defined]) -> None:
        by_value: dict[str, dict[tuple[str, Any], list[Defined]]] = defaultdict(lambda: defaultdict(list))
        by_element: dict[str, list[Defined]] = defaultdict(list)
        by_page: dict[str, list[Defined]] = defaultdict(list)
        self._others: list[Defined] = []
        for one in defined:
            wanted = [(where.property, keys) for where in one.event.where if (keys := conditions.keys_of(where))]
            if wanted:
                places = [by_value[wanted[0][0]][key] for key in wanted[0][1]]
            elif one.elements:
                places = [by_element[name] for name in one.elements]
            elif one.pages:
                places = [by_page[name] for name in one.pages]
            else:
                places = [self._others]
            for place in places:
                place.append(one)
        self._by_value = [(path, dict(of_path)) for path, of_path in by_value.items()]
        self._by_element, self._by_page = dict(by_element), dict(by_page)

    def candidates(
        self, page_id: str | None, element_ids: frozenset[str], value_of: Callable[[str], Any]
    ) -> list[Defined]:
        """Those of which the one thing is there, in the order of their ranks."""
        found = self._others
        for path, of_path in self._by_value:
            key = conditions.key_of(value_of(path))
            if key in of_path:
                found = found + of_path[key]
        if self._by_element and not element_ids.isdisjoint(self._by_element):
            of_elements = {one.rank: one for name in element_ids for one in self._by_element.get(name, ())}
            found = found + list(of_elements.values())
        if page_id in self._by_page:
            found = found + self._by_page[page_id]
        return sorted(found, key=RANK) if len(found) > 1 else found


def _defined(event: Event, rank: int) -> Defined:
    tests = tuple((where.property, conditions.compiled(where)) for where in event.where)
    return Defined(event, rank, frozenset(event.elements), frozenset(event.pages), tests)


def _event_rank(event: Event) -> tuple[Any, ...]:
    return -event.weight, *_newest_first(event)


def _element_rank(element: Element) -> tuple[Any, ...]:
    bound = (element.page is not None) + bool(element.texts) + (element.app is not None)
    return -bound, *_newest_first(element)


def _newest_first(one: Definition) -> tuple[float, str]:
    """Those without a time are the oldest."""
    return -(one.created_time or datetime.min.replace(tzinfo=UTC)).timestamp(), one.id


def _downwards(values: Iterable[Any]) -> tuple[Any, ...]:
    """Numbers, and tuples of them, so that the greatest sort first."""
    return tuple(tuple(-one for one in value) if isinstance(value, tuple) else -value for value in values)
