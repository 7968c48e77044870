"""The marts by day, against Python that counts the raw events: after an hour, and after one that changes old days."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import oracle
import pytest
from test_marts import ZONE, percentile_75
from test_models import Row, Warehouse, event, nulled

MARTS = {
    "pages_daily": ("day", "page_id"),
    "vitals": ("day", "page_id", "device_type", "browser", "country", "vital"),
    "errors": ("kind", "message", "source_file"),
    "errors_daily": ("day", "kind", "message", "source_file"),
    "stability_daily": ("day", "platform"),
    "active_users": ("day",),
    "consents": ("user_id", "scope"),
    "elements_daily": ("day", "element_definition_id", "raw_selector", "text"),
    "screens_daily": ("day", "screen_id"),
    "custom_events_daily": ("day", "event_name"),
    "monthly_events": ("month", "event_type"),
}
"""Each with its key."""
DAYS = (0, 0, 1, 2, 6, 7, 8, 9, 27, 28, 29, 30, 35, 36, 58, 64)
"""On which people come, from the first: around the ends of 7 and of 28 days."""
FIRST = datetime(2026, 1, 12, 4, 50, tzinfo=UTC)
"""Ten minutes before midnight in the zone."""
PERSON = "Mozilla/5.0 (X11; Linux x86_64) Firefox/147.0"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1)"
PASSIVE = {"load", "exception", "crash", "console_message", "cumulative_layout_shift", "page_view", "identify"}
"""What a page does by itself."""
VITALS = {
    "largest_paint_time_millis": ("load", 2500, 4000),
    "first_paint_time_millis": ("load", 1800, 3000),
    "time_to_first_byte_millis": ("load", 800, 1800),
    "interaction_to_next_paint_millis": ("interaction_to_next_paint", 200, 500),
    "first_input_delay_millis": ("first_input_delay", 100, 300),
    "cumulative_layout_shift": ("cumulative_layout_shift", 0.1, 0.25),
}
"""With the event that measures each, what is good, and what needs improvement only."""
SHOP = [
    ("https://Shop.example/", "Shop.example", "/", "shop.example/"),
    ("https://shop.example/cart?x=1", "shop.example", "/cart", "shop.example/cart"),
    ("https://shop.example:8443/help/", "shop.example:8443", "/help/", "shop.example:8443/help"),
    ("https://shop.example:443/pay", "shop.example:443", "/pay", "shop.example/pay"),
]
"""Pages of the web: URL, its host and path, and the page."""


class Hour(NamedTuple):
    """What was live when an hour was built, and each mart by its key."""

    rows: list[Row]
    marts: dict[str, dict[tuple[Any, ...], Row]]


# --- the feed ------------------------------------------------------------------------------------------------------


def anything(rng: random.Random, is_app: bool) -> tuple[str, Row]:
    """An event of a session, but for those that make its views."""
    number = rng.choice([rng.randrange(50, 900), 100, 200, 300, 500, 800, 1800])
    kinds: list[tuple[str, Row]] = [
        ("click", {"fs_rage_count": 3}), ("click", {"fs_dead_count": 1}), ("click", {}), ("highlight", {}),
        ("click", {"fs_rage_count": 2, "fs_dead_count": 2}),
        ("custom", {"event_name": rng.choice(["Bought", "Looked", None])}),
        ("exception", {"message": "x is null", "exception_source_file": rng.choice(["a.js", "b.js", None]),
                       "is_exception_handled": rng.choice([True, False, None])}),
        ("console_message", {"message": "x is null", "console_message_level": rng.choice(["error", "ERROR", "warn"])}),
        ("consent", {"is_consent_given": rng.choice([True, False, None]), "consent_scope": rng.choice(["record", None]),
                     "consent_action_type": rng.choice(["banner", "settings"])}),
    ]  # fmt: skip
    if is_app:
        kinds += [("crash", {})]
    else:
        kinds += [
            ("load", {"largest_paint_time_millis": number * 5, "first_paint_time_millis": number * 3.5}),
            ("load", {"largest_paint_time_millis": 2500, "time_to_first_byte_millis": number}),
            ("interaction_to_next_paint", {"interaction_to_next_paint_millis": number}),
            ("first_input_delay", {"first_input_delay_millis": number}),
            ("cumulative_layout_shift", {"cumulative_layout_shift": number / 2000}),
        ] * 2  # fmt: skip
    return rng.choice(kinds)


def session(rng: random.Random, device: int, number: int, begin: datetime) -> list[Row]:
    """Some views of a session: of the web by navigates, some of which page_view events end; of an app by screens."""
    is_app, is_bot = device in (4, 5), device == 6
    targets: list[Row] = [
        {"raw_selector": "#buy", "text": "Buy"}, {"raw_selector": "#buy"}, {"text": "Buy"}, {},
        {"raw_selector": "#buy", "text": "Buy", "element_definition_id": "buy"},
    ]  # fmt: skip
    rows: list[Row] = []
    agent = {"raw_user_agent": BOT if is_bot else PERSON, "device": rng.choice(["Desktop", "Mobile"])}
    agent |= {"browser": "Firefox"} if number % 2 else {}
    source: Row = {"user_agent": agent, "location": {"country": rng.choice(["DE", "US"])}}
    time = begin

    def add(event_type: str, view: int, properties: Row, more: Row) -> None:
        rows.append(
            event(
                f"{device}-{number}-{len(rows):02}", event_time=time.isoformat(), device_id=device, session_id=number,
                view_id=view, event_type=event_type, event_properties=properties,
                source_type="mobile_app" if is_app else "web", source_properties=source | more,
            )
        )  # fmt: skip

    for view in range(1, rng.choice([2, 3, 4])):
        opened = time
        ends = rng.random() < 0.5
        if is_app:
            # The screen is told by its page_view event alone, or by each event.
            screen = rng.choice(["Cart", "Pay"])
            page: Row = {"app": {"name": "Shop"} if view % 2 else {"name": "Shop", "view_name": screen}}
            ends = True
        else:
            url, host, path, _ = rng.choice(SHOP)
            page = {"url": {"full_url": url, "host": host, "path": path}}
            if path == "/":
                page["page_definition_id"] = "home"
            add("navigate", view, {}, page)
        for _ in range(rng.randrange(14)):
            time += timedelta(milliseconds=rng.choice([700, 9_000, 29_500, 31_000, 200_000]))
            kind, properties = anything(rng, is_app)
            if kind == "click":
                properties = properties | {"target": rng.choice(targets)}
            add(kind, view, properties, page)
        if ends:
            time += timedelta(seconds=rng.choice([1, 20]))
            lasted = (time - opened) // timedelta(milliseconds=1)
            told = {
                "page_name": screen if is_app else "Whatever", "start_time": opened.isoformat(),
                "end_time": time.isoformat(), "duration_millis": rng.choice([lasted, lasted, 10**14]),
                "active_duration_millis": lasted // 2, "max_scroll_depth": rng.choice([0, 0.25, 1, 3, None]),
            }  # fmt: skip
            add("page_view", view, told, {"app": {"name": "Shop"}} if is_app else page)
        time += timedelta(seconds=rng.choice([2, 40]))
    return rows


def feed(rng: random.Random) -> list[Row]:
    rows: list[Row] = []
    for device in range(1, 8):
        for number, day in enumerate(sorted(rng.sample(DAYS, rng.choice([4, 7, 9])))):
            rows += session(rng, device, number, FIRST + timedelta(days=day, seconds=rng.randrange(1200)))
    # Devices 1 and 2 are Ann's, 5 is Bob's from some day on; a server tells of 2, and of 3 and 9, which are nobody's.
    for name, device, day in [("ann", 1, 0), ("ann", 2, 9), ("bob", 5, 28)]:
        rows.append(of_server(f"{name} {device}", device, day, "identify", user_id=name))
    for place, (device, day) in enumerate([(2, 1), (3, 1), (9, 3), (9, 64)]):
        rows.append(of_server(f"sent {place}", device, day, "custom", event_name="Sent"))
        given = {"is_consent_given": place % 2 == 0, "consent_scope": "mail", "consent_action_type": "api"}
        rows.append(of_server(f"mail {place}", device, day, "consent", **given))
    return rows


def of_server(event_id: str, device: int, day: int, event_type: str, **properties: Any) -> Row:
    return event(
        event_id, event_time=(FIRST + timedelta(days=day, hours=1)).isoformat(), device_id=device, session_id=None,
        view_id=None, event_type=event_type, event_properties=properties, source_type="server", source_properties={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory, target_path: Any) -> Warehouse:
    return Warehouse(tmp_path_factory.mktemp("daily"), target_path)


@pytest.fixture(scope="module")
def hours(daily: Warehouse) -> list[Hour]:
    """Two hours. The second brings what lies between the events of old days, takes some back and changes some."""
    rng, warehouse = random.Random(5), daily
    zone = ("--vars", json.dumps({"reporting_timezone": ZONE}))
    rows = feed(rng)
    # Of each device a whole session is late, and one is withdrawn.
    late = [row for row in rows if row["session_id"] == 1 or rng.random() < 0.2]
    rest = [row for row in rows if row not in late]
    definitions = [{"kind": "page", "id": "home", "name": "Home"}, {"kind": "element", "id": "buy", "name": "Buy it"}]
    warehouse.load(definitions, "d1", kind="definitions")
    warehouse.load(rest, "f1")
    warehouse.run(*zone)
    found = [hour(warehouse)]
    gone = [row for row in rest if row["session_id"] == 2 or rng.random() < 0.05]
    changed = [
        row | {"updated_time": "2026-06-01 12:00:00+00", "event_properties": '{"fs_dead_count": 1}'}
        for row in rest
        if row["event_type"] == "click" and row not in gone and rng.random() < 0.2
    ]
    warehouse.load([*late, *(nulled(row["event_id"]) for row in gone), *changed], "f2")
    warehouse.run(*zone)
    return [*found, hour(warehouse)]


def hour(warehouse: Warehouse) -> Hour:
    rows = warehouse.query("from product.events where event_type is not null order by event_time, event_id")
    for row in rows:
        row["event_properties"] = json.loads(row["event_properties"])
        row["source_properties"] = json.loads(row["source_properties"])
    marts = {}
    for name, key in MARTS.items():
        told = warehouse.query(f"from product_marts.{name}")
        marts[name] = {tuple(row[column] for column in key): row for row in told}
        assert len(marts[name]) == len(told), f"{name}: a key twice"
    return Hour(rows, marts)


# --- the oracle ----------------------------------------------------------------------------------------------------


def local(time: datetime) -> date:
    return time.astimezone(ZoneInfo(ZONE)).date()


def key_of(row: Row) -> tuple[int, int]:
    return row["device_id"], row["session_id"]


def sessions(rows: Iterable[Row]) -> dict[tuple[int, int], list[Row]]:
    """The events of each session that is no bot's."""
    found = defaultdict(list)
    for row in rows:
        if row["session_id"] is not None:
            found[key_of(row)].append(row)
    return {
        key: theirs
        for key, theirs in found.items()
        if all("Googlebot" not in row["source_properties"]["user_agent"]["raw_user_agent"] for row in theirs)
    }


def owners(rows: list[Row]) -> Callable[[Row], str]:
    """Whom an event belongs to: here only servers identify, so that a session is of whom its device was named before it
    ended, else of the first after it; what has no session, of the last."""
    named = defaultdict(list)
    for row in rows:
        if row["event_type"] == "identify":
            named[row["device_id"]].append((row["event_time"], row["event_properties"]["user_id"]))
    ends = {key: max(row["event_time"] for row in theirs) for key, theirs in sessions(rows).items()}

    def owner(row: Row) -> str:
        names = named[row["device_id"]]
        before = [name for time, name in names if row["session_id"] is None or time <= ends[key_of(row)]]
        return [f"anon_{row['device_id']}", *[name for _, name in names[:1]], *before][-1]

    return owner


def of_people(rows: list[Row], event_type: str) -> list[Row]:
    """Their events of a type, with and without a session."""
    known = sessions(rows)
    return [
        row for row in rows if row["event_type"] == event_type and (row["session_id"] is None or key_of(row) in known)
    ]


def page_of(row: Row, session: list[Row]) -> str:
    """The page of an event; in an app that tells no screen, the one of its view's page_view event."""
    source = row["source_properties"]
    if "url" in source:
        page = next(page for url, _, _, page in SHOP if url == source["url"]["full_url"])
        return source.get("page_definition_id", page)
    if row["event_type"] == "page_view":
        return f"app://Shop/{row['event_properties']['page_name']}"
    if "view_name" in source["app"]:
        return f"app://Shop/{source['app']['view_name']}"
    ends = [one for one in session if one["event_type"] == "page_view" and one["view_id"] == row["view_id"]]
    return page_of(max(ends, key=lambda one: (page_of(one, []), one["event_id"])), []) if ends else "app://Shop/"


def began(row: Row) -> datetime:
    told = row["event_properties"].get("start_time") if row["event_type"] == "page_view" else None
    return datetime.fromisoformat(told) if told else row["event_time"]


def times(views: list[Row], session: list[Row]) -> list[tuple[int | None, int | None, float | None]]:
    """Of each view in order: how long it lasted, how long it was active, and how far it was scrolled; what is told by a
    page_view event, or estimated from the pauses of up to 30 s between signs of a person."""
    ordered = sorted(session, key=lambda row: (began(row), row["event_time"], row["processed_time"], row["event_id"]))
    place = {row["event_id"]: number for number, row in enumerate(ordered)}
    found: list[tuple[int | None, int | None, float | None]] = []
    for view, after in zip_longest(views, views[1:]):
        if view["event_type"] == "page_view":
            told = view["event_properties"]
            lasted, depth = told["duration_millis"], told["max_scroll_depth"]
            is_possible = lasted <= 86_400_000
            scrolled = depth if depth is not None and depth <= 1 else None
            found.append((lasted if is_possible else None, told["active_duration_millis"], scrolled))
            continue
        begin, end = place[view["event_id"]], place[after["event_id"]] if after else len(ordered)
        signs = [
            (number, row["event_time"])
            for number, row in enumerate(ordered)
            if number >= begin and row["event_type"] not in PASSIVE
        ]
        pauses = [
            (later - earlier) // timedelta(milliseconds=1)
            for (number, earlier), (_, later) in pairwise(signs)
            if number < end
        ]
        ended = began(after) if after else max(row["event_time"] for row in session)
        lasted = (ended - began(view)) // timedelta(milliseconds=1)
        found.append((lasted, sum(pause for pause in pauses if pause <= 30_000), None))
    return found


def total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def pages_by_day(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    seen = defaultdict(list)
    clicked: dict[tuple[date, str], Counter[str]] = defaultdict(Counter)
    for key, session in sessions(rows).items():
        order = {row["event_id"]: (began(row), row["event_time"], row["event_id"]) for row in session}
        views = sorted(oracle.page_views(session), key=lambda row: order[row["event_id"]])
        for number, (view, told) in enumerate(zip(views, times(views, session), strict=True), start=1):
            visit = (key, owner(view), number == 1, number == len(views), *told)
            seen[local(began(view)), page_of(view, session)].append(visit)
        for row in session:
            said, place = row["event_properties"], (local(row["event_time"]), page_of(row, session))
            if row["event_type"] in ("exception", "crash"):
                clicked[place]["exceptions" if row["event_type"] == "exception" else "crashes"] += 1
            if row["event_type"] == "click":
                clicked[place] += Counter(rage_clicks="fs_rage_count" in said, dead_clicks="fs_dead_count" in said)
    found = {}
    for place in seen.keys() | {place for place, counts in clicked.items() if counts.total()}:
        visits, page = seen[place], place[1]
        depths = [visit[6] for visit in visits if visit[6] is not None]
        exits = sum(visit[3] for visit in visits)
        is_url = page.startswith("shop.example")
        found[place] = {
            "page_definition_id": "home" if page == "home" else None,
            "page_name": "Home" if page == "home" else None if is_url else page.removeprefix("app://Shop/") or "Shop",
            "url_host": page.partition("/")[0] if is_url else None,
            "url_path": "/" + page.partition("/")[2] if is_url else None,
            "views": len(visits),
            "sessions": len({visit[0] for visit in visits}),
            "users": len({visit[1] for visit in visits}),
            "entries": sum(visit[2] for visit in visits),
            "exits": exits,
            "exit_rate": exits / len(visits) if visits else None,
            "duration_millis": total(visit[4] for visit in visits),
            "active_duration_millis": total(visit[5] for visit in visits),
            "average_scroll_depth": pytest.approx(sum(depths) / len(depths)) if depths else None,
            **{name: clicked[place][name] for name in ("rage_clicks", "dead_clicks", "exceptions", "crashes")},
            "is_screen": page.startswith("app://"),
        }
    return found


def screens_by_day(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    hidden = {"url_host", "url_path", "average_scroll_depth", "is_screen", "page_name"}
    return {
        key: {name: value for name, value in row.items() if name not in hidden} | {"screen_name": row["page_name"]}
        for key, row in pages_by_day(rows).items()
        if row["is_screen"]
    }


def elements_by_day(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    found = defaultdict(list)
    for session in sessions(rows).values():
        for row in session:
            target = row["event_properties"].get("target", {})
            if row["event_type"] == "click" and target:
                of_definition = (target.get("element_definition_id"), None, None)
                named = of_definition if of_definition[0] else (None, target.get("raw_selector"), target.get("text"))
                found[local(row["event_time"]), *named].append(row)
    return {
        key: {
            "element_name": "Buy it" if key[1] else None,
            "clicks": len(clicks),
            "sessions": len(set(map(key_of, clicks))),
            "users": len(set(map(owner, clicks))),
            "rage_clicks": sum("fs_rage_count" in row["event_properties"] for row in clicks),
            "dead_clicks": sum("fs_dead_count" in row["event_properties"] for row in clicks),
        }
        for key, clicks in found.items()
    }


def vitals(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    measured = defaultdict(list)
    for session in sessions(rows).values():
        for row in session:
            for vital, (event_type, _, _) in VITALS.items():
                value = row["event_properties"].get(vital)
                if row["event_type"] == event_type and value is not None:
                    source = row["source_properties"]
                    agent, country = source["user_agent"], source["location"]["country"]
                    place = (agent["device"], agent.get("browser"), country, vital)
                    measured[local(row["event_time"]), page_of(row, session), *place].append(value)
    found = {}
    for key, values in measured.items():
        _, good, bearable = VITALS[key[-1]]
        ratings = ["good" if one <= good else "needs improvement" if one <= bearable else "poor" for one in values]
        p75 = percentile_75(values)
        assert p75 is not None
        found[key] = {
            "page_definition_id": "home" if key[1] == "home" else None,
            "page_name": "Home" if key[1] == "home" else None,
            "events": len(values),
            "p75": pytest.approx(p75),
            "rating": "good" if p75 <= good else "needs improvement" if p75 <= bearable else "poor",
            "good_events": ratings.count("good"),
            "needs_improvement_events": ratings.count("needs improvement"),
            "poor_events": ratings.count("poor"),
        }
    return found


def is_unhandled(row: Row) -> bool:
    handled = row["event_properties"].get("is_exception_handled")
    return row["event_type"] == "crash" or (row["event_type"] == "exception" and handled is False)


def errors(rows: list[Row], by_day: bool) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    found = defaultdict(list)
    for session in sessions(rows).values():
        for row in session:
            said, kind = row["event_properties"], row["event_type"]
            if kind == "console_message" and said["console_message_level"].lower() == "error":
                kind = "console error"
            if kind in ("exception", "crash", "console error"):
                day = [local(row["event_time"])] * by_day
                found[*day, kind, said.get("message"), said.get("exception_source_file")].append(row)
    return {
        key: {
            "events": len(theirs),
            "unhandled_events": sum(map(is_unhandled, theirs)),
            "sessions": len(set(map(key_of, theirs))),
            "users": len(set(map(owner, theirs))),
        }
        | (
            {}
            if by_day
            else {
                "first_time": min(row["event_time"] for row in theirs),
                "last_time": max(row["event_time"] for row in theirs),
            }
        )
        for key, theirs in found.items()
    }


def stability(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    days = defaultdict(set)
    for key, session in sessions(rows).items():
        platform = "mobile_app" if session[0]["source_type"] == "mobile_app" else "web"
        for day in {local(row["event_time"]) for row in session}:
            crashed = any(is_unhandled(row) and local(row["event_time"]) == day for row in session)
            days[day, platform].add((key, owner(session[0]), crashed))
    found = {}
    for key, theirs in days.items():
        counts = {
            "sessions": len(theirs),
            "users": len({user for _, user, _ in theirs}),
            "crashed_sessions": sum(crashed for *_, crashed in theirs),
            "crashed_users": len({user for _, user, crashed in theirs if crashed}),
        }
        found[key] = counts | {
            "crash_free_sessions": pytest.approx(1 - counts["crashed_sessions"] / counts["sessions"]),
            "crash_free_users": pytest.approx(1 - counts["crashed_users"] / counts["users"]),
        }
    return found


def active_users(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    came = defaultdict(set)
    for session in sessions(rows).values():
        for row in session:
            came[local(row["event_time"])].add(owner(row))
    first, last = min(came), max(came)

    def users(day: date, back: int, until: int = 0) -> set[str]:
        return set().union(*(came[day - timedelta(n)] for n in range(until, back + 1)))

    found = {}
    for day in (first + timedelta(n) for n in range((last - first).days + 1)):
        today, month = users(day, 0), users(day, 27)
        ever, before = users(day, (day - first).days, 1), users(day, 28, 1)
        if not month and not before:
            continue
        found[(day,)] = {
            "dau": len(today),
            "wau": len(users(day, 6)),
            "mau": len(month),
            "stickiness": pytest.approx(len(today) / len(month)) if month else None,
            "new_users": len(today - ever),
            "returning_users": len(today & before),
            "resurrected_users": len(today & ever - before),
            "churned_users": len(before - month),
        }
    return found


def consents(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    told = defaultdict(list)
    for row in of_people(rows, "consent"):
        said = row["event_properties"]
        if said["is_consent_given"] is not None:
            key = (owner(row), said["consent_scope"])
            told[key].append(
                (row["event_time"], row["event_id"], said["is_consent_given"], said["consent_action_type"])
            )
    found = {}
    for key, words in told.items():
        words.sort()
        turns = [words[0], *(word for before, word in pairwise(words) if word[2] != before[2])]
        found[key] = {
            "is_given": words[-1][2],
            "action_type": words[-1][3],
            "first_time": words[0][0],
            "changed_time": turns[-1][0],
            "given_time": max((word[0] for word in words if word[2]), default=None),
            "last_time": words[-1][0],
            "changes": len(turns) - 1,
            "events": len(words),
        }
    return found


def custom_events(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    found = defaultdict(list)
    for row in of_people(rows, "custom"):
        found[local(row["event_time"]), row["event_properties"]["event_name"] or "(not set)"].append(row)
    return {
        key: {
            "events": len(theirs),
            "users": len(set(map(owner, theirs))),
            "sessions": len({key_of(row) for row in theirs if row["session_id"] is not None}),
        }
        for key, theirs in found.items()
    }


def monthly_events(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
    owner = owners(rows)
    happened = defaultdict(list)
    for event_type in {row["event_type"] for row in rows} - {None}:
        for row in of_people(rows, event_type):
            happened[local(row["event_time"]).replace(day=1), event_type].append(owner(row))
    months = sorted({month for month, _ in happened})
    assert len(months) == 3
    found = {}
    for month in months:
        for event_type in {event_type for _, event_type in happened}:
            before = [set(happened.get((one, event_type), [])) for one in months if one < month]
            users, last, ever = (
                set(happened.get((month, event_type), [])),
                (before or [set()])[-1],
                set().union(*before),
            )
            if users or last:
                found[month, event_type] = {
                    "events": len(happened.get((month, event_type), [])),
                    "users": len(users),
                    "new_users": len(users - ever),
                    "returning_users": len(users & last),
                    "resurrected_users": len(users & ever - last),
                    "churned_users": len(last - users),
                }
    return found


ORACLES: dict[str, Callable[[list[Row]], dict[tuple[Any, ...], Row]]] = {
    "pages_daily": pages_by_day,
    "vitals": vitals,
    "errors": lambda rows: errors(rows, by_day=False),
    "errors_daily": lambda rows: errors(rows, by_day=True),
    "stability_daily": stability,
    "active_users": active_users,
    "consents": consents,
    "elements_daily": elements_by_day,
    "screens_daily": screens_by_day,
    "custom_events_daily": custom_events,
    "monthly_events": monthly_events,
}


# --- the tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mart", MARTS)
def test_a_mart_is_what_the_raw_events_say(hours: list[Hour], mart: str) -> None:
    for number, hour in enumerate(hours):
        expected, found = ORACLES[mart](hour.rows), hour.marts[mart]
        assert found.keys() == expected.keys(), number
        for key, columns in expected.items():
            assert {name: found[key][name] for name in columns} == columns, (number, key)
            others = found[key].keys() - columns.keys() - set(MARTS[mart])
            assert others <= {"error_id", "element_id"}


@pytest.mark.parametrize("mart", MARTS)
def test_a_late_event_changes_an_old_day(hours: list[Hour], mart: str) -> None:
    """Or the second hour would show nothing."""
    before, after = (hour.marts[mart] for hour in hours)
    changed = [key for key in before if after.get(key) != before[key]]
    if MARTS[mart][0] == "day":
        changed = [key for key in changed if key[0] < date(2026, 2, 1)]
    assert len(changed) > 1


def test_the_feed_has_what_the_marts_tell_apart(hours: list[Hour]) -> None:
    marts = hours[-1].marts
    pages = marts["pages_daily"].values()
    assert {"Home", "Cart", "Pay"} <= {row["page_name"] for row in pages}
    assert {"shop.example:8443", "shop.example", None} == {row["url_host"] for row in pages}
    assert any(row["views"] == 0 for row in pages)
    assert {row["rating"] for row in marts["vitals"].values()} == {"good", "needs improvement", "poor"}
    for name in ("new_users", "returning_users", "resurrected_users", "churned_users"):
        assert any(row[name] for row in marts["active_users"].values()), name
    assert {row["crash_free_users"] for row in marts["stability_daily"].values()} >= {0, 1}
    assert {row["changes"] for row in marts["consents"].values()} >= {0, 1}
    assert {user for user, _ in marts["consents"]} >= {"ann", "bob", "anon_3", "anon_9"}
    assert not {user for user, _ in marts["consents"]} & {"anon_6"}


def test_the_users_of_28_days_come_from_and_go_into_them(hours: list[Hour]) -> None:
    for hour in hours:
        rows = [row for _, row in sorted(hour.marts["active_users"].items())]
        for before, row in pairwise([{"mau": 0}, *rows]):
            came, left = row["new_users"] + row["resurrected_users"], row["churned_users"]
            assert row["mau"] == before["mau"] + came - left
            assert row["dau"] == came + row["returning_users"]


@pytest.mark.parametrize("mart", [name for name, key in MARTS.items() if key[0] == "day" and name != "active_users"])
def test_who_asks_for_some_days_reads_no_others(daily: Warehouse, hours: list[Hour], mart: str) -> None:
    """Their filter reaches each table of events, but for the views that tell the screens of some clicks."""
    assert hours
    asked = f"select * from product_marts.{mart} where day between date '2026-01-18' and date '2026-01-19'"
    [plan] = daily.query(f"explain (format json) {asked}")
    [root] = json.loads(plan["explain_value"])
    found = Counter(
        (table, "2026-01-18" in filters)
        for table, filters in scans(root)
        if table in ("int_parsed_events", "int_page_views", "int_session_days")
    )
    assert sum(found.values())
    assert {key for key in found if not key[1]} <= {("int_page_views", False)}
    if mart in ("pages_daily", "screens_daily"):
        assert found["int_page_views", True] == found["int_page_views", False] == 1


def scans(node: Row, filters: str = "") -> Iterator[tuple[str, str]]:
    """Each table of a plan, with the filters of what is read from it."""
    said = json.dumps(node["extra_info"])
    if "Table" in node["extra_info"]:
        yield node["extra_info"]["Table"].rpartition(".")[2], filters + said
    passed_on = {"FILTER": filters + said, "PROJECTION": filters}.get(node["name"].strip(), "")
    for child in node["children"]:
        yield from scans(child, passed_on)
