"""A believable feed to try Headrace on: the events of a small fruit shop, the same for the same arguments.

The feed has what real ones have: events that come twice, late or not at all any more, people who say who they are
only after a while, definitions that change, and a file that is written again with other content.
"""

import filecmp
import gzip
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from itertools import chain, islice, product
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

Json = dict[str, Any]
T = TypeVar("T")

FIRST_HOUR = datetime(2026, 3, 2)
FORMATS = ("parquet", "ndjson", "ndjson.gz")
ROWS_PER_FILE = 100_000
RECREATED_HOUR = 1
RECREATED_AFTER_HOURS = 4
HOUR = 3_600_000_000  # microseconds, as all clocks in here
SECOND = 1_000_000
LATE = 3 * HOUR


@dataclass(frozen=True)
class FeedSummary:
    """What the feed holds, in files and rows.

    Attributes:
        files: event files.
        definition_files: files of page, element and event definitions.
        events: rows of all event files; `distinct + duplicates + nulled`.
        distinct: event ids.
        duplicates: rows that repeat a row of another file.
        nulled: rows that supersede an earlier one (no event_type).
        late: typed rows whose event_time is more than three hours before the file's ingested_time.
        changed: rows of the re-created file that have a newer version.
        removed: rows that the re-created file no longer holds.

    """

    files: int
    definition_files: int
    events: int
    distinct: int
    duplicates: int
    nulled: int
    late: int
    changed: int
    removed: int


class Event(NamedTuple):
    """A row of an event file; the two properties hold JSON text, updated_time is in epoch milliseconds."""

    event_id: str
    event_time: str | None
    processed_time: str
    updated_time: int | None
    device_id: int
    session_id: int | None
    view_id: int | None
    event_type: str | None
    event_properties: str
    source_type: str
    source_properties: str


_LONGS = ("updated_time", "device_id", "session_id", "view_id")
EVENT_SCHEMA = pa.schema([(name, pa.int64() if name in _LONGS else pa.string()) for name in Event._fields])


@dataclass(frozen=True)
class _Definition:
    kind: str
    id: str
    name: str
    archived_from: int | None = None
    renamed: tuple[int, str] | None = None

    def is_active(self, hour: int) -> bool:
        return self.archived_from is None or hour < self.archived_from

    def row(self, hour: int) -> Json | None:
        """Return the definition as it is told in the given hour; None if the hour has nothing new of it."""
        renamed_at, new_name = self.renamed or (hour + 1, self.name)
        if hour not in (0, renamed_at, self.archived_from):
            return None
        row: Json = {
            "id": self.id,
            "name": new_name if hour >= renamed_at else self.name,
            "description": f"{self.name}: a {self.kind} of the shop",
            "state": "active" if self.is_active(hour) else "archived",
            "created_time": _iso(-30 * 24 * HOUR),
            "created_by": "zoë@shop.example",
            "modified_time": _iso(hour * HOUR - 24 * HOUR * (hour == 0)),
            "modified_by": "zoë@shop.example",
        }
        if self.kind == "page":
            row |= {"fs_link_id": f"link-{self.id}", "is_user_defined": self.id != "page-home"}
        return row


DEFINITIONS = (
    _Definition("page", "page-home", "Home"),
    _Definition("page", "page-market", "Market", renamed=(2, "Marché 🧺")),
    _Definition("page", "page-product", "Product"),
    _Definition("page", "page-cart", "Cart"),
    _Definition("page", "page-checkout", "Checkout"),
    _Definition("page", "page-confirm", "Order confirmed"),
    _Definition("page", "page-help", "Help", archived_from=0),
    _Definition("element", "element-add-to-cart", 'The "Add to cart" button'),
    _Definition("element", "element-any-button", "Any button"),
    _Definition("element", "element-checkout", "Checkout button", renamed=(2, "Go to checkout")),
    _Definition("element", "element-card-number", "Card number field"),
    _Definition("element", "element-banner", "Spring banner", archived_from=0),
    _Definition("event", "event-add-to-cart", "Adds to cart"),
    _Definition("event", "event-any-cta", "Any call to action", archived_from=3),
    _Definition("event", "event-purchase", "Purchase"),
    _Definition("event", "event-old-newsletter", "Signs up to the newsletter", archived_from=0),
)


@dataclass(frozen=True)
class _Page:
    name: str
    path: str
    query: str = ""
    fragment: tuple[str, str] = ("", "")
    product: Json | None = None


HOME = _Page("Home", "/")
CART = _Page("Cart", "/cart")
CHECKOUT = _Page("Checkout", "/checkout")
CONFIRM = _Page("Confirm", "/confirm")
HELP = _Page("Help", "/help")
MARKET = tuple(_Page("Market", "/market", query) for query in ("", "?sort=price", "?q=cr%C3%A8me&page=2"))
ACCOUNT = _Page("Account", "/account", fragment=("#/orders", "?state=open"))
_FRUIT = {
    "mangocados": "Mangocados", "creme-brulee-pears": "Crème brûlée pears", "pink-lady": 'Apples "Pink Lady"',
    "acai": "Açaí 🍇", "kirschen": "Süße Kirschen", "jalapenos": "Jalapeños 🌶️", "mikan": "蜜柑", "pina": "Piña",
    "cox": "Cox's Orange", "green-apple": "Grøn æble", "damsons": "Plums & damsons", "melon": "Melon <seedless>",
    "lemons": "Лимоны", "figs": "Figs\\dates",
}  # fmt: skip
PRODUCTS = tuple(
    _Page(
        "Product",
        f"/products/{slug}-{size}",
        product={"product_id": 2**53 + 1 + 2 * i, "name": f"{_FRUIT[slug]}, {size}", "price": round(1.2 + i * 0.35, 2)},
    )
    for i, (size, slug) in enumerate(product(("500g", "1kg", "crate"), _FRUIT))
)


@dataclass(frozen=True)
class _Element:
    text: str
    selector: str
    definitions: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


_MAIN = "html body div#app main.content "
ADD = _Element(
    "Add to cart", _MAIN + "section.product form button.btn.btn-primary[data-action='add']",
    ("element-add-to-cart", "element-any-button"), ("event-add-to-cart", "event-any-cta"),
)  # fmt: skip
PAY = _Element(
    "Checkout →", _MAIN + "aside.summary a.btn.checkout", ("element-checkout", "element-any-button"), ("event-any-cta",)
)
CARD = _Element("", _MAIN + "form#payment input[name='card']", ("element-card-number",))
NAME = _Element("", _MAIN + "form#payment input[name='full-name']")
TILE = _Element("Fresh today\n🍒 50% off", _MAIN + "ul.tiles li.tile a[href]")
TEXT = _Element('Our growers say: "naturally sweet"', _MAIN + "section.story p")
MENU = _Element("Menü", "html body div#app header nav button.menu", ("element-any-button",))
_BY_PAGE = {"Product": (ADD, TEXT, MENU), "Cart": (PAY, MENU), "Checkout": (CARD, NAME, MENU)}
_COMMON_ELEMENTS = (TILE, MENU, TEXT)

_PLACES = {
    "Berlin": ("DE", "BE", "52.5,13.4", "52.520008,13.404954"),
    "São Paulo": ("BR", "SP", "-23.6,-46.6", "-23.550520,-46.633308"),
    "Kraków": ("PL", "MA", "50.1,19.9", "50.064651,19.944981"),
    "Atlanta": ("US", "GA", "33.7,-84.4", "33.748997,-84.387985"),
    "東京": ("JP", "13", "35.7,139.7", "35.676422,139.650027"),
}
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit"
_BROWSERS = (
    ("Chrome", "145.0.0.0", "OS X", f"{_MAC}/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36", 1440, 900),
    ("Safari", "26.2", "OS X", f"{_MAC}/605.1.15 (KHTML, like Gecko) Version/26.2 Safari/605.1.15", 1512, 982),
    ("Firefox", "147.0", "Windows", "Mozilla/5.0 (Windows NT 10.0; rv:147.0) Gecko/20100101 Firefox/147.0", 1920, 1080),
)
_PHONES = (("Apple", "iPhone 17", "iOS 26.2", 402, 874), ("Google", "Pixel 10", "Android 16", 412, 923))
_NAMES = ("Zoë Müller", "José Ñáñez", "Ana Żak", 'Bob "Bo" O\'Neil', "Åse Øst", "山田 花子", "Lea 🌻", "Ines Roy")
_BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
_REFERRERS = (("www.google.com", "/", ""), ("news.example.org", "/2026/fruit", "?ref=mail"), ("shop.example", "/", ""))
_CAMPAIGNS = (
    "utm_source=newsletter&utm_medium=email&utm_campaign=spring+sale",
    "utm_source=google&utm_medium=cpc&utm_campaign=fruit%20%26%20veg&gclid=EAIaIQ-0",
    "utm_source=instagram&utm_medium=paid_social&utm_campaign=Mango%C4%8Da%C5%BE&utm_content=reel-2",
    "fbclid=IwAR0-1",
)
_PROBLEMS = (
    'TypeError: can\'t read "price" of undefined\n    at total (cart.js:42)',
    "ChunkLoadError: loading chunk 7 failed.",
    "RangeError: número inválido: «1,5»",
)


@dataclass(frozen=True)
class _Device:
    id: int
    source_type: str
    traits: Json


@dataclass(frozen=True)
class _Person:
    """Someone with one or two devices, who is known (identifies) from some hour on, or never."""

    number: int
    web: _Device
    mobile: _Device
    known_from: int | None

    @property
    def identity(self) -> Json:
        return {
            "user_id": f"customer-{self.number}",
            "user_email": f"customer{self.number}@mail.example",
            "user_display_name": _NAMES[self.number % len(_NAMES)],
            "user_properties": {"plan": ("basic", "plus")[self.number % 2], "loyalty_points": self.number * 17 % 900},
        }


def _people(rng: random.Random, count: int) -> list[_Person]:
    """Return people: of three, one is known at once, one from the third hour on, one never, or a bot."""
    return [
        _Person(number, _browser(rng, is_bot=number % 15 == 14), _phone(rng), (0, 2, None)[number % 3])
        for number in range(count)
    ]


def _browser(rng: random.Random, is_bot: bool) -> _Device:
    name, version, system, raw, width, height = rng.choice(_BROWSERS)
    agent = {
        "raw_user_agent": _BOT if is_bot else raw,
        "browser": name,
        "browser_version": version,
        "device": "Desktop",
    }
    screen = {"screen_width": width, "screen_height": height, "viewport_width": width, "viewport_height": height - 120}
    traits = {"user_agent": agent | {"operating_system": system}, "device": screen}
    return _Device(rng.getrandbits(62), "web", {"origin": "dom", "location": _location(rng)} | traits)


def _phone(rng: random.Random) -> _Device:
    maker, model, system, width, height = rng.choice(_PHONES)
    raw = f"FruitShop/4.7.1 ({model}; {system})"
    agent = {"raw_user_agent": raw, "device": "Mobile", "operating_system": system.split()[0]}
    screen = {"screen_width": width, "screen_height": height, "viewport_width": width, "viewport_height": height}
    hardware = {"manufacturer": maker, "model": model, "operating_system": system} | screen
    app = {"name": "Fruit Shop 🍒", "version": "4.7.1", "package_name": "example.shop.fruit"}
    traits = {"location": _location(rng), "user_agent": agent, "device": hardware, "app": app}
    return _Device(rng.getrandbits(62), "mobile_app", {"origin": "mobile"} | traits)


def _location(rng: random.Random) -> Json:
    city, (country, region, rough, _) = rng.choice(tuple(_PLACES.items()))
    address = f"203.0.113.{rng.randrange(1, 255)}"
    return {"ip_address": address, "country": country, "region": region, "city": city, "lat_long": rough}


@dataclass
class _Session:
    """A visit being told: `clock` is the time by the server; by the device's clock it is `lag` earlier."""

    rng: random.Random
    person: _Person
    device: _Device
    active: frozenset[str]
    clock: int
    lag: int
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session_id: int | None = self.rng.getrandbits(62)
        self.view_id: int | None = None
        self.source_type = self.device.source_type
        self.source = ""
        self.page = HOME
        self.opened = 0
        host, path, query = self.rng.choice(_REFERRERS)
        # Half of the sessions come by no campaign.
        self.campaign = random.Random(self.session_id).choice((*_CAMPAIGNS, *[""] * len(_CAMPAIGNS)))
        self.referrer = {"full_url": f"https://{host}{path}{query}", "host": host, "path": path, "query": query}

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def millis(self, typical: float) -> int:
        return int(typical * (0.3 + self.rng.expovariate(1.4)))

    def add(self, event_type: str, defined: Sequence[str] = (), **properties: object) -> None:
        self.clock += 1 + int(self.rng.random() ** 3 * 20 * SECOND)
        if matching := [id_ for id_ in defined if id_ in self.active]:
            properties |= {"event_definition_id": matching[0], "additional_event_definition_ids": matching[1:]}
        event_id = f"{self.rng.getrandbits(128):032x}"
        times = (_iso(self.clock - self.lag), _iso(self.clock), None)
        ids = (self.device.id, self.session_id, self.view_id)
        self.events.append(Event(event_id, *times, *ids, event_type, _json(properties), self.source_type, self.source))

    def add_on(self, event_type: str, element: _Element, **properties: object) -> None:
        target: Json = {"text": element.text, "raw_selector": element.selector}
        if matching := [id_ for id_ in element.definitions if id_ in self.active]:
            target |= {"element_definition_id": matching[0], "additional_element_definition_ids": matching[1:]}
        if item := self.page.product:
            target["element_properties"] = item
        self.add(event_type, element.events if event_type == "click" else (), target=target, **properties)

    def open(self, page: _Page) -> None:
        self.page, self.opened, self.view_id = page, self.clock, self.rng.getrandbits(62)
        source: Json = {"entrypoint": "app" if "app" in self.device.traits else "web client", "integration": "fs"}
        source |= self.device.traits
        source["title"] = f"{page.product['name'] if page.product else page.name} — Fruit Shop"
        if self.source_type == "web":
            hash_path, hash_query = page.fragment
            query, self.campaign = _with_campaign(page.query, self.campaign), ""
            full = f"https://shop.example{page.path}{query}{hash_path}{hash_query}"
            url = {"full_url": full, "host": "shop.example", "path": page.path, "query": query}
            source["url"] = url | {"hash_path": hash_path, "hash_query": hash_query}
            source["initial_referrer"] = self.referrer
        if (definition := f"page-{page.name.lower()}") in self.active:
            source["page_definition_id"] = definition
        if page.product:
            source["page_properties"] = page.product
        self.source = _json(source)

    def close(self) -> None:
        duration = (self.clock - self.opened) // 1000
        active = int(duration * self.rng.random())
        self.add(
            "page_view",
            page_name=self.page.name,
            start_time=_iso(self.opened - self.lag),
            end_time=_iso(self.clock - self.lag),
            duration_millis=duration,
            active_duration_millis=active,
            inactive_duration_millis=duration - active,
            max_scroll_depth=self.rng.randrange(101) / 100,
        )

    def shop(self, event_name: str, defined: Sequence[str] = (), **properties: object) -> None:
        self.add("custom", defined, event_name=event_name, event_properties=properties)

    def click(self, element: _Element) -> None:
        mood = self.rng.random()
        signs: Json = {"is_click_long": mood > 0.97, "is_click_unhandled": mood < 0.05}
        if mood < 0.04:
            signs["fs_rage_count"] = self.rng.randrange(3, 12)
        elif mood < 0.08:
            signs["fs_dead_count"] = 1
        if 0.03 < mood < 0.06:
            signs["fs_error_kind"] = self.rng.choice(("console", "network"))
        self.add_on("click", element, **signs)

    def request(self) -> None:
        path = f"/api/v2{self.page.path}"
        url = {"full_url": f"https://api.shop.example{path}?lang=de", "host": "api.shop.example", "path": path}
        self.add(
            "request",
            request_method="POST" if self.page in (CART, CHECKOUT) else "GET",
            request_status=self.rng.choices((200, 204, 304, 404, 500, 0), (80, 6, 6, 4, 3, 1))[0],
            request_duration_millis=self.millis(180),
            request_url=url | {"query": "?lang=de"},
        )

    def trouble(self) -> None:
        message = self.rng.choice(_PROBLEMS)
        if self.chance(0.4):
            level = self.rng.choice(("error", "warn", "info"))
            self.add("console_message", message=message, console_message_level=level)
        else:
            where: Json = {"exception_source_file": "https://shop.example/js/cart.js"}
            handled = self.chance(0.3)
            self.add("exception", message=message, exception_count=1, is_exception_handled=handled, **where)

    def look_around(self) -> None:
        elements = _BY_PAGE.get(self.page.name, _COMMON_ELEMENTS)
        for element in elements[: self.rng.randrange(1, 4)]:
            visible = self.millis(2500)
            kind = {"element_type": "visible", "element_start_type": self.rng.choice(("load", "scroll"))}
            times = {"element_render_duration_millis": visible + 40, "element_visible_duration_millis": visible}
            self.add_on("element_seen", element, **kind, **times)
        for _ in range(self.rng.randrange(4)):
            self.click(_popular(self.rng, elements))
        if self.chance(0.12):
            self.add_on(self.rng.choice(("copy", "highlight")), TEXT)
        if self.chance(0.08):
            self.trouble()

    def trade(self, pages_left: bool) -> None:
        """Add what the page is for: a product in the cart, a form filled or left, an order."""
        if (item := self.page.product) and self.chance(0.5):
            self.shop("Product Added", ("event-add-to-cart",), **item, quantity=self.rng.randrange(1, 5))
        elif self.page is CHECKOUT:
            for element in (NAME, CARD):
                self.add_on("change", element)
            if self.chance(0.4):
                self.add_on("paste", CARD)
            if not pages_left:
                self.add_on("form_abandon", CARD)
        elif self.page is CONFIRM:
            order = {"order_id": self.rng.getrandbits(62), "revenue": round(self.rng.uniform(5, 180), 2)}
            note = "gift 🎁\n“à bientôt”"
            self.shop("Order Completed", ("event-purchase", "event-any-cta"), **order, currency="EUR", note=note)

    def load(self) -> None:
        base = self.millis(300)
        self.add(
            "load",
            time_to_first_byte_millis=base,
            first_paint_time_millis=base + 120,
            dom_content_time_millis=base + 310,
            largest_paint_time_millis=base + 640,
            time_to_interactive_millis=base + 700,
            load_time_millis=base + 900,
            total_blocking_time_millis=self.millis(60),
        )
        self.add("cumulative_layout_shift", cumulative_layout_shift=round(self.rng.random() ** 3, 4))

    def web_view(self, page: _Page, first: bool, last: bool) -> None:
        self.open(page)
        reasons = ("navigate", "reload", "back_forward", "prerender")
        self.add("navigate", navigate_reason=self.rng.choices(reasons, (85, 6, 7, 2))[0])
        if first or self.chance(0.3):
            self.load()
        if page.product:
            self.add("page_properties", page_properties=page.product)
        if first and self.chance(0.4):
            given = self.chance(0.7)
            self.add("consent", is_consent_given=given, consent_scope="analytics", consent_action_type="banner")
        for _ in range(self.rng.randrange(1, 4)):
            self.request()
        self.look_around()
        if self.chance(0.4):
            self.add("first_input_delay", first_input_delay_millis=self.millis(12))
            paint = {"event_name": "pointerdown", "interaction_to_next_paint_millis": self.millis(90)}
            self.add_on("interaction_to_next_paint", MENU, **paint)
        if self.chance(0.05):
            self.add("mouse_thrash")
        self.trade(pages_left=not last)
        if last and self.chance(0.5):
            self.add("background")
        self.close()

    def mobile_view(self, page: _Page) -> None:
        self.open(page)
        self.request()
        self.look_around()
        if page in (CHECKOUT, *MARKET) and self.chance(0.7):
            self.add("keyboard_open")
            self.add_on("change", NAME)
            self.add("keyboard_close")
        if page.product and self.chance(0.4):
            self.add("pinch_gesture", pinch_gesture_type=self.rng.choice(("pinch_scale_in", "pinch_scale_out")))
        self.trade(pages_left=True)
        self.close()

    def visit(self, pages: Sequence[_Page], hour: int, turn: int) -> list[Event]:
        """Go through the pages; what is rare comes at its `turn`, so that even a small feed has it."""
        known_from = self.person.known_from
        login_at = None if known_from is None or hour < known_from else 0 if known_from == 0 else len(pages) - 1
        for index, page in enumerate(pages):
            if self.source_type == "web":
                self.web_view(page, first=index == 0, last=index == len(pages) - 1)
            else:
                self.mobile_view(page)
            if index == login_at:
                self.add("identify", **self.person.identity)
        if self.source_type == "mobile_app":
            rare = {1: "low_memory", 3: "crash", 5: "force_restart"}.get(turn % 6, "background")
            details: Json = {"elapsed_millis": self.millis(9000)} if rare == "force_restart" else {}
            self.add(rare, **details)
        return self.events

    def ship(self) -> list[Event]:
        """Add what the shop's server says of an order, outside any session."""
        self.session_id, self.source_type = None, "server"
        self.source = _json({"entrypoint": "/v2/events", "origin": "server", "integration": "api"})
        self.shop("Order Shipped", order_id=self.rng.getrandbits(62), carrier="Żółta Poczta")
        if self.chance(0.3):
            self.shop("Order Refunded", reason='said "bruised"', amount=round(self.rng.uniform(1, 40), 2))
        return self.events


def _with_campaign(query: str, campaign: str) -> str:
    return f"{query}{'&' if query else '?'}{campaign}" if campaign else query


def _popular(rng: random.Random, items: Sequence[T]) -> T:
    """Pick an item, the first ones by far the most often (as by Zipf's law)."""
    return items[int((len(items) + 1) ** rng.random()) - 1]


def _journey(rng: random.Random) -> list[_Page]:
    pages = [HOME] if rng.random() < 0.7 else []
    if rng.random() < 0.6:
        pages.append(_popular(rng, MARKET))
    pages += [_popular(rng, PRODUCTS) for _ in range(1 + int(rng.expovariate(0.8)))]
    if rng.random() < 0.15:
        pages.append(rng.choice((ACCOUNT, HELP)))
    for page, probability in ((CART, 0.5), (CHECKOUT, 0.6), (CONFIRM, 0.6)):
        if rng.random() >= probability:
            break
        pages.append(page)
    return pages


@dataclass
class _Feed:
    """The feed's rows, hour by hour from the first; only what later hours deliver again or finish is kept.

    Rows are numbered so that the hour to be re-created begins at 0: number 2 of each hundred comes again within two
    hours, number 5 of each three hundred is nulled; the re-created file lacks 2 and 52 of each five hundred and has a
    newer version of every tenth.
    """

    seed: int
    events_per_hour: int

    def __post_init__(self) -> None:
        rng = random.Random(f"people {self.seed}")
        self.people = _people(rng, min(50_000, 30 + self.events_per_hour // 40))
        self.unfinished: list[Event] = []
        self.scheduled: defaultdict[int, list[Event]] = defaultdict(list)

    def hour(self, hour: int) -> tuple[Iterator[Event], list[Event]]:
        """Return the hour's new rows and those that are about earlier ones; the first must be read to its end."""
        repeats = self.scheduled.pop(hour, [])
        return self._new(hour, self.events_per_hour - len(repeats)), repeats

    def _new(self, hour: int, count: int) -> Iterator[Event]:
        """Yield new rows; what is too much, or processed after the hour, is left to the next hour."""
        end = _iso((hour + 1) * HOUR)
        number = (hour - RECREATED_HOUR) * self.events_per_hour
        stop = number + count
        rows, self.unfinished = self.unfinished, []
        sessions = self._sessions(hour)
        while True:
            for event in rows:
                if number == stop or event.processed_time >= end:
                    self.unfinished.append(event)
                    continue
                if number % 100 == 2:
                    self.scheduled[hour + 1 + number // 100 % 2].append(event)
                elif number % 300 == 5:
                    self.scheduled[hour + 1].append(_null(event, hour + 1, timeless=number // 300 % 2 == 0))
                number += 1
                yield event
            if number == stop:
                return
            rows = next(sessions)

    def _sessions(self, hour: int) -> Iterator[list[Event]]:
        rng = random.Random(f"hour {self.seed} {hour}")
        active = frozenset(definition.id for definition in DEFINITIONS if definition.is_active(hour))
        ordinal = 0
        while True:
            person = _popular(rng, self.people)
            clock = hour * HOUR + rng.randrange(HOUR)
            offline = rng.randrange(4 * HOUR, 96 * HOUR) if ordinal % 40 == 12 else 0
            is_mobile = ordinal % 5 == 3
            device = person.mobile if is_mobile else person.web
            session = _Session(rng, person, device, active, clock, offline + rng.randrange(2 * SECOND, 40 * SECOND))
            yield session.ship() if ordinal % 10 == 6 else session.visit(_journey(rng), hour, turn=ordinal // 5)
            ordinal += 1


def _null(event: Event, hour: int, timeless: bool) -> Event:
    return event._replace(
        event_time=None if timeless else event.event_time,
        updated_time=_epoch_millis(hour),
        event_type=None,
        event_properties="{}",
        source_properties="{}",
    )


def _recreate(rows: Sequence[Event], new_rows: int, counts: Counter[str]) -> Iterator[Event]:
    """Yield the rows of the file as written again: of the new ones some located better, some gone (see `_Feed`)."""
    for number, event in enumerate(rows):
        if number >= new_rows:
            yield event
        elif number % 500 in (2, 52):
            counts["removed"] += 1
            counts["duplicates"] -= number % 100 == 2
        elif number % 10 == 0:
            counts["changed"] += 1
            yield _locate(event)
        else:
            yield event


def _locate(event: Event) -> Event:
    source = msgspec.json.decode(event.source_properties)
    if location := source.get("location"):
        location["lat_long"] = _PLACES[location["city"]][-1]
    return event._replace(updated_time=_epoch_millis(RECREATED_AFTER_HOURS - 1), source_properties=_json(source))


def _iso(clock: int) -> str:
    return (FIRST_HOUR + timedelta(microseconds=clock)).isoformat(timespec="microseconds") + "Z"


def _epoch_millis(hour: int) -> int:
    return int((FIRST_HOUR - datetime(1970, 1, 1)) / timedelta(milliseconds=1)) + hour * 3_600_000


_encoder = msgspec.json.Encoder()


def _json(value: Json) -> str:
    return _encoder.encode(value).decode()


def _with_objects(event: Event) -> tuple[object, ...]:
    texts = event.event_properties, event.source_properties
    event_object, source_object = (msgspec.Raw(text.encode()) for text in texts)
    return (*event[:8], event_object, event.source_type, source_object)


def _write(path: Path, rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> None:
    """Write rows in the format that the path's name says, whole or not at all; leave a file of the same bytes alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    try:
        if path.suffix == ".parquet":
            columns = [
                pa.array(cells, type_) for cells, type_ in zip(zip(*rows, strict=True), schema.types, strict=True)
            ]
            pq.write_table(pa.table(columns, schema), half, compression="zstd")
        else:
            lines = _encoder.encode_lines([dict(zip(schema.names, row, strict=True)) for row in rows])
            half.write_bytes(gzip.compress(lines, compresslevel=6, mtime=0) if path.suffix == ".gz" else lines)
        if not (path.exists() and filecmp.cmp(half, path, shallow=False)):
            half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _write_definitions(out: Path, hour: int, ingested: str, file_name: str) -> int:
    """Write the hour's news of the definitions, a file for each kind that has any; return how many."""
    files = 0
    for kind in ("element", "event", "page"):
        rows = [row for definition in DEFINITIONS if definition.kind == kind and (row := definition.row(hour))]
        if rows:
            types = {"is_user_defined": pa.bool_()}
            schema = pa.schema([(name, types.get(name, pa.string())) for name in rows[0]])
            path = out / "configuration" / f"{kind}-definitions" / ingested / file_name
            _write(path, [tuple(row.values()) for row in rows], schema)
            files += 1
    return files


def _chunks(rows: Iterator[Event]) -> Iterator[list[Event]]:
    while chunk := list(islice(rows, ROWS_PER_FILE)):
        yield chunk


def _check(hours: int, events_per_hour: int, file_format: str) -> None:
    if hours < 1:
        raise ValueError(f"hours is {hours}: ask for at least 1")
    if events_per_hour < 1:
        raise ValueError(f"events_per_hour is {events_per_hour}: ask for at least 1")
    if file_format not in FORMATS:
        raise ValueError(f"unknown format {file_format!r}: use one of {', '.join(FORMATS)}")


def write_feed(out: Path, hours: int, events_per_hour: int, seed: int, file_format: str = "parquet") -> FeedSummary:
    """Write the feed as it stands after some hours, in the hive layout of a real one.

    The same arguments give the same bytes. With more hours, the feed of an earlier call is extended and its files are
    not touched, but for one: from the fourth hour on, the first file of the second hour is re-created, with newer
    versions of some rows and (from three events per hour on) without some others. No file is ever half written. The
    whole feed is told again to extend it, so a call takes the time of all its hours.

    Args:
        out: the feed's root, created if need be: empty, or holding a feed of the same other arguments.
        hours: how many, from 2026-03-02 00:00 UTC on.
        events_per_hour: rows of an hour's event files, at most 100,000 to a file.
        seed: another one gives another feed.
        file_format: parquet, ndjson or ndjson.gz. In NDJSON the properties are objects in every second file.

    Returns:
        What the feed now holds.

    Raises:
        ValueError: an argument is out of range.
        OSError: a file can't be written.

    """
    _check(hours, events_per_hour, file_format)
    feed = _Feed(seed, events_per_hour)
    counts: Counter[str] = Counter()
    for hour in range(hours):
        start = FIRST_HOUR + timedelta(hours=hour)
        # Windows has no colons in names.
        ingested = f"ingested_time={start}".replace(":", "%3A" if os.name == "nt" else ":")
        stable = _iso(hour * HOUR - LATE)
        counts["definition_files"] += _write_definitions(out, hour, ingested, f"part-0000.{file_format}")
        new, repeats = feed.hour(hour)
        counts["duplicates"] += sum(event.event_type is not None for event in repeats)
        for part, chunk in enumerate(_chunks(chain(new, repeats))):
            if hour == RECREATED_HOUR and part == 0 and hours >= RECREATED_AFTER_HOURS:
                chunk = list(_recreate(chunk, events_per_hour - len(repeats), counts))
            typed = [event for event in chunk if event.event_type]
            late = sum((event.event_time or "") < stable for event in typed)
            counts.update(files=1, events=len(chunk), nulled=len(chunk) - len(typed), late=late)
            as_objects = file_format != "parquet" and (hour + part) % 2 == 1
            path = out / "events" / ingested / f"part-{part:04}.{file_format}"
            _write(path, [_with_objects(event) for event in chunk] if as_objects else chunk, EVENT_SCHEMA)
    counts["distinct"] = counts["events"] - counts["duplicates"] - counts["nulled"]
    return FeedSummary(**{name.name: counts[name.name] for name in fields(FeedSummary)})
