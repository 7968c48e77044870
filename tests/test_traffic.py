"""Which traffic is of one's own people: against the ipaddress module of Python, and what the marts make of it."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conversions import RefusedError, returned
from test_models import Warehouse, event, warehouse

__all__ = ["warehouse"]


def is_in(address: object, network: object) -> bool:
    return re.fullmatch(returned(("traffic.sql",), "network_pattern", None, str(network)), str(address)) is not None


@settings(deadline=None)
@given(st.ip_addresses(v=4), st.integers(8, 32), st.ip_addresses(v=4), st.integers(-2, 2))
def test_a_network_of_four_octets_has_its_addresses(
    address: IPv4Address, bits: int, other: IPv4Address, step: int
) -> None:
    network = IPv4Network((address, bits), strict=False)
    assert is_in(address, network)
    assert is_in(other, network) == (other in network)
    for edge in (network.network_address, network.broadcast_address):
        near = IPv4Address(min(max(int(edge) + step, 0), 2**32 - 1))
        assert is_in(near, f"{address}/{bits}") == (near in network)


@settings(deadline=None)
@given(st.lists(st.integers(1, 65535), min_size=8, max_size=8), st.integers(1, 8), st.ip_addresses(v=6))
def test_a_network_of_groups_has_its_addresses(groups: list[int], count: int, other: IPv6Address) -> None:
    address = IPv6Address(":".join(f"{group:x}" for group in groups))
    network = IPv6Network((address, 16 * count), strict=False)
    first = network.network_address
    assert is_in(address, f"{address}/{16 * count}")
    assert is_in(first, f"{':'.join(f'{group:04x}' for group in groups[:count])}{'::' * (count < 8)}/{16 * count}")
    assert is_in(other, network) == (other in network)


@pytest.mark.parametrize(
    "network",
    ["10.0.0.0/7", "10.0.0.0/33", "256.0.0.1", "10.1", "10.1.2.3/x", "2001:db8::/20", "2001::/32", "intra", ""],
)  # fmt: skip
def test_what_is_no_network_is_said(network: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(f"internal_traffic: {network} is no network")):
        returned(("traffic.sql",), "network_pattern", None, network)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["10.0.0.0/8"], "internal_traffic has networks, hosts and users, as in {hosts: [localhost]}, not ['10."),
        ({"ips": []}, "internal_traffic has networks, hosts and users"),
        ({"hosts": "localhost"}, "internal_traffic: hosts is a list, not localhost"),
    ],
)
def test_what_is_wrong_is_said(told: Any, said: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)):
        returned(("traffic.sql",), "internal_traffic", told, "hosts")


def test_lists_are_taken_in_whatever_letters() -> None:
    assert returned(("traffic.sql",), "internal_traffic", {"users": [" Ann ", 7]}, "users") == ["ann", "7"]
    assert returned(("traffic.sql",), "internal_traffic", {"users": ["a"]}, "hosts") == []
    assert returned(("traffic.sql",), "internal_traffic", None, "users") == []


def internal(**told: list[str]) -> tuple[str, str]:
    return ("--vars", json.dumps({"internal_traffic": told}))


def test_ones_own_people_are_in_no_count_of_people(warehouse: Warehouse) -> None:
    """One device each, worked out by hand: 1 to 3 by address, 4 and 5 by host, 6 and 7 by user, 8 to 12 by nothing."""
    places: dict[int, dict[str, Any]] = {
        1: {"location": {"ip_address": "10.1.31.9"}},
        2: {"location": {"ip_address": "192.0.2.7"}},
        3: {"location": {"ip_address": "2001:DB8:1::5"}},
        4: {"url": {"full_url": "http://localhost:8080/", "host": "localhost:8080"}},
        5: {"url": {"full_url": "https://a.b.Staging.example/", "host": "a.b.Staging.example"}},
        8: {"location": {"ip_address": "10.1.32.9"}, "url": {"full_url": "https://staging.example/"}},
        9: {"location": {"ip_address": "192.0.2.70"}, "url": {"full_url": "https://localhost.example/"}},
        10: {"location": {"ip_address": "2001:db8:10::5"}},
    }
    people = {
        6: {"user_id": "Eve"},
        7: {"user_id": "bob", "user_email": "Bob@Shop.example"},
        11: {"user_id": "eve2", "user_email": "eve@shop.example.org"},
        12: {"user_id": "cat", "user_email": "cat@othershop.example"},
    }
    for device in range(1, 13):
        bought = {"event_type": "custom", "event_properties": {"event_name": "Bought"}}
        rows = [
            event(f"own {device}", device_id=device, source_properties=places.get(device, {}), **bought),
            event(f"server {device}", device_id=device, session_id=None, source_properties={}, **bought),
        ]
        if device in people:
            named = {"event_type": "identify", "event_properties": people[device]}
            rows.append(event(f"who {device}", device_id=device, **named))
        warehouse.load(rows, f"f{device}")
    networks = {
        "networks": ["10.1.16.0/20", "192.0.2.7", "2001:db8:1::/48"],
        "hosts": ["localhost", "*.Staging.example"],
    }
    warehouse.run(*internal(users=["eve", "@shop.example"], **networks))

    def devices(table: str) -> set[int]:
        found = warehouse.query(f"select distinct device_id from {table} where is_internal")
        return {int(row["device_id"]) for row in found}

    def counted() -> tuple[int, int, int]:
        """Users of today; custom events, and users who had one, of which those of servers are known by user alone."""
        (active,) = warehouse.query("select dau from product_marts.active_users")
        (own,) = warehouse.query("select events, users from product_marts.custom_events_daily")
        return active["dau"], own["events"], own["users"]

    assert devices("product_marts.events") == {1, 2, 3, 4, 5}
    assert devices("product_marts.sessions") == {1, 2, 3, 4, 5, 6, 7}
    users = warehouse.query("select user_id from product_marts.users where is_internal order by user_id")
    assert [row["user_id"] for row in users] == ["Eve", "anon_1", "anon_2", "anon_3", "anon_4", "anon_5", "bob"]
    assert counted() == (5, 15, 10)
    # Who is internal is asked when it is read; of a server's event, only where its device has named somebody.
    warehouse.run(*internal(users=["cat"], **networks))
    assert devices("product_marts.sessions") == {1, 2, 3, 4, 5, 12}
    assert counted() == (6, 17, 11)
