"""What an author may define: named pages, elements and events, and rules for the pages that have no name."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

Value = str | int | float | bool
"""What a property is compared with."""


LONGEST_TEXT = 20_000


def in_one_line(text: str | None) -> str | None:
    """A text with one blank between its words; None where it is too long to be an element's text."""
    return None if text is None or len(text) > LONGEST_TEXT else " ".join(text.split())


KINDS = ("page", "element", "event")


@dataclass(frozen=True)
class Place:
    """Where something is written."""

    file: str
    line: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What the three kinds have in common: the columns of their lookups (the contract's 1.1)."""

    id: str
    """Given by the author, and never changed: it is what events are stamped with."""
    name: str
    description: str | None = None
    is_active: bool = True
    """False for an archived one, which keeps its name and matches nothing."""
    created_time: datetime | None = None
    created_by: str | None = None
    modified_time: datetime | None = None
    modified_by: str | None = None
    place: Place = field(compare=False)

    @property
    def state(self) -> str:
        """As the lookups say it."""
        return "active" if self.is_active else "archived"


@dataclass(frozen=True, kw_only=True)
class Page(Definition):
    """A page by its URL, or an app's screen by its name; one with both is that page on the web and in the app."""

    urls: tuple[str, ...] = ()
    """Patterns of the URL Pattern standard; one of them is enough."""
    screen: str | None = None
    app: str | None = None
    """The app of the screen, when it is of one app alone."""
    priority: int = 0
    """Of several pages that match one URL the one with the highest priority is the page."""


@dataclass(frozen=True, kw_only=True)
class Element(Definition):
    """An element by its selector."""

    selectors: tuple[str, ...]
    """One of them is enough."""
    is_within: bool = True
    """Whether what lies in the element counts as the element, since a click lands on the span in the button."""
    page: str | None = None
    """The id of the page on which alone it counts."""
    texts: tuple[str, ...] = ()
    """The target's text is one of these, but for blanks (`in_one_line`); with none, any text or none."""
    app: str | None = None


@dataclass(frozen=True)
class Condition:
    """What a property of an event has to be. Conditions of an event all hold."""

    property: str
    """A path by dots in event_properties, or in source_properties where it begins with `source_properties.`."""
    operator: str
    """equals, in, contains, matches, exists, greater or less."""
    value: Value | tuple[Value, ...]
    place: Place = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Event(Definition):
    """An event by its type, element, page and properties: whatever is named has to hold, of several names one."""

    types: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    """Ids of element definitions."""
    pages: tuple[str, ...] = ()
    """Ids of page definitions."""
    where: tuple[Condition, ...] = ()

    @property
    def weight(self) -> int:
        """How much it asks for: of several events that match, the first is the one that asks for most."""
        return bool(self.types) + bool(self.elements) + bool(self.pages) + len(self.where)


@dataclass(frozen=True, kw_only=True)
class PageRule:
    """What makes a page of the URLs that no page definition names."""

    url: str
    """A pattern of the URL Pattern standard."""
    paths: tuple[str, ...] = ()
    """Routes: of the path, or of the hash when it begins with `#`; `:name` stands for what differs within a page."""
    query: tuple[str, ...] = ()
    """The query parameters that count."""
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Definitions:
    """All that is defined, in the order of the files."""

    pages: tuple[Page, ...] = ()
    elements: tuple[Element, ...] = ()
    events: tuple[Event, ...] = ()
    page_rules: tuple[PageRule, ...] = ()

    def of(self, kind: str) -> tuple[Definition, ...]:
        """Those of one of `KINDS`."""
        found: dict[str, tuple[Definition, ...]] = {
            "page": self.pages,
            "element": self.elements,
            "event": self.events,
        }
        return found[kind]

    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {name: len(some) for name, some in vars(self).items()}
