"""The ids of the definitions that an event matches, put into its JSON as it passes; all other bytes stay as they are.

What matches is asked once for each distinct page, target and outcome of conditions, since these are few where events
are many; the rest of the work is on columns.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import repeat
from json.decoder import scanstring  # type: ignore[attr-defined]
from math import prod
from operator import attrgetter, is_
from typing import Any, NamedTuple, TypedDict, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw, Struct

from ..json_text import TOKEN, as_lines
from ..rows import MAX_LINE_BYTES, STAMPS
from . import conditions
from .conditions import Test, walk
from .matcher import VERSION, ElementMatch, Matcher, matcher_of, on_page
from .model import Definitions
from .pages import called

PAGE_ID = "page_definition_id"
ELEMENT_IDS = ("element_definition_id", "additional_element_definition_ids")
EVENT_IDS = ("event_definition_id", "additional_event_definition_ids")
"""The keys of the first id and of the others. Where the feed has one of them, it keeps what it says."""

CACHED = 32_768
LONGEST_KEPT = 4_096
"""So many distinct sources, targets and kinds of events are remembered with their answers, unless they are longer."""

APP_NAMES = ("name", "package_name")

EMPTY = r"^\s*\{\s*\}\s*$"
BLANK_OBJECT = re.compile(EMPTY)
TARGET = '"target":{'

ABSENT = Raw(b"")
Answer = TypeVar("Answer")


class _SourceKeys(TypedDict, total=False):
    url: Any
    app: Any
    page_definition_id: Any


SOURCE = msgspec.json.Decoder(_SourceKeys)
OBJECT = msgspec.json.Decoder(dict[str, Any])
MEMBERS = msgspec.json.Decoder(dict[str, Raw])


class Source(NamedTuple):
    """Where an event was, as far as definitions ask."""

    page_of_url: str | None
    page: str | None
    """The same, else that of the app's screen."""
    apps: tuple[str, ...]
    is_told: bool
    """Whether the feed tells the page."""
    is_empty: bool
    outcome: tuple[bool, ...]
    """Of the conditions on its properties."""


class Target(NamedTuple):
    """What an event was on."""

    matches: tuple[ElementMatch, ...]
    is_told: bool
    """Whether the feed tells the element, or there is no object that could."""
    is_empty: bool


NOTHING = Target((), is_told=True, is_empty=True)


class Stamps(NamedTuple):
    """What an event gets, in the order of `STAMPS`."""

    page: str | None
    element: str | None
    event: str | None


@lru_cache(1)
def stamper_of(definitions: Definitions) -> Stamper:
    """The stamper of some definitions, made once in a process."""
    return Stamper(matcher_of(definitions))


class Stamper:
    """Puts the ids of definitions into batches of events."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self._steps = {path: conditions.steps(path) for path in matcher.properties}
        tests: dict[str, list[tuple[tuple[str, ...], Test]]] = defaultdict(list)
        for path, test in matcher.tests:
            column, keys = self._steps[path]
            tests["" if column == "source_properties" else keys[0]].append((keys, test))
        self._tests = dict(tests)
        self._asked = [key for key in self._tests if key]
        self._kept = {*EVENT_IDS, "target", *self._asked}
        self._keys = ["page_name", *sorted(self._kept - {"page_name"})]
        self._lines = msgspec.json.Decoder(_struct_of(self._keys))
        self._source = _remembered(self._source_of)
        self._target = _remembered(self._target_of)
        self._outcome = _remembered(self._outcome_of)
        self._known: dict[tuple[Any, ...], Stamps] = {}

    def stamped(self, batch: pa.RecordBatch, max_bytes: int | None = None) -> pa.RecordBatch:
        """Events with the stamps in their JSON, and beside it in `STAMPS` and `_matcher_version`.

        Args:
            batch: rows of `RAW_EVENTS`, as the feed has them.
            max_bytes: the longest text that the warehouse holds. What stamps would make longer stays as it is.
        """
        is_live = pc.is_valid(batch.column("event_type"))
        events = batch.filter(is_live)
        if not events.num_rows:
            return batch
        try:
            kinds, stamps = self._kinds(_Rows(events, self._keys, self._kept, self._lines))
        except OverflowError:  # a single row has no such
            half = batch.num_rows // 2
            return pa.concat_batches(
                [self.stamped(one, max_bytes) for one in (batch.slice(0, half), batch.slice(half))]
            )
        columns = [pa.array([stamp[n] for stamp in stamps], pa.string()).take(kinds) for n in range(len(STAMPS))]
        most = min(max_bytes or MAX_LINE_BYTES, MAX_LINE_BYTES)
        before, texts = events.column("source_properties"), events.column("event_properties")
        sources, columns[0] = _within(most, before, with_member(before, columns[0]), columns[0])
        stamped = with_member(with_target(texts, columns[1]), columns[2])
        stamped, columns[1], columns[2] = _within(most, texts, stamped, columns[1], columns[2])
        is_stamped = pc.is_valid(pc.coalesce(*columns))
        found = dict(zip(STAMPS, columns, strict=True)) | {
            "source_properties": sources,
            "event_properties": stamped,
            "_matcher_version": pc.if_else(is_stamped, pa.scalar(VERSION, pa.int64()), None),
        }
        for name, column in found.items():
            if events.num_rows < batch.num_rows:
                column = pc.replace_with_mask(batch.column(name), is_live, column)
            batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), column)
        return batch

    def _kinds(self, rows: _Rows) -> tuple[pa.Array, list[Stamps]]:
        """The kind of each row, and what each kind gets."""
        sources = rows.sources.by(self._source)
        outcomes = [rows.members[key].by(partial(self._outcome, key=key)) for key in self._asked]
        told = [rows.members[key].by(bool) for key in EVENT_IDS]
        columns = [
            rows.types,
            rows.is_empty,
            rows.in_app,
            rows.screens,
            rows.members["target"],
            sources,
            *told,
            *outcomes,
        ]
        kinds, found = _combined(columns)
        stamps = []
        for kind, is_empty, in_app, screen, target, source, *others in found:
            place = source.value
            page = place.page if in_app else place.page_of_url
            if screen is not None:
                page = place.page_of_url or self.matcher.page_of(None, screen, place.apps)
            is_told, values = any(one.value for one in others[:2]), others[2:]
            alike = kind, is_empty, page, target, place, is_told, *(one.value for one in values)
            known = self._known.get(alike)
            if known is None:
                of_event = {key: one.example for key, one in zip(self._asked, values, strict=True)}
                known = self._stamps_of(kind, is_empty, page, target, source, is_told, of_event)
                if len(self._known) >= CACHED:
                    self._known.clear()
                if len(target) <= LONGEST_KEPT:
                    self._known[alike] = known
            stamps.append(known)
        return kinds, stamps

    def _stamps_of(
        self,
        kind: str,
        is_empty: bool,
        page: str | None,
        target: bytes,
        source: Alike,
        is_told: bool,
        members: dict[str, bytes],
    ) -> Stamps:
        on = self._target(target, source.value.apps)
        elements = on_page(on.matches, page)

        def value_of(path: str) -> Any:
            column, keys = self._steps[path]
            if column == "source_properties":
                return walk(_decoded(source.example), keys)
            return walk(_decoded(members[keys[0]]), keys[1:])

        events = () if is_told else self.matcher.events_of(kind, page, frozenset(elements), value_of)
        return Stamps(
            page=None if page is None or source.value.is_told else _members([PAGE_ID], [page], source.value.is_empty),
            element=None if on.is_told else _members(ELEMENT_IDS, elements, on.is_empty),
            event=_members(EVENT_IDS, events, is_empty),
        )

    def _source_of(self, text: str) -> Source:
        found = OBJECT.decode(text) if "" in self._tests else SOURCE.decode(text)
        url, apps = _text(walk(found, ("url", "full_url"))), [walk(found, ("app", key)) for key in APP_NAMES]
        names = called(*map(_text, apps))
        of_url = self.matcher.page_of(url)
        page = of_url or self.matcher.page_of(None, _text(walk(found, ("app", "view_name"))), names)
        outcome = tuple(test(walk(found, keys)) for keys, test in self._tests.get("", ()))
        return Source(of_url, page, names, PAGE_ID in found, not found and bool(BLANK_OBJECT.match(text)), outcome)

    def _target_of(self, raw: bytes, apps: tuple[str, ...]) -> Target:
        found = _decoded(raw)
        if not isinstance(found, dict):
            return NOTHING
        matches = self.matcher.elements_of(_text(found.get("raw_selector")), _text(found.get("text")), apps)
        return Target(matches, any(key in found for key in ELEMENT_IDS), not found)

    def _outcome_of(self, raw: bytes, key: str) -> tuple[bool, ...]:
        """What comes of all conditions on a member of the event: events of which it is the same are alike."""
        found = _decoded(raw)
        return tuple(test(walk(found, keys[1:])) for keys, test in self._tests[key])


class Alike(NamedTuple):
    """What values come to, and one of them."""

    value: Any
    example: Any


class _Column:
    """The values of rows, each distinct one once."""

    def __init__(self, codes: pa.Array, distinct: list[Any]) -> None:
        self.codes = codes
        self.distinct = distinct

    @staticmethod
    def of(values: pa.Array) -> _Column:
        """Of an Arrow array."""
        found = values.dictionary_encode("encode")
        return _Column(found.indices.cast(pa.int64()), found.dictionary.to_pylist())

    @staticmethod
    def same(value: Any, rows: int) -> _Column:
        """One value for all rows."""
        return _Column(pa.repeat(pa.scalar(0, pa.int64()), rows), [value])

    def by(self, call: Callable[[Any], Any]) -> _Column:
        """What the values come to, each with an example."""
        numbers: dict[Any, int] = {}
        examples = []
        codes = []
        for value in self.distinct:
            found = call(value)
            if found not in numbers:
                numbers[found] = len(numbers)
                examples.append(Alike(found, value))
            codes.append(numbers[found])
        return _Column(pa.array(codes, pa.int64()).take(self.codes), examples)


def _combined(columns: list[_Column]) -> tuple[pa.Array, Iterator[tuple[Any, ...]]]:
    """By row, the number of its combination of values; and the combinations.

    Raises:
        OverflowError: there may be more than 64 bits can count.
    """
    combined, sizes = columns[0].codes, [len(one.distinct) for one in columns]
    if prod(sizes) >= 2**63:
        raise OverflowError
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        combined = pc.add(pc.multiply(combined, size), column.codes)
    found = combined.dictionary_encode()

    def values(number: int) -> tuple[Any, ...]:
        taken = []
        for column, size in zip(reversed(columns), reversed(sizes), strict=True):
            number, code = divmod(number, size)
            taken.append(column.distinct[code])
        return tuple(reversed(taken))

    return found.indices, map(values, found.dictionary.to_pylist())


class _Rows:
    """The columns of live events that definitions ask for."""

    def __init__(
        self, batch: pa.RecordBatch, keys: list[str], kept: set[str], lines: msgspec.json.Decoder[Any]
    ) -> None:
        texts = batch.column("event_properties")
        self.is_empty = _is_empty(texts)
        self.types = _Column.of(batch.column("event_type"))
        self.sources = _Column.of(batch.column("source_properties"))
        events = _decoded_lines(texts, lines)
        self.members: dict[str, _Column] = {}
        for number, key in enumerate(keys):
            if key not in kept:
                continue
            values = list(map(attrgetter(f"f{number}"), events))
            if all(map(is_, values, repeat(ABSENT))):
                self.members[key] = _Column.same(b"", len(values))
            else:
                self.members[key] = _Column.of(pa.array(list(map(bytes, values)), pa.binary()))
        in_app = pc.fill_null(pc.equal(batch.column("source_type"), "mobile_app"), False)
        self.in_app = _Column.of(in_app)
        self.screens = self._screens(events, pc.and_(in_app, pc.equal(batch.column("event_type"), "page_view")))

    def _screens(self, events: list[Any], is_page_view: pa.Array) -> _Column:
        """The screens that page views in apps name, by the first of the keys."""
        places = pc.indices_nonzero(is_page_view).to_pylist()
        if not places:
            return _Column.same(None, len(events))
        names: list[str | None] = [None] * len(events)
        for place in places:
            names[place] = _text(_decoded(bytes(events[place].f0)))
        return _Column.of(pa.array(names, pa.string()))


def _is_empty(texts: pa.StringArray) -> _Column:
    """Whether an object has no members."""
    has_member = pc.starts_with(texts, '{"')
    if pc.all(has_member).as_py():
        return _Column.same(False, len(texts))
    is_blank = pc.match_substring_regex(texts.filter(pc.invert(has_member)), EMPTY)
    return _Column.of(pc.replace_with_mask(pc.invert(has_member), pc.invert(has_member), is_blank))


def with_member(texts: pa.StringArray, members: pa.StringArray) -> pa.StringArray:
    """JSON objects, each with its members, as text with their comma, at its beginning; those without stay."""
    return _changed(texts, members, lambda text, member: text.replace("{", "{" + member, 1))


def with_target(texts: pa.StringArray, members: pa.StringArray) -> pa.StringArray:
    """JSON objects whose `target`, an object, gets members at its beginning; those without stay."""
    return _changed(texts, members, _with_target)


def _changed(texts: pa.StringArray, members: pa.StringArray, change: Callable[[str, str], str]) -> pa.StringArray:
    is_there = pc.is_valid(members)
    places = pc.indices_nonzero(is_there)
    if not len(places):
        return texts
    changed = map(change, texts.take(places).to_pylist(), members.take(places).to_pylist())
    return pc.replace_with_mask(texts, is_there, pa.array(changed, pa.string()))


def _with_target(text: str, member: str) -> str:
    if text.count('"target"') == 1 and TARGET in text:
        return text.replace(TARGET, TARGET + member, 1)
    at = _target_at(text)
    return text[:at] + member + text[at:]


def _target_at(text: str) -> int:
    """Where the members of the object `target` begin, whatever else has this name and however it is spelled."""
    depth, key, wants_key, at = 0, "", False, 0
    while True:
        if text[at].isspace():
            at += 1
            continue
        if text[at] == '"':
            string, at = scanstring(text, at + 1)
            key = string if wants_key and depth == 1 else key
            wants_key = False
            continue
        word = TOKEN.match(text, at)[0]  # type: ignore[index]
        at += len(word)
        if word == "{" and depth == 1 and key == "target":
            return at
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(word, 0)
        wants_key = depth == 1 and word in "{,"


def unstamped(text: str, stamp: str | None, key: str | None = None) -> str:
    """An object without the members that a stamp put into it, or into its member `key`.

    A warehouse that keeps JSON in its own spelling gives another text than was loaded; the rest is put together then.
    """
    if stamp is None:
        return text
    begin = "{" + stamp
    if text.count(begin) == 1 if key else text.lstrip().startswith(begin):
        return text.replace(begin, "{", 1)
    members = MEMBERS.decode(text)
    if key:
        members[key] = Raw(unstamped(bytes(members[key]).decode(), stamp).encode())
    else:
        for name in MEMBERS.decode(_object_of(stamp)):
            members.pop(name, None)
    return msgspec.json.encode(members).decode()


def ids_of(keys: Sequence[str], stamp: str | None) -> list[str]:
    """The ids that a stamp holds, the first of them first; `keys` are those of the first and of the others."""
    if stamp is None:
        return []
    first, *others = keys
    found = msgspec.json.decode(_object_of(stamp))
    return [found[first], *(found.get(others[0], []) if others else [])]


def _object_of(stamp: str) -> str:
    return "{" + stamp.removesuffix(",") + "}"


def _within(
    most: int, before: pa.StringArray, stamped: pa.StringArray, *stamps: pa.StringArray
) -> tuple[pa.StringArray, ...]:
    """Texts with their stamps, or where these make them too long, the texts before, and no stamps."""
    is_longer = pc.greater(pc.binary_length(stamped), most)
    if not pc.any(is_longer).as_py():
        return stamped, *stamps
    return pc.if_else(is_longer, before, stamped), *(pc.if_else(is_longer, None, stamp) for stamp in stamps)


def _members(keys: Sequence[str], ids: Sequence[str], is_alone: bool) -> str | None:
    """The text of the first id and of the others, with the comma that parts them from what follows."""
    if not ids:
        return None
    values: list[Any] = [ids[0], *([ids[1:]] if ids[1:] else [])]
    members = [f'"{key}":{msgspec.json.encode(value).decode()}' for key, value in zip(keys, values, strict=False)]
    return ",".join(members) + ("" if is_alone else ",")


def _remembered(call: Callable[..., Answer]) -> Callable[..., Answer]:
    """A function of a text that is not asked twice for the same one."""
    kept = lru_cache(CACHED)(call)

    def answer(text: str | bytes, *more: Any, **named: Any) -> Answer:
        return (kept if len(text) <= LONGEST_KEPT else call)(text, *more, **named)

    return answer


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _decoded(raw: bytes) -> Any:
    return msgspec.json.decode(raw) if raw else None


def _struct_of(keys: list[str]) -> type[Struct]:
    """The members of an object, each as the bytes that it is."""
    fields = [(f"f{number}", Raw, ABSENT) for number in range(len(keys))]
    return msgspec.defstruct("Event", fields, rename={f"f{number}": key for number, key in enumerate(keys)}, gc=False)


def _decoded_lines(texts: pa.StringArray, lines: msgspec.json.Decoder[Any]) -> list[Any]:
    """Objects, all at once unless one has line breaks in it."""
    try:
        found = lines.decode_lines(as_lines(texts))
    except msgspec.MsgspecError:
        found = []
    return found if len(found) == len(texts) else [lines.decode(text) for text in texts.to_pylist()]
