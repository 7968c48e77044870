"""Records of the segment export as events of the contract.

Their fields are those of the segment export API; a record says of its page and its device what a `raw` event says in
source_properties, and has no id and no processed_time of its own.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta, Raw

EVENT_TYPES = {
    "abandon": "form_abandon",
    "backgrounded": "background",
    "consolemessage": "console_message",
    "crashed": "crash",
    "lowmemory": "low_memory",
    "pageview": "page_view",
    "pinch": "pinch_gesture",
    "seen": "element_seen",
    "thrash": "mouse_thrash",
    "uservar": "identify",
}
"""Names that differ; others stay. What ends with `_error` has a twin without, or was cut off: a type of its own."""

EVENT_FIELDS = {
    "EventCustomName": "event_name",
    "EventTargetText": "target.text",
    "EventPageOffset": "page_offset_millis",
    "EventSessionOffset": "session_offset_millis",
    "EventDuration": "event_duration_millis",
    "EventSecondaryDuration": "event_secondary_duration_millis",
    "EventCumulativeLayoutShift": "cumulative_layout_shift",
    "EventFirstInputDelay": "first_input_delay_millis",
    "EventVarErrorKind": "error_kind",
    "EventVarFields": "error_fields",
    "EventWebSourceFileUrl": "exception_source_file",
    "EventMobileSourceFile": "exception_source_file",
    "LoadDomContentTime": "dom_content_time_millis",
    "LoadFirstPaintTime": "first_paint_time_millis",
    "LoadLargestPaintTime": "largest_paint_time_millis",
    "LoadEventTime": "load_time_millis",
    "LoadTimeToFirstByte": "time_to_first_byte_millis",
    "LoadTimeToInteractive": "time_to_interactive_millis",
    "LoadTotalBlockingTime": "total_blocking_time_millis",
    "ReqMethod": "request_method",
    "ReqStatus": "request_status",
    "ReqDuration": "request_duration_millis",
}

FIELDS_OF_TYPE = {
    "console_message": {"EventSubType": "console_message_level", "EventTargetText": "message"},
    "element_seen": {
        "EventSubType": "element_start_type",
        "EventDuration": "element_render_duration_millis",
        "EventSecondaryDuration": "element_visible_duration_millis",
    },
    "exception": {"EventTargetText": "message"},
    "force_restart": {"EventDuration": "elapsed_millis"},
    "interaction_to_next_paint": {"EventDuration": "interaction_to_next_paint_millis"},
    "navigate": {"EventSubType": "navigate_reason"},
    "page_view": {
        "PageName": "page_name",
        "PageStart": "start_time",
        "PageDuration": "duration_millis",
        "PageActiveDuration": "active_duration_millis",
        "PageMaxScrollDepthPercent": "max_scroll_depth",
    },
    "pinch_gesture": {"EventSubType": "pinch_gesture_type"},
    "request": {"EventDuration": "request_duration_millis"},
}
"""What a field means in an event of one type, instead of what it means otherwise or (`Page…`) besides that."""

MODIFIERS = {
    "EventModFrustrated": "fs_rage_count",
    "EventModDead": "fs_dead_count",
    "EventModSuspicious": "fs_suspicious_count",
    "EventModError": "fs_error_kind",
}
ERROR_KINDS = {"2": "console", "3": "exception"}

USER_FIELDS = {"UserAppKey": "user_id", "UserEmail": "user_email", "UserDisplayName": "user_display_name"}

SOURCE_FIELDS = {
    "IndvId": "indv_id",
    "UserCreated": "device.created_time",
    "SessionStart": "session.start_time",
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
    "PageScreenWidth": "device.screen_width",
    "PageScreenHeight": "device.screen_height",
    "PageViewportWidth": "device.viewport_width",
    "PageViewportHeight": "device.viewport_height",
    "PagePlatform": "page.platform",
    "PageName": "page.name",
    "PageStart": "page.start_time",
    "PageDuration": "page.duration_millis",
    "PageActiveDuration": "page.active_duration_millis",
    "PageMaxScrollDepthPercent": "page.max_scroll_depth",
    "PageNumEvents": "page.num_events",
    "PageNumDerivedEvents": "page.num_derived_events",
    "PageNumInfos": "page.num_infos",
    "PageNumWarnings": "page.num_warnings",
    "PageNumErrors": "page.num_errors",
    "PageClusterId": "page.cluster_id",
    "AppName": "app.name",
    "AppVersion": "app.version",
    "AppPackageName": "app.package_name",
    "AppViewName": "app.view_name",
    "AppDeviceVendor": "device.manufacturer",
    "AppDeviceModel": "device.model",
    "AppOsVersion": "device.operating_system",
}

URL_FIELDS = {"PageUrl": "url", "PageRefererUrl": "initial_referrer"}

ELSEWHERE = {
    *("UserId", "SessionId", "PageId", "EventStart", "EventType", "EventSubType"),
    *("EventTargetSelector", "EventTargetSelectorTok", "ReqUrl"),
}
"""Fields that are looked up by name."""

PROPERTY = re.compile(r"(evt|page|user)_(.+?)(?:_(str|int|real|bool|date|obj)(s?))?", re.DOTALL)
"""`evt_price_real`: whose property it is, its name, its type, and whether it is an array."""

USER_INFO = re.compile("//[^/?#]+@")

NOTHING = (b"", b"null", b'""')

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")

MOST_KEPT = 100_000
"""Records that are alike in all that identifies them stand no further apart in a file than that."""


@dataclass
class Export:
    """One file of an export: makes events of its records."""

    version: datetime | None
    """When it was exported, as far as is known: of two versions of an event, the later export's counts."""
    written: datetime | None
    """When the file was written: what is said to have happened after it was timed by a wrong clock."""
    counts: dict[bytes, int] = field(default_factory=dict)
    """How many records with the same key there were."""
    told: dict[bytes, int] = field(default_factory=dict)
    """The identifies that were made of records."""

    def events(self, fields: dict[str, Raw]) -> tuple[list[dict[str, Any]], list[str]]:
        """The record as an event, an identify where it says who the user is, and the names of fields without a place.

        Values are carried as the text that they had: a 64-bit id is exact, a number is spelled as it was.

        Raises:
            msgspec.ValidationError: an identifier is missing or of the wrong type.
        """
        fields = {name: value for name, value in fields.items() if bytes(value) not in NOTHING}
        for name in ("EventType", "EventStart"):
            if name not in fields:
                raise msgspec.ValidationError(f"{name} is missing in a record of an export")
        event_type = msgspec.json.decode(fields["EventType"], type=str)
        event_type = EVENT_TYPES.get(event_type, event_type)
        start = msgspec.json.decode(fields["EventStart"], type=str)
        moment = _moment(start)
        device_id = _identifier(fields, "UserId") or _identifier(fields, "IndvId")
        session_id, view_id = _identifier(fields, "SessionId"), _identifier(fields, "PageId")
        user = _user(fields)
        selector = _selector(fields)
        event, source, unknown = _properties(fields, event_type, selector)
        if event_type == "identify":
            event.update(user)
        key = (
            *(device_id, session_id, view_id, moment or start, event_type),
            *(_text(fields.get(name)) for name in ("EventSubType", "EventCustomName", "EventTargetText")),
            # One of the two fields that may have told it has blanks where the other has none.
            "".join(selector.split()),
        )
        place = _count(self.counts, _hash(*key))
        events = [
            {
                "event_id": _hash(*key, place).hex(),
                "event_time": start,
                "processed_time": self._processed(moment) if moment else start,
                "updated_time": self.version and self.version.isoformat(),
                "device_id": device_id,
                "session_id": session_id,
                "view_id": view_id,
                "event_type": event_type,
                "event_properties": msgspec.json.encode(event).decode(),
                "source_type": "mobile_app" if _is_of_app(source) else "web",
                "source_properties": msgspec.json.encode(source).decode(),
            }
        ]
        if user and event_type != "identify" and device_id is not None and moment:
            events += self._identify(device_id, moment, msgspec.json.encode(user).decode())
        return events, unknown

    def _identify(self, device_id: int, moment: datetime, properties: str) -> list[dict[str, Any]]:
        """That a device is a user's, once for each minute in which records say so.

        All of it follows from what each of these records says, so that it is the same whichever of them a file holds.
        It has no session and no view: its time is not one at which anything happened.
        """
        minute = moment.replace(second=0, microsecond=0)
        event_id = _hash("identify", device_id, minute, properties)
        if _count(self.told, event_id):
            return []
        return [
            {
                "event_id": event_id.hex(),
                "event_time": minute.isoformat(),
                "processed_time": self._processed(minute),
                "updated_time": self.version and self.version.isoformat(),
                "device_id": device_id,
                "session_id": None,
                "view_id": None,
                "event_type": "identify",
                "event_properties": properties,
                "source_type": "server",
                "source_properties": '{"origin":"export"}',
            }
        ]

    def _processed(self, moment: datetime) -> str:
        """When an event was processed: an export does not tell, so when it happened, unless that is not possible."""
        return (min(moment, self.written) if self.written else moment).isoformat()


def _properties(
    fields: dict[str, Raw], event_type: str, selector: str
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The event's properties, those of its source, and the names of the fields that are in neither."""
    event: dict[str, Any] = {}
    source: dict[str, Any] = {}
    unknown: list[str] = []
    of_type = FIELDS_OF_TYPE.get(event_type, {})
    # By name, so that the same record in another order of its fields is the same text.
    for name, value in sorted(fields.items()):
        value = _ratio(value) if name == "PageMaxScrollDepthPercent" else value
        path = of_type.get(name) or EVENT_FIELDS.get(name)
        if path:
            _put(event, path, value)
        if name in SOURCE_FIELDS:
            _put(source, SOURCE_FIELDS[name], value)
        elif name in URL_FIELDS:
            source[URL_FIELDS[name]] = url(_text(value))
        elif name in MODIFIERS:
            if (number := _text(value)) not in ("0", "false"):
                event[MODIFIERS[name]] = ERROR_KINDS.get(number, "unknown") if name == "EventModError" else value
        elif found := PROPERTY.fullmatch(name):
            if found[1] != "user":
                owner = source.setdefault("page_properties", {}) if found[1] == "page" else event
                _put_property(owner if found[1] == "page" else owner.setdefault("event_properties", {}), name, value)
        elif not path and name not in ELSEWHERE and name not in USER_FIELDS:
            unknown.append(name)
    if selector:
        _put(event, "target.raw_selector", selector)
    if "ReqUrl" in fields:
        event["request_url"] = url(_text(fields["ReqUrl"]))
    if event_type == "exception" and "EventSubType" in fields:
        event["is_exception_handled"] = _text(fields["EventSubType"]) != "uncaught"
    elif "EventSubType" in fields and "EventSubType" not in of_type:
        event["event_sub_type"] = fields["EventSubType"]
    if event_type == "page_view":
        event |= _measures(event)
    if "AppOsVersion" in fields and "PageOperatingSystem" in fields:
        system, release = _text(fields["PageOperatingSystem"]), _text(fields["AppOsVersion"])
        source["device"]["operating_system"] = release if release.startswith(system) else f"{system} {release}"
    return event, source, unknown


Millis = Annotated[int, Meta(ge=0, le=2**53)]


def _measures(view: dict[str, Any]) -> dict[str, Any]:
    """What a page view of the raw feed has besides: when it ended, and how long nothing was done."""
    more: dict[str, Any] = {}
    try:
        duration = msgspec.json.decode(view["duration_millis"], type=Millis)
        if "active_duration_millis" in view:
            more["inactive_duration_millis"] = duration - msgspec.json.decode(
                view["active_duration_millis"], type=Millis
            )
        start = _moment(_text(view["start_time"]))
        more["end_time"] = start and (start + timedelta(milliseconds=duration)).isoformat()
    except (KeyError, msgspec.MsgspecError, OverflowError):
        pass
    return more


def _user(fields: dict[str, Raw]) -> dict[str, Any]:
    """What a record says of the user, as the properties of an identify."""
    user: dict[str, Any] = {path: fields[name] for name, path in USER_FIELDS.items() if name in fields}
    for name in sorted(fields):
        if (found := PROPERTY.fullmatch(name)) and found[1] == "user":
            _put_property(user.setdefault("user_properties", {}), name, fields[name])
    return user


def _is_of_app(source: dict[str, Any]) -> bool:
    platform = _text(source.get("page", {}).get("platform")).lower()
    return "app" in source or bool(platform and "web" not in platform)


def _selector(fields: dict[str, Raw]) -> str:
    """The target's selector; the older of the two fields is in percent-encoded words."""
    return _text(fields.get("EventTargetSelector")) or unquote(_text(fields.get("EventTargetSelectorTok")))


def _ratio(percent: Raw) -> Raw:
    """What is told in percent, from 0 to 1."""
    text = _text(percent)
    try:
        return Raw(str(Decimal(text) / 100).encode()) if NUMBER.fullmatch(text) else percent
    except ArithmeticError:  # out of any range
        return percent


def _moment(text: str) -> datetime | None:
    """A point in time in UTC, if that is one."""
    try:
        at = msgspec.convert(text.strip(), datetime)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (msgspec.ValidationError, OverflowError):
        return None


def _identifier(fields: dict[str, Raw], name: str) -> int | None:
    """An id, which some tools write as text."""
    if name not in fields:
        return None
    value: int | str = msgspec.json.decode(fields[name], type=int | str)
    if isinstance(value, str) and not re.fullmatch(r"-?\d{1,19}", value):
        raise msgspec.ValidationError(f"{name} is no integer: {value[:80]!r}")
    return int(value)


def _text(value: Any) -> str:
    """A value as text: without the quotes when it is text."""
    if not isinstance(value, Raw):
        return value or ""
    raw = bytes(value)
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else raw.decode()


def _put(into: dict[str, Any], path: str, value: Any) -> None:
    *folders, leaf = path.split(".")
    for folder in folders:
        into = into.setdefault(folder, {})
    into[leaf] = value


def _put_property(into: dict[str, Any], name: str, value: Raw) -> None:
    """A custom property: a dot in its name nests, as it did when it was sent.

    Where that can't be, as two properties would stand at one place, the second one keeps the name of its field.
    """
    _, key, *_ = PROPERTY.fullmatch(name).groups()  # type: ignore[union-attr]
    *folders, leaf = key.split(".")
    owner: Any = into
    for folder in folders:
        owner = owner.setdefault(folder, {})
        if not isinstance(owner, dict):
            into[name] = value
            return
    if leaf in owner:
        into[name] = value
    else:
        owner[leaf] = value


def _hash(*parts: Any) -> bytes:
    text = "\x1f".join("" if part is None else str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _count(counts: dict[bytes, int], key: bytes) -> int:
    """How often the key came before; of a file's many keys the oldest are forgotten."""
    before = counts.pop(key, 0)
    counts[key] = before + 1
    if len(counts) > MOST_KEPT:
        del counts[next(iter(counts))]
    return before


def url(full: str) -> dict[str, str]:
    """The parts of a URL as source_properties names them; the query and the two of the hash keep their `?` and `#`.

    A user and password are left out: they are nobody's to analyze.
    """
    full = USER_INFO.sub("//", full)
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
