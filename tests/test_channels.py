"""Where sessions came from, and whether anybody stayed: against Python that reads the raw events with urllib."""

from __future__ import annotations

import csv
import json
import random
import re
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import oracle
import pytest
from conftest import PROJECT
from test_models import Row, Warehouse, event, nulled, warehouse

__all__ = ["warehouse"]

UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "utm_id")
CLICKS = {
    "gclid": ("google", "cpc"), "dclid": ("google", "cpm"), "msclkid": ("bing", "cpc"), "ttclid": ("tiktok", "paid"),
    "fbclid": ("facebook", "referral"),
}  # fmt: skip
"""In the order in which one wins over the other."""
PAGES = [
    "", "?page=2", "?utm_source=Google&utm_medium=CPC&utm_campaign=brand&utm_term=figs", "?gclid=G1&utm_id=7",
    "?utm_source=facebook&utm_medium=paid_social", "?fbclid=F1", "?gclid=G2&fbclid=F2", "?a=1&msclkid=M1",
    "?utm_source=newsletter&utm_medium=E-Mail&utm_content=top%20left", "?utm_source=partner&utm_medium=affiliate",
    "?utm_source=youtube.com&utm_medium=cpv", "?utm_source=partner&utm_medium=banner", "?dclid=D1", "?ttclid=T1",
    "?utm_source=partner&utm_medium=cpc&utm_campaign=Autumn+Shop", "?utm_medium=cpc&utm_campaign=x-cross-network",
    "?utm_source=app&utm_medium=web-push", "?utm_source=SMS", "?utm_source=pod&utm_medium=audio", "?utm_source=only",
    "?utm_source=vimeo&utm_medium=embed", "?utm_source=a&utm_medium=social+media", "?utm_source=&utm_medium=ppc",
    "?utm_source=amazon&utm_medium=ppc", "?utm_campaign=Spring", "?utm_source=(direct)&utm_medium=(none)",
]  # fmt: skip
REFERRERS = [
    None, "https://www.google.co.uk/", "https://shop.example/", "https://www.shop.example/a", "https://t.co/x",
    "https://l.facebook.com:443/l.php?u=1", "https://news.example.org/?ref=utm_source=no", "https://m.youtube.com/",
    "https://search.yahoo.com/", "https://www.etsy.com/uk", "https://docs.google.com/", "https://duckduckgo.com",
]  # fmt: skip


def sources() -> dict[str, str]:
    with (PROJECT / "seeds" / "channel_sources.csv").open(encoding="utf-8") as file:
        return {row["source"]: row["category"] for row in csv.DictReader(file)}


def bare(host: str | None) -> str | None:
    return host.removeprefix("www.") if host else None


def category(source: str | None) -> str | None:
    """Of the host itself, or of what it is called between what is said before a name and its domain."""
    known = sources()
    name = re.fullmatch(r"(?:(?:m|l|www)\.)?(.+?)(?:\.(?:co|com))?\.[a-z]+", source or "")
    return known.get(source or "") or (known.get(name[1]) if name else None)


def channel(source: str | None, medium: str | None, campaign: str | None) -> str:
    """The default channel group as Google documents it, with its own regular expressions."""
    kind, how, name = category(source), medium or "", campaign or ""
    if (source, medium, campaign) == (None, None, None) or (source, how) == ("(direct)", "(none)"):
        return "Direct"
    is_paid = re.search(r"^(.*cp.*|ppc|retargeting|paid.*)$", how) is not None
    is_shop = kind == "shopping" or re.search(r"^(.*(([^a-df-z]|^)shop|shopping).*)$", name) is not None
    rules = [
        (re.search("cross-network", name), "Cross-network"),
        (is_shop and is_paid, "Paid Shopping"),
        (kind == "search" and is_paid, "Paid Search"),
        (kind == "social" and is_paid, "Paid Social"),
        (kind == "video" and is_paid, "Paid Video"),
        (how in {"display", "banner", "expandable", "interstitial", "cpm"}, "Display"),
        (is_paid, "Paid Other"),
        (is_shop, "Organic Shopping"),
        (kind == "social" or how in {"social", "social media"}, "Organic Social"),
        (kind == "video" or re.search("^(.*video.*)$", how), "Organic Video"),
        (kind == "search" or how == "organic", "Organic Search"),
        (re.search("^(email|e-mail|e_mail|e mail)$", how), "Email"),
        (how == "affiliate", "Affiliates"),
        (how in {"referral", "app", "link"}, "Referral"),
        (how == "audio", "Audio"),
        ("sms" in {source, how}, "SMS"),
        (how.endswith("push"), "Mobile Push Notifications"),
    ]
    return next((name for holds, name in rules if holds), "Unassigned")


def url_of(row: Row) -> str:
    return json.loads(row["source_properties"])["url"]["full_url"]


def arrival(first: Row | None, referrer: str | None) -> Row:
    """What the URL of the first page view and the referrer say."""
    url = urlsplit(url_of(first) if first else "")
    said: dict[str, str] = {}
    for part in filter(None, url.query.split("&")):
        name, _, value = part.partition("=")
        if value:
            said.setdefault(name, value)  # as it stands there
    [decoded] = [{name: value.lower() for name, value in parse_qsl(url.query)}]
    click = next((name for name in CLICKS if name in said), None)
    host = bare(urlsplit(referrer or "").hostname)
    if host == "shop.example":
        host = None
    marked = CLICKS[click] if click else (None, None)
    source = decoded.get("utm_source") or marked[0] or host
    medium = decoded.get("utm_medium") or marked[1]
    if medium is None and "utm_source" not in said and host:
        medium = "organic" if category(source) == "search" else "referral"
    return {name: said.get(name) for name in UTM} | {
        "entry_page_url": url.geturl() or None,
        "click_id": said[click] if click else None,
        "click_id_name": click,
        "referrer_host": host,
        "traffic_source": source,
        "traffic_medium": medium,
        "channel": channel(source, medium, decoded.get("utm_campaign")),
    }


def engaged(views: list[Row], live: list[Row]) -> int | None:
    """Milliseconds: what page_view events tell; of other views the pauses of up to 30 s between signs of a person."""
    if not views:
        return None
    told = sum(
        json.loads(row["event_properties"])["active_duration_millis"]
        for row in views
        if row["event_type"] == "page_view"
    )
    starts = [began(row) for row in views]
    signs = sorted(at(row) for row in live if row["event_type"] in ("click", "navigate"))
    spans: Counter[int] = Counter()
    for sign, following in pairwise(signs):
        of_view = sum(start <= sign for start in starts) - 1
        pause = (following - sign) / timedelta(milliseconds=1)
        if of_view >= 0 and pause <= 30_000:
            spans[of_view] += int(pause)
    estimated = sum(spans[number] for number, row in enumerate(views) if row["event_type"] == "navigate")
    return told + estimated


def at(row: Row) -> datetime:
    return datetime.fromisoformat(row["event_time"])


def began(row: Row) -> datetime:
    if row["event_type"] == "page_view":
        return datetime.fromisoformat(json.loads(row["event_properties"])["start_time"])
    return at(row)


def expected(warehouse: Warehouse) -> dict[str, Row]:
    """Each session, from the raw events that are live."""
    rows = warehouse.query("from product.events where event_type is not null and session_id is not null")
    sessions = defaultdict(list)
    for row in rows:
        row["event_time"] = row["event_time"].isoformat()
        sessions[f"{row['device_id']}:{row['session_id']}"].append(row)
    devices = defaultdict(list)
    found: dict[str, Row] = {}
    for full_id, live in sessions.items():
        live.sort(key=lambda row: (at(row), row["event_id"]))
        views = sorted(oracle.page_views(live), key=began)
        told = [json.loads(row["source_properties"]).get("initial_referrer") for row in live]
        referrer = next((one["full_url"] for one in told if one), None)
        clicks = [json.loads(row["event_properties"]) for row in live if row["event_type"] == "click"]
        seconds = int((at(live[-1]) - at(live[0])).total_seconds())
        engaged_time = engaged(views, live)
        stayed = engaged_time if engaged_time is not None else seconds * 1000
        agents = [json.loads(row["source_properties"]).get("user_agent", {}).get("raw_user_agent", "") for row in live]
        found[full_id] = arrival(views[0] if views else None, referrer) | {
            "exit_page_url": url_of(views[-1]) if views else None,
            "engaged_time_millis": engaged_time,
            "is_bounce": len(views) <= 1 and stayed < 10_000,
            "rage_clicks": sum("fs_rage_count" in click for click in clicks),
            "dead_clicks": sum("fs_dead_count" in click for click in clicks),
            "error_clicks": sum("fs_error_kind" in click for click in clicks),
            "exceptions": sum(row["event_type"] == "exception" for row in live),
            "crashes": sum(row["event_type"] == "crash" for row in live),
            "start_time": at(live[0]),
            "end_time": at(live[-1]),
            "is_bot": any(re.search("(?<!cu)bot", agent.lower()) for agent in agents),
        }
        devices[live[0]["device_id"]].append((at(live[0]), live[0]["session_id"], full_id))
    for starts in devices.values():
        for number, (_, _, full_id) in enumerate(sorted(starts), start=1):
            found[full_id]["session_number"] = number
    return found


def visits(rng: random.Random) -> list[Row]:
    """Sessions that begin by each of the pages and referrers, of few devices; of some, page_view events tell."""
    rows: list[Row] = []
    for number in range(len(PAGES) * 3):
        landed = PAGES[number % len(PAGES)] if number < 2 * len(PAGES) else ""
        referrer = REFERRERS[number % len(REFERRERS)] if number % 3 or not landed else None
        agent = (
            "Mozilla/5.0 (compatible; Googlebot/2.1)" if number % 17 == 5 else "Mozilla/5.0 (X11) Cubot Firefox/147.0"
        )
        time = datetime(2026, 3, 2 + number % 5, 8 + number % 3, rng.randrange(40))
        device, session = number % 9, 1000 - number
        tells = number % 4 == 1
        pages = [landed, *rng.choices(["?p=1", "?utm_source=later", ""], k=rng.choice([0, 0, 0, 1, 2]))]
        for view, query in enumerate(pages if number % 13 else []):
            url = f"https://shop.example/{query}"
            parts = {"full_url": url, "host": "shop.example", "path": "/", "query": query}
            source: dict[str, Any] = {"url": parts, "user_agent": {"raw_user_agent": agent}}
            if referrer:
                source["initial_referrer"] = {"full_url": referrer}
            opened = time
            kinds = rng.choices(["click", "rage", "dead", "error", "exception", "crash"], k=rng.choice([0, 1, 2, 5]))
            for place, kind in enumerate(["navigate", *kinds, *["page_view"] * tells]):
                time += timedelta(milliseconds=rng.choice([500, 4000, 29_000, 45_000]))
                said: Row = {"rage": {"fs_rage_count": 3}, "dead": {"fs_dead_count": 1}}.get(kind, {})
                said = {"fs_error_kind": "exception"} if kind == "error" else said
                opened = time if kind == "navigate" else opened
                if kind == "page_view":
                    spent = rng.randrange(12_000)
                    said = {"start_time": f"{opened}Z", "end_time": f"{time}Z", "active_duration_millis": spent}
                rows.append(
                    event(
                        f"{number:03}-{view}-{place}", event_time=f"{time}+00", device_id=device, session_id=session,
                        view_id=view, event_type="click" if kind in ("rage", "dead", "error") else kind,
                        event_properties=said, source_properties=source,
                    )
                )  # fmt: skip
        if not number % 13:  # a session of clicks alone, such as that of an app without screens
            for place in range(2):
                rows.append(event(f"{number:03}-{place}", event_time=f"{time + timedelta(seconds=place * number)}+00",
                                  device_id=device, session_id=session, source_properties={}))  # fmt: skip
    return rows


def sessions(warehouse: Warehouse) -> dict[str, Row]:
    return {row["full_session_id"]: row for row in warehouse.query("from product_marts.sessions")}


def check(warehouse: Warehouse) -> dict[str, Row]:
    found, wanted = sessions(warehouse), expected(warehouse)
    assert found.keys() == wanted.keys()
    for full_id, columns in wanted.items():
        assert {name: found[full_id][name] for name in columns} == columns, full_id
    return found


def check_users(warehouse: Warehouse, of_sessions: dict[str, Row]) -> None:
    """Each user, from their sessions, which are checked, and the days of the raw events."""
    rows = warehouse.query("from product.events where event_type is not null and session_id is not null")
    days = defaultdict(set)
    for row in rows:
        days[f"{row['device_id']}:{row['session_id']}"].add(row["event_time"].date())
    users = defaultdict(list)
    for full_id, row in of_sessions.items():
        users[row["user_id"]].append(row | {"days": days[full_id]})
    found = {row["user_id"]: row for row in warehouse.query("from product_marts.users")}
    assert found.keys() == users.keys()
    assert "ann" in users
    for user_id, theirs in users.items():
        first = min(theirs, key=lambda row: (row["start_time"], row["full_session_id"]))
        last = max(theirs, key=lambda row: (row["end_time"], row["full_session_id"]))
        touches = [row for row in theirs if row["channel"] != "Direct"]
        touch = max(touches, key=lambda row: (row["end_time"], row["full_session_id"]), default={})
        arrived = ("channel", "traffic_source", "traffic_medium", "utm_campaign")
        landed = (*arrived, "entry_page_url", "referrer_host")
        wanted = {f"first_{name}": first[name] for name in landed} | {f"last_{name}": last[name] for name in landed}
        wanted |= {f"last_non_direct_{name}": touch.get(name) for name in arrived}
        told = [row["engaged_time_millis"] for row in theirs if row["engaged_time_millis"] is not None]
        wanted |= {
            "active_days": len(set().union(*(row["days"] for row in theirs))),
            "total_engaged_time_millis": sum(told) if told else None,
            "is_bot": all(row["is_bot"] for row in theirs),
        }
        assert {name: found[user_id][name] for name in wanted} == wanted, user_id


def unstamped(rows: dict[str, Row]) -> dict[str, Row]:
    return {key: {name: value for name, value in row.items() if name != "updated_time"} for key, row in rows.items()}


@pytest.mark.parametrize("seed", [1])
def test_sessions_are_as_the_raw_events_say_and_hours_add_up_to_a_rebuild(warehouse: Warehouse, seed: int) -> None:
    """Hours that bring sessions in parts: late landings, a file that is re-created, events that are superseded."""
    rng = random.Random(seed)
    rows = visits(rng)
    first = {row["event_id"] for row in rows if row["event_id"].endswith("-0-0")}
    late = [row for row in rows if row["event_id"] in first and int(row["event_id"][:3]) % 5 == 2]
    others = [row for row in rows if row not in late]
    warehouse.load(others[::2], "f1")
    warehouse.run()
    check(warehouse)
    names = {"event_type": "identify", "session_id": None, "event_properties": {"user_id": "ann"}}
    named = [event(f"ann {device}", device_id=device, **names) for device in (3, 4)]
    warehouse.load([*others[1::2], *named], "f2")
    warehouse.run()
    before = check(warehouse)
    # The landing of some comes late; the first file comes again without some of its events, and some are superseded.
    gone = [nulled(row["event_id"]) for row in rng.sample(others[1::2], 15)]
    warehouse.load([*late, *gone], "f3")
    warehouse.load([row for row in others[::2] if rng.random() < 0.9], "f1", recreated=True)
    warehouse.run()
    after = check(warehouse)
    check_users(warehouse, after)
    assert len({row["channel"] for row in after.values()}) == 19, Counter(row["channel"] for row in after.values())
    moved = [key for key in before if before[key]["entry_page_url"] != after.get(key, {}).get("entry_page_url")]
    assert len(moved) >= 8
    assert {True, False} == {row["is_bounce"] for row in after.values()} == {row["is_bot"] for row in after.values()}
    assert max(row["session_number"] for row in after.values()) > 5
    assert None in {row["engaged_time_millis"] for row in after.values()}
    warehouse.run("--full-refresh")
    assert unstamped(sessions(warehouse)) == unstamped(after)
