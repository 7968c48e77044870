"""Definitions that an author may want next: of the most viewed pages and the most clicked elements that have no name.

What it offers is tried with the matcher before it is said: each pattern matches the URLs that it was made of, and each
selector the paths.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from ..errors import LoadError
from ..pipeline import connected, query
from ..target import Target
from ..views import can_be_read
from . import find, paths, selectors
from .model import Definitions, Element, Page, Place
from .pages import SPLIT, USER, Pages, overlaps
from .paths import Compound
from .read import read
from .selectors import Selector, SelectorError

MAX_VALUES = 50_000
"""So many URLs and selectors are looked at, the most frequent ones."""

LONGEST = 1_000
"""Characters of a URL or a selector that is offered."""

MAX_PATTERNS = 10
"""A page that was written in more ways is not offered."""

LOWEST_PRIORITY = -5
WORDS_OF_ID = 6
LONGEST_NAME = 60
NOWHERE = Place("", 0)

ID_IN_PATH = re.compile(
    r"\d+(\.\w{1,5})?|[0-9a-f]{8}-[0-9a-f-]{27}|(?=[^/]*\d)[0-9a-f]{8,}|(?=[^/]*\d)[\w-]{20,}|[^/]*\d{4,}[^/]*|[^/]+(@|%40)[^/]+",
    re.IGNORECASE,
)
"""A part of a path that is one of many: a number, a UUID, a hash, a long token, an address."""

SPECIAL = re.compile(r"[\\{}()*+?:]")
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]*")
MADE_NAME = re.compile(r"(css|sc|jss|jsx|emotion|svelte|ember|radix|headlessui)-.*|_.*|.{0,2}|(is|has|ng|v)-.*")
"""A class or id that a tool made, or that says how an element is at the moment."""

UTILITY = re.compile(
    r"(-?(m|p)[trblxyse]?|w|h|min|max|gap|space|top|left|right|bottom|inset|text|font|bg|border|rounded|shadow|flex|grid|"
    r"items|justify|self|content|align|overflow|cursor|leading|tracking|opacity|transition|duration|order|col|row|d|fs|fw"
    r"|z|ring|divide|object|whitespace|break|float|clear|table|list|select|pointer-events|sr)-.*"
    r"|flex|grid|block|inline|hidden|relative|absolute|fixed|sticky|static|row|col|container|truncate|underline|uppercase"
    r"|active|selected|open|closed|hover|focus|disabled|enabled|visible|show|first|last|even|odd|clearfix|wrapper|inner"
)
"""A class that says how an element looks."""

MARKS_OF = re.compile(r"[.#]([\w-]+)|=\"([^\"]*)\"")
"""What the marks of a selector say."""

ROOTS = frozenset(("app", "body", "content", "layout", "main", "page", "root", "site"))
"""Ids and classes of what a whole page lies in."""

CLICKABLE = frozenset(("a", "button", "input", "label", "option", "select", "summary", "textarea"))

TEST_IDS = ("data-testid", "data-test-id", "data-test", "data-cy", "data-qa")


@dataclass(frozen=True)
class Suggestion:
    """A definition that could be added."""

    definition: Page | Element
    count: int
    """Views of a page, clicks on an element."""
    example: str
    """What it was made of."""


def suggest(target: Target, limit: int) -> list[Suggestion]:
    """The most viewed pages and screens, and the most clicked elements, that no definition names; so many of each.

    Raises:
        LoadError: the marts that are asked are not there.
        HeadraceError: see connected, find and read.
    """
    defined = _defined(target.project_dir)
    marts = f"{target.schema}_marts"
    with connected(target) as pipeline:
        if not can_be_read(pipeline, f"{marts}.page_views", f"{marts}.elements"):
            raise LoadError(
                f"{target.label} has no {marts}.page_views and {marts}.elements: `headrace sync` makes them"
            )
        views = query(
            pipeline,
            f"select page_id, page_name, url_full_url, count(*) as views from {marts}.page_views "
            "where page_definition_id is null group by page_id, page_name, url_full_url "
            f"order by views desc, page_id, url_full_url limit {MAX_VALUES}",
        )
        clicks = query(
            pipeline,
            f"select raw_selector, text, clicks from {marts}.elements "
            "where element_definition_id is null and raw_selector is not null "
            f"order by clicks desc, raw_selector, text limit {MAX_VALUES}",
        )
        taken = {kind: [name for (name,) in query(pipeline, f"select id from {kind}_definitions")] for kind in KINDS}
    names = {kind: _Names([*taken[kind], *(one.id for one in defined.of(kind))]) for kind in KINDS}
    return [*pages(views, defined, limit, names["page"]), *elements(clicks, limit, names["element"])]


KINDS = ("page", "element")


def _defined(project: Path) -> Definitions:
    path = find(project)
    # With `headrace definitions suggest > definitions.yml` the shell has made an empty file before this runs.
    is_there = path is not None and (path.is_dir() or path.stat().st_size > 0)
    return read(path) if path and is_there else Definitions()


def as_yaml(found: Sequence[Suggestion]) -> str:
    """Suggestions as definitions.yml has them."""
    lines = []
    for key, kind, counted in (("pages", Page, "views"), ("elements", Element, "clicks")):
        of_kind = [one for one in found if isinstance(one.definition, kind)]
        lines += [f"{key}:"] if of_kind else []
        for one in of_kind:
            text = yaml.safe_dump([_written(one.definition)], sort_keys=False, allow_unicode=True, width=10_000)
            lines += [f"  # {one.count:,} {counted}: {one.example}", *(f"  {line}" for line in text.splitlines())]
    return "".join(f"{line}\n" for line in lines)


def _written(one: Page | Element) -> dict[str, Any]:
    """The keys of a definition that say something."""
    if isinstance(one, Element):
        return {"id": one.id, "name": one.name, "selector": one.selectors[0]}
    place: dict[str, Any] = (
        {"url": one.urls[0] if len(one.urls) == 1 else list(one.urls)} if one.urls else {"screen": one.screen}
    )
    return {"id": one.id, "name": one.name, **place, **({"priority": one.priority} if one.priority else {})}


# Pages


@dataclass
class _Seen:
    """A page that has no name: a URL that differs from others in ids alone, or a screen."""

    views: int = 0
    page_ids: set[str] = field(default_factory=set)
    names: Counter[str] = field(default_factory=Counter)
    urls: list[str] = field(default_factory=list)


def pages(
    rows: Iterable[tuple[str, str | None, str | None, int]], defined: Definitions, limit: int, names: _Names
) -> list[Suggestion]:
    """Pages of views that have none.

    Args:
        rows: page id, name, URL and views, the most viewed first.
        defined: what there is, which a suggestion must not overlap.
        limit: so many at most.
        names: makes the ids.
    """
    seen: dict[tuple[str, ...], _Seen] = defaultdict(_Seen)
    for page_id, name, url, views in rows:
        if key := _key_of(page_id, name, url):
            one = seen[key]
            one.views += views
            one.page_ids.add(page_id)
            one.names[_line(name or "")] += views
            one.urls += [url] if url and len(one.urls) < 1_000 else []
    found = []
    most = sorted(seen.items(), key=lambda one: (-one[1].views, one[0]))[:limit]
    taken = [page for page in defined.pages if page.is_active]
    for key, one in sorted(most, key=lambda each: (not each[0][-1], len(each[1].page_ids) > 1)):
        page = _screen(key[1]) if key[0] == "screen" else _page(one)
        if page and (page := _apart(page, taken)) and _names_all(page, one.urls):
            taken.append(page)
            found.append(Suggestion(page, one.views, _line(one.urls[0] if one.urls else f"the screen {key[1]}")))
    found.sort(key=lambda one: -one.count)
    return [replace(one, definition=names.given(one.definition)) for one in found]


def _key_of(page_id: str, name: str | None, url: str | None) -> tuple[str, ...] | None:
    """What views of one page have in common; None for what no definition can name."""
    if page_id.startswith("app://"):
        is_screen = name and name.isprintable() and name == name.strip() and page_id.endswith(f"/{name}")
        return ("screen", str(name)) if is_screen else None
    parts = _parts_of(url or "")
    return ("url", parts[0], *(_generalised(part)[0] for part in parts[1:])) if parts else None


def _parts_of(url: str) -> tuple[str, str, str] | None:
    """Host, path and route of a URL that a pattern can be made of; the last is empty where the hash is none."""
    split = SPLIT.fullmatch(USER.sub("//", url, count=1))
    if not split or not split[1] or not split[2] or len(url) > LONGEST or not url.isprintable():
        return None
    path, mark = split[3].rstrip("/") or "/", (split[5] or "").partition("?")[0].rstrip("/")
    route = f"#{mark}" if mark.startswith(("/", "!/")) else ""
    return split[2].lower(), path, route


def _generalised(path: str) -> tuple[str, str]:
    """A path with `:id` for ids in it; and the same as the text of a pattern."""
    shown, written, count = [], [], 0
    for part in path.split("/"):
        if ID_IN_PATH.fullmatch(part):
            count += 1
            shown.append(":id")
            written.append(f":id{count if count > 1 else ''}")
        else:
            shown.append(part)
            written.append(_literal(part))
    return "/".join(shown), "/".join(written)


def _literal(text: str) -> str:
    return SPECIAL.sub(r"\\\g<0>", text)


def _page(seen: _Seen) -> Page | None:
    """A page with all the patterns that its URLs want."""
    is_of_many = len(seen.page_ids) > 1
    patterns = dict.fromkeys(_pattern_of(url, is_of_many) for url in seen.urls)
    if len(patterns) > MAX_PATTERNS or any(len(text) > LONGEST or text != text.strip() for text in patterns):
        return None
    parts = _parts_of(seen.urls[0])
    assert parts  # noqa: S101 (it has a key)
    _, path, route = (_generalised(part)[0] if is_of_many else part for part in parts)
    words = _words(f"{path} {route}") or (["home"] if path == "/" else [])
    # What a page is called where it was recorded, unless each of its URLs is called otherwise.
    name = next(iter(seen.names)) if len(seen.names) == 1 else ""
    return Page(id="-".join(words), name=name or " ".join(words).capitalize(), urls=tuple(patterns), place=NOWHERE)


def _pattern_of(url: str, is_of_many: bool) -> str:
    """The pattern of a URL, whatever its query is."""
    scheme, host, path, mark = (part or "" for part in _split(url))
    write = (lambda text: _generalised(text)[1]) if is_of_many else _literal
    pattern = f"{scheme.lower()}://{host.lower()}{write(path)}"
    route = mark.partition("?")[0]
    return f"{pattern}\\?*#{write(route)}{{\\?*}}?" if route.startswith(("/", "!/")) else pattern


def _split(url: str) -> tuple[str, str, str, str]:
    split = SPLIT.fullmatch(USER.sub("//", url, count=1))
    assert split  # noqa: S101 (it has a key)
    return split[1], split[2], split[3], split[5]


def _screen(name: str) -> Page:
    return Page(id="-".join(_words(name)), name=_line(name), screen=name, place=NOWHERE)


def _apart(page: Page, taken: list[Page]) -> Page | None:
    """A page with a priority at which it overlaps no other; those before it are the more special ones."""
    for priority in range(0, LOWEST_PRIORITY, -1):
        page = replace(page, priority=priority)
        try:
            is_shared = any(next(overlaps([one, page]), None) for one in taken if one.priority == priority)
        except ValueError:  # it is no pattern
            return None
        if not is_shared:
            return page
    return None


def _names_all(page: Page, urls: list[str]) -> bool:
    known = Pages(Definitions(pages=(page,)))
    return all(known.page_of(url) for url in urls)


# Elements


def elements(rows: Sequence[tuple[str, str | None, int]], limit: int, names: _Names) -> list[Suggestion]:
    """Elements of clicks that have none.

    Args:
        rows: selector as recorded, text and clicks, the most clicked first.
        limit: so many at most.
        names: makes the ids.
    """
    recorded = {path: paths.parse(path) for path in dict.fromkeys(path for path, _, _ in rows)}
    shared = Counter(mark for compounds in recorded.values() for mark in {m for one in compounds for m in _marks(one)})
    found: dict[str, list[tuple[str, str | None, int]]] = defaultdict(list)
    selector_of = {path: _selector_of(compounds, shared) for path, compounds in recorded.items()}
    for path, text, clicks in rows:
        if selector := selector_of[path]:
            found[selector.text].append((path, text, clicks))
    made = []
    for selector_text, some in found.items():
        texts = {_line(text) for _, text, _ in some}
        text = next(iter(texts)) if len(texts) == 1 else ""
        words = _words(text) or _words(" ".join("".join(one) for one in MARKS_OF.findall(selector_text)))
        name = text if 0 < len(text) <= LONGEST_NAME else " ".join(words).capitalize()
        element = Element(id="-".join(words), name=name, selectors=(selector_text,), place=NOWHERE)
        made.append(Suggestion(element, sum(clicks for _, _, clicks in some), _line(some[0][0])))
    made.sort(key=lambda one: (-one.count, one.definition.id))
    return [replace(one, definition=names.given(one.definition)) for one in made[:limit]]


def _selector_of(compounds: tuple[Compound, ...], shared: Counter[str]) -> Selector | None:
    """A short selector that matches a path by what marks an element, or what it lies in; None where nothing does.

    The element is what can be clicked, rather than the target, which may be the span in a button.
    """
    clickable = next((end for end in range(len(compounds), 0, -1) if compounds[end - 1].tag in CLICKABLE), None)
    compounds = compounds[:clickable]
    target = compounds[-1] if compounds else Compound()
    own = _best(target, shared)
    if own and _is_unique(own):
        return _tried(f"{target.tag or ''}{own}" if not own.startswith("#") else own, compounds)
    above = ((one, mark) for one in reversed(compounds[:-1]) if (mark := _best(one, shared)))
    around = next((mark if mark.startswith("#") else f"{one.tag or ''}{mark}" for one, mark in above), None)
    inner = f"{target.tag or ''}{own or ''}"
    if around is None and own is None:
        return None
    text = " ".join(part for part in (around, inner) if part)
    return _tried(text, compounds)


def _is_unique(mark: str) -> bool:
    """Whether a mark is meant for one element: an id, or an attribute for tests."""
    return mark.startswith("#") or mark[1:].partition("=")[0] in TEST_IDS


def _best(one: Compound, shared: Counter[str]) -> str | None:
    """The mark of an element that tells most: by its kind, and of classes the one that the fewest paths have."""
    return min(_marks(one), key=lambda mark: (_kind(mark), shared[mark], mark), default=None)


def _kind(mark: str) -> int:
    if mark.startswith("."):
        return 4
    name = mark[1:].partition("=")[0]
    return 0 if _is_unique(mark) and name in TEST_IDS else 1 if mark.startswith("#") else 2 if "data-" in name else 3


def _marks(one: Compound) -> Iterator[str]:
    """What tells an element from others and lasts, as parts of a selector."""
    if one.id and _lasts(one.id):
        yield f"#{one.id}"
    for name, value in one.attributes.items():
        is_mark = name.startswith("data-") or name in ("name", "aria-label")
        is_plain = value.isprintable() and not re.search(r"[\"\\]|\d{3}", value)
        if is_mark and PLAIN_NAME.fullmatch(name) and is_plain and 0 < len(value) <= LONGEST_NAME:
            yield f'[{name}="{value}"]'
    for word in one.classes:
        if _lasts(word) and not UTILITY.fullmatch(word):
            yield f".{word}"


def _lasts(name: str) -> bool:
    is_made = not PLAIN_NAME.fullmatch(name) or MADE_NAME.fullmatch(name)
    return not is_made and name not in ROOTS and len(name) <= LONGEST_NAME


def _tried(text: str, compounds: tuple[Compound, ...]) -> Selector | None:
    """A selector, if it can be used and matches the target of the path."""
    try:
        selector = selectors.compile(text)
    except SelectorError:
        return None
    matches = selectors.Index([(selector, False)]).matches(compounds)
    return selector if matches else None


# Names


class _Names:
    """Gives out ids that nothing has yet."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def given(self, one: Page | Element) -> Any:
        """A definition with an id of its own."""
        base = one.id or ("element" if isinstance(one, Element) else "page")
        numbered = (f"{base}-{number}" for number in range(2, len(self._taken) + 3))
        free = next(name for name in (base, *numbered) if name not in self._taken)
        self._taken.add(free)
        return replace(one, id=free, name=one.name or free)


def _words(text: str) -> list[str]:
    """The words of a text that an id can be made of."""
    plain = unicodedata.normalize("NFKD", unquote(text)).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r":id\b|\b\d{4,}\b", " ", plain)
    return [word[:30] for word in re.findall(r"[a-z0-9]+", plain)][:WORDS_OF_ID]


def _line(text: str | None) -> str:
    """A text as one line of signs that can be seen."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text or "").split())
