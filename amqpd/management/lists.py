"""Lists as RabbitMQ answers them: chosen columns, sorted, whole or a page at a time.

    ?columns=name,owner_pid_details.name     only these fields
    ?sort=messages&sort_reverse=true         by a field, which may lie deeper (a.b)
    ?page=1&page_size=100                    an object with the page's items and how many there are in all
    ?name=orders&use_regex=true              of a paged list only the items of this name

With a hundred thousand queues a list takes seconds to make, so it is made and sent in slices, between which clients are
served. Each object is looked at twice, for its place in the order and for what is sent of it: the objects that the API
shows are never all there at once, or the collector would stop everybody to go over them.
Source: RabbitMQ's rabbit_mgmt_util (reply_list, pagination_params).
"""

from __future__ import annotations

import asyncio
import heapq
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeAlias, TypeVar

from aiohttp import web

from amqpd.management.conventions import Refusal

__all__ = ["Item", "only_columns", "respond", "slices"]

T = TypeVar("T")
Item: TypeAlias = dict[str, object]
Path: TypeAlias = tuple[str, ...]

SLICE = 200
PAGE_SIZE = 100
PAGE_SIZE_MAX = 500
BY_NAME = ("vhost", "name")


async def slices(objects: Iterable[T]) -> AsyncIterator[T]:
    """The objects one by one, with a pause for everybody else after each slice."""
    for count, item in enumerate(objects, 1):
        yield item
        if count % SLICE == 0:
            await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------- columns


def columns(request: web.Request) -> list[Path]:
    """The columns asked for, none for all."""
    return [tuple(column.split(".")) for column in request.query.get("columns", "").split(",") if column]


def only_columns(request: web.Request, item: Item) -> Item:
    """Of the item the columns asked for, or all of it."""
    paths = columns(request)
    return pick(item, paths) if paths else item


def pick(item: Item, paths: Sequence[Path]) -> Item:
    picked: Item = {}
    for path in paths:
        source, target = item, picked
        for part in path[:-1]:
            inner = source.get(part)
            if not isinstance(inner, dict):
                break
            source, target = inner, branch(target, part)
        else:
            if path[-1] in source:
                target[path[-1]] = source[path[-1]]
    return picked


def branch(target: Item, part: str) -> Item:
    """The object under this name, a new one where there is none."""
    inner = target.setdefault(part, {})
    assert isinstance(inner, dict)
    return inner


def look_up(item: Item, path: Path) -> object:
    """The value at the path, None where it leads nowhere."""
    value: object = item
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


# ---------------------------------------------------------------------------------------------------- order


def rank(value: object) -> tuple[int, float, str]:
    """A sort key over values of different kinds: nothing, then numbers, then texts."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, int | float):
        return 1, value, ""
    return 2, 0.0, value if isinstance(value, str) else json.dumps(value)


Key: TypeAlias = tuple[int | float | str, ...]
"""Ranks end to end, so that the collector need not look at it again, and last the place of the object."""


async def in_order(keys: list[Key], reverse: bool) -> list[int]:
    """The places of the objects, sorted in slices."""
    runs: list[list[Key]] = []
    for start in range(0, len(keys), SLICE):
        runs.append(sorted(keys[start : start + SLICE], reverse=reverse))
        await asyncio.sleep(0)
    return [int(key[-1]) async for key in slices(heapq.merge(*runs, reverse=reverse))]


# ---------------------------------------------------------------------------------------------------- pages


class Page(NamedTuple):
    """Which part of a list is wanted."""

    number: int
    size: int
    wanted: Callable[[Item], bool]


def requested_page(request: web.Request) -> Page | None:
    """The page asked for, None for the whole list. Raises Refusal."""
    if "page" not in request.query:
        return None
    try:
        number, size = int(request.query["page"]), int(request.query.get("page_size", PAGE_SIZE))
    except ValueError:
        raise Refusal(400, "Pagination parameters are invalid") from None
    if number < 1 or not 1 <= size <= PAGE_SIZE_MAX:
        raise Refusal(400, f"Pagination parameters are invalid: page {number}, page size {size}")
    name = request.query.get("name", "")
    if request.query.get("use_regex") != "true":
        return Page(number, size, lambda item: name in str(item.get("name", "")))
    try:
        pattern = re.compile(name)
    except re.error as error:
        raise Refusal(400, f"invalid regular expression '{name}': {error}") from None
    return Page(number, size, lambda item: pattern.search(str(item.get("name", ""))) is not None)


async def respond(
    request: web.Request, objects: Iterable[T], view: Callable[[T], Item], default_sort: Sequence[str] = BY_NAME
) -> web.StreamResponse:
    """The list of these objects, seen through `view`, as the request wants it."""
    page = requested_page(request)
    sort = request.query.get("sort")
    paths = [tuple(name.split(".")) for name in ([sort] if sort else default_sort)]
    # Between two slices the model goes on: what is listed are the objects of now.
    found = list(objects)
    keys: list[Key] = []
    async for place, one in slices(enumerate(found)):
        item = view(one)
        if page is None or page.wanted(item):
            keys.append((*(part for path in paths for part in rank(look_up(item, path))), place))
    places = await in_order(keys, request.query.get("sort_reverse") == "true" and sort is not None)
    if page is None:
        return await send(request, "[", (view(found[place]) for place in places), "]")
    count = max(1, -(-len(places) // page.size))
    if page.number > count:
        reason = f"Page out of range, page: {page.number} page size: {page.size}, len: {len(places)}"
        raise Refusal(400, reason, "page_out_of_range")
    shown = places[(page.number - 1) * page.size : page.number * page.size]
    head = {
        "filtered_count": len(places),
        "item_count": len(shown),
        "page": page.number,
        "page_count": count,
        "page_size": page.size,
        "total_count": len(found),
    }
    return await send(request, json.dumps(head)[:-1] + ', "items":[', (view(found[place]) for place in shown), "]}")


async def send(request: web.Request, head: str, items: Iterator[Item], tail: str) -> web.StreamResponse:
    """Send the items, in JSON and in slices, between head and tail."""
    paths = columns(request)
    encode = json.JSONEncoder(separators=(",", ":")).encode
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
    await response.prepare(request)
    before = head
    # Who asked may go before all is said; the server sees to that when it ends the response.
    with suppress(ConnectionError):
        while some := list(islice(items, SLICE)):
            text = ",".join(encode(pick(item, paths) if paths else item) for item in some)
            await response.write((before + text).encode("ascii"))
            # A write waits only for a client that reads slowly.
            await asyncio.sleep(0)
            before = ","
        await response.write(((head if before == head else "") + tail).encode("ascii"))
    return response
