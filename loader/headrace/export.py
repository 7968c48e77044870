"""The segment export feed (a JSON array of flat records) as events of the contract.

Its fields are those of the segment export API; a record says of its page and its device what a `raw` event says in
source_properties, and has no id and no processed_time of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

EVENT_TYPES = {
    "abandon": "form_abandon",
    "consolemessage": "console_message",
    "lowmemory": "low_memory",
    "pageview": "page_view",
    "pinch": "pinch_gesture",
    "seen": "element_seen",
    "thrash": "mouse_thrash",
    "uservar": "identify",
}
"""Names that differ; others stay. `custom_error`, a custom event that failed validation, stays a type of its own."""

IDENTIFIERS = {"IndvId", "UserId", "SessionId", "PageId", "EventStart", "EventType"}

EVENT_FIELDS = {
    "EventCustomName": "event_name",
    "EventTargetText": "target.text",
    "EventTargetSelectorTok": "target.raw_selector",
    "EventModFrustrated": "fs_rage_count",
    "EventModDead": "fs_dead_count",
    "EventModSuspicious": "fs_suspicious_count",
    "LoadDomContentTime": "dom_content_time_millis",
    "LoadFirstPaintTime": "first_paint_time_millis",
    "LoadLargestPaintTime": "largest_paint_time_millis",
    "LoadEventTime": "load_time_millis",
    "LoadTimeToFirstByte": "time_to_first_byte_millis",
    "ReqMethod": "request_method",
    "ReqStatus": "request_status",
    "ReqDuration": "request_duration_millis",
}

IDENTIFY_FIELDS = {"UserAppKey": "user_id", "UserEmail": "user_email", "UserDisplayName": "user_display_name"}

SOURCE_FIELDS = {
    "PageTitle": "title",
    "PageIp": "location.ip_address",
    "PageCountry": "location.country",
    "PageRegion": "location.region",
    "PageCity": "location.city",
    "PageLatLong": "location.lat_long",
    "PageUserAgent": "user_agent.raw_user_agent",
    "PageBrowser": "user_agent.browser",
    "PageBrowserVersion": "user_agent.browser_version",
    "PageDevice": "user_agent.device",
    "PageOperatingSystem": "user_agent.operating_system",
    "PageDuration": "page.duration_millis",
    "PageActiveDuration": "page.active_duration_millis",
    "PageMaxScrollDepthPercent": "page.max_scroll_depth",
    "PageNumInfos": "page.num_infos",
    "PageNumWarnings": "page.num_warnings",
    "PageNumErrors": "page.num_errors",
    "PageClusterId": "page.cluster_id",
    "AppName": "app.name",
    "AppVersion": "app.version",
    "AppPackageName": "app.package_name",
}

URL_FIELDS = {"PageUrl": "url", "PageRefererUrl": "initial_referrer"}

PROPERTY = re.compile(r"(evt|page|user)_(.+)_(?:str|int|real|bool|date)s?")
"""`evt_price_real`: whose property it is, its name, and its type, which its JSON value has already."""

NOTHING = (b"", b"null", b'""')

RECORD = re.compile(rb'\s*,?\s*(\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\})', re.DOTALL)
"""One flat record: no braces but in strings."""

BLOCK_BYTES = 2**20


def records(stream: BinaryIO, reject: Callable[..., None], limit: int) -> Iterator[tuple[int, bytes]]:
    """The records of the array with their places in it, from 1, in memory bounded by `limit` bytes a record.

    What is no record ends the array: the rest is one rejected row, since nothing tells where the next record begins.
    """
    position = 0
    text = b""
    with stream:
        while block := stream.read(BLOCK_BYTES):
            text += block
            at = re.match(rb"(\xef\xbb\xbf)?\s*\[", text).end() if position == 0 and (text := text.lstrip()) else 0  # type: ignore[union-attr]
            while found := RECORD.match(text, at):
                position += 1
                at = found.end()
                yield position, found[1]
            text = text[at:] if position else text
            if len(text) > limit:
                break
    rest = text.strip(b" \t\r\n[,") if not position else text.strip(b" \t\r\n,")
    if rest != b"]":
        reject(position + 1, "the array is cut off or holds no flat record from here on", rest)


def event_of(fields: dict[str, Raw]) -> tuple[dict[str, Any], list[str]]:
    """One record as the fields of an event, and the names of the fields that found no place in it.

    Values are carried as the text that they had: a 64-bit id is exact, a number is spelled as it was.

    Raises:
        msgspec.ValidationError: an identifier is of the wrong type.
    """
    event_type = _value(fields, "EventType", str) or ""
    event_type = EVENT_TYPES.get(event_type, event_type)
    event_time = _value(fields, "EventStart", str)
    event: dict[str, Any] = {}
    source: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in fields.items():
        if name in IDENTIFIERS or bytes(value) in NOTHING:
            continue
        if name in EVENT_FIELDS:
            _put(event, EVENT_FIELDS[name], value)
        elif name == "EventModError":
            event["fs_error_kind"] = "error"
        elif name in IDENTIFY_FIELDS:
            if event_type == "identify":
                event[IDENTIFY_FIELDS[name]] = value
        elif name in SOURCE_FIELDS:
            _put(source, SOURCE_FIELDS[name], value)
        elif name in URL_FIELDS:
            source[URL_FIELDS[name]] = url(msgspec.json.decode(value, type=str))
        elif name == "ReqUrl":
            event["request_url"] = url(msgspec.json.decode(value, type=str))
        elif found := PROPERTY.fullmatch(name):
            owner, key = found.groups()
            _property(event, source, event_type, owner)[key] = value
        else:
            unknown.append(name)
    return {
        "event_id": None,
        "event_time": event_time,
        "processed_time": event_time,
        "updated_time": None,
        "device_id": _value(fields, "IndvId", int) or _value(fields, "UserId", int),
        "session_id": _value(fields, "SessionId", int),
        "view_id": _value(fields, "PageId", int),
        "event_type": event_type,
        "event_properties": msgspec.json.encode(event).decode(),
        "source_type": "mobile_app" if "app" in source else "web",
        "source_properties": msgspec.json.encode(source).decode(),
    }, unknown


def _property(event: dict[str, Any], source: dict[str, Any], event_type: str, owner: str) -> dict[str, Any]:
    """Where the properties of an owner stand: a custom event's apart from the event's own."""
    if owner == "page":
        return source.setdefault("page_properties", {})  # type: ignore[no-any-return]
    return event.setdefault("event_properties" if owner == "evt" else "user_properties", {})  # type: ignore[no-any-return]


def _value(fields: dict[str, Raw], name: str, kind: type) -> Any:
    return msgspec.json.decode(fields[name], type=kind | None) if name in fields else None


def _put(into: dict[str, Any], path: str, value: Any) -> None:
    *folders, leaf = path.split(".")
    for folder in folders:
        into = into.setdefault(folder, {})
    into[leaf] = value


def url(full: str) -> dict[str, str]:
    """The parts of a URL as source_properties names them; the query and the two of the hash keep their `?` and `#`."""
    try:
        split = urlsplit(full)
        host = split.netloc.rpartition("@")[2]
    except ValueError:
        return {"full_url": full}
    hash_path, mark, hash_query = split.fragment.partition("?")
    parts = {
        "full_url": full,
        "host": host,
        "path": split.path,
        "query": "?" + split.query if split.query else "",
        "hash_path": "#" + hash_path if hash_path else "",
        "hash_query": mark + hash_query,
    }
    return {name: part for name, part in parts.items() if part}
