"""Which page a URL or a screen is, and which two definitions would both be it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any
from urllib.parse import unquote_plus

from .model import Definitions, Page, PageRule
from .urls import Effort, Route, UrlPattern, example_of_both, host_of, readable

CACHED_URLS = 16_384
LONGEST_KEPT = 2_048
"""Characters of a URL whose answer is kept."""

USER = re.compile(r"^([^/?#]*//)[^/?#]+@")
SPLIT = re.compile(r"(?:([A-Za-z][-+.A-Za-z0-9]*):)?//([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
SESSION_ID = re.compile(
    r";(?:jsessionid|JSESSIONID|sessionid|SESSIONID|phpsessid|PHPSESSID|sid|SID)=[^/;]*|/[(](?:[A-Z][(][^()/]*[)])+[)]"
)
DEFAULT_PORTS = {"http": "80", "https": "443"}


App = str | tuple[str, ...] | None
"""What an app is called: its name, its package, or both."""


def called(*names: str | None) -> tuple[str, ...]:
    """An app that is called by these names, as far as there are some."""
    return tuple(dict.fromkeys(name for name in names if name))


def names_of(app: App) -> tuple[str, ...]:
    """All that an app is called."""
    return (app,) if isinstance(app, str) else app or ()


@dataclass(frozen=True)
class Overlap:
    """Two active pages of one priority that are both what a URL or a screen is."""

    first: Page
    second: Page
    example: str
    """That URL or screen."""


class Pages:
    """The pages that are defined, and the rules for those that are not."""

    def __init__(self, definitions: Definitions) -> None:
        self._patterns: list[tuple[Page, UrlPattern]] = sorted(
            ((page, UrlPattern(url)) for page in definitions.pages if page.is_active for url in page.urls),
            key=lambda one: _rank(one[0], one[1]),
        )
        self._screens: dict[tuple[str, str | None], Page] = {}
        for page in sorted(definitions.pages, key=lambda page: (-page.priority, page.id)):
            if page.is_active and page.screen is not None:
                self._screens.setdefault((page.screen, page.app), page)
        self._by_host = _by_host([pattern for _, pattern in self._patterns])
        self._rules = _rules(definitions.page_rules)
        self._rules_by_host = _by_host([pattern for pattern, _, _ in self._rules])
        self._of_url = lru_cache(CACHED_URLS)(self._page_of_url)

    def page_of(self, url: str | None, screen: str | None = None, app: App = None) -> str | None:
        """The id of the page that a URL is, else that the screen of an app is; None where none is defined."""
        known = readable(url)
        found = self._of_url(known) if known and len(known) <= LONGEST_KEPT else self._page_of_url(known)
        if found is None and screen is not None and self._screens:
            of_app = [page for name in names_of(app) if (page := self._screens.get((screen, name)))]
            of_any = [page] if (page := self._screens.get((screen, None))) else []
            # An app's own screen is the more special one, as long as the other has no higher priority.
            best = min(of_app + of_any, key=lambda page: (-page.priority, page.app is None, page.id), default=None)
            found = best.id if best else None
        return found

    def _page_of_url(self, url: str | None) -> str | None:
        return next((page.id for page, _ in self.matching(url)), None)

    def matching(self, url: str | None) -> Iterator[tuple[Page, UrlPattern]]:
        """All that match a URL, the page first."""
        if url is not None:
            for index in _of_host(self._by_host, url):
                if self._patterns[index][1].matches(url):
                    yield self._patterns[index]

    def rule_of(self, url: str | None) -> str | None:
        """The page that a URL is by the page rules: host, path and what counts of the query; None where none applies.

        The host is in lower case and without a default port or a user, the path without a session id and without a
        slash at its end, the hash is there where it is a route: as the contract's rule 12 has it.
        """
        known = readable(url) if self._rules else None
        if known is None:
            return None
        split = SPLIT.match(USER.sub(r"\1", known).strip())
        if not split:
            return None
        scheme, host, path, query, mark = (part or "" for part in split.groups())
        path = SESSION_ID.sub("", path).rstrip("/") or "/"
        mark = mark.partition("?")[0].rstrip("/")
        is_route = mark.startswith(("/", "!/"))
        for index in _of_host(self._rules_by_host, known):
            pattern, routes, rule = self._rules[index]
            if not pattern.matches(known):
                continue
            shown = _shown(routes, path, mark if is_route else None)
            if shown is not None:
                counted = _counted(query, rule.query)
                return f"{_short_host(scheme.lower(), host)}{shown[0]}{counted and f'?{counted}'}{shown[1]}"
        return None


def _rank(page: Page, pattern: UrlPattern) -> tuple[Any, ...]:
    fixed, varying = pattern.specificity
    return -page.priority, -fixed, -varying, page.id, pattern.text


def _by_host(patterns: list[UrlPattern]) -> tuple[dict[str, list[int]], list[int], range]:
    """The numbers of the patterns that may match a host, by host; those for all others; and all of them."""
    hosts = {pattern.host for pattern in patterns if pattern.host}
    by_host: dict[str, list[int]] = defaultdict(list)
    others = []
    for number, pattern in enumerate(patterns):
        for host in [pattern.host] if pattern.host else hosts:
            by_host[host].append(number)
        if not pattern.host:
            others.append(number)
    return dict(by_host), others, range(len(patterns))


def _of_host(index: tuple[dict[str, list[int]], list[int], range], url: str) -> Iterable[int]:
    by_host, others, all_of_them = index
    host = host_of(url)
    return all_of_them if host is None else by_host.get(host, others)


def _rules(rules: Iterable[PageRule]) -> list[tuple[UrlPattern, list[Route], PageRule]]:
    """Rules in the order in which they are tried: the most special first."""
    made = []
    for rule in rules:
        routes = sorted(map(Route, rule.paths), key=lambda route: (*(-one for one in route.specificity), route.text))
        made.append((UrlPattern(rule.url), routes, rule))
    return sorted(
        made, key=lambda one: (*(-number for number in one[0].specificity), one[2].url, one[2].paths, one[2].query)
    )


def _shown(routes: list[Route], path: str, mark: str | None) -> tuple[str, str] | None:
    """Path and hash as a rule's routes show them; None where it has routes and none of them fits."""
    kept = "" if mark is None else f"#{mark}"
    if not routes:
        return path, kept
    for route in routes:
        if not route.is_of_hash and (shown := route.shown(path)) is not None:
            return shown, kept
        if route.is_of_hash and mark is not None and (shown := route.shown(mark.removeprefix("!"))) is not None:
            return path, f"#{'!' if mark.startswith('!') else ''}{shown}"
    return None


def _counted(query: str, names: tuple[str, ...]) -> str:
    """The parameters of a query that count, in the order of their names in the rule."""
    if not names or not query:
        return ""
    pairs = [(unquote_plus(pair.partition("=")[0]), pair) for pair in query.split("&")]
    return "&".join(dict.fromkeys(pair for wanted in names for name, pair in pairs if name == wanted))


def _short_host(scheme: str, host: str) -> str:
    host, port = host.lower(), DEFAULT_PORTS.get(scheme, "")
    return host.removesuffix(f":{port}").removesuffix(":") if port else host.removesuffix(":")


def overlaps(pages: Iterable[Page], most: int = 20) -> Iterator[Overlap]:
    """Pages that leave open which of them a URL or a screen is, at most so many.

    What two URL patterns share is searched, with samples for regular expressions in them and so long as `MAX_EFFORT`
    lasts: what is found is true, and what isn't found may still be there; then the more special pattern is the page,
    and of two alike the first id.
    """
    by_priority: dict[int, list[Page]] = defaultdict(list)
    for page in pages:
        if page.is_active:
            by_priority[page.priority].append(page)
    found, effort = 0, Effort()
    for alike in by_priority.values():
        patterns = [(page, [UrlPattern(url) for url in page.urls]) for page in alike]
        for (first, ones), (second, others) in combinations(patterns, 2):
            examples = (example_of_both(one, other, effort) for one in ones for other in others)
            example = next((url for url in examples if url), _shared_screen(first, second))
            if example is not None:
                yield Overlap(first, second, example)
                found += 1
                if found >= most:
                    return


def _shared_screen(first: Page, second: Page) -> str | None:
    """A screen that is both: of one app, or of any for both. That of one app goes before that of any."""
    is_shared = first.screen is not None and first.screen == second.screen and first.app == second.app
    return f"the screen {first.screen}" if is_shared else None
