"""The law of the hot modules (see [tool.amqpd] in pyproject.toml): what a message costs stays plain to see in them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["amqpd"]["hot"]

SLOW_MODULES = {"asyncio", "concurrent", "logging", "threading"}
BY_NAME = {"getattr", "setattr", "hasattr", "delattr", "Future", "Task", "create_task", "ensure_future"}


def breaches(source: str) -> Iterator[tuple[int, str]]:
    """What a hot module may not do, with the lines: wait, log, look up by name, or build text outside a `raise` or a
    function whose answers are remembered."""
    tree = ast.parse(source)
    seldom = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) or (isinstance(node, ast.FunctionDef) and remembered(node))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield node.lineno, "waits"
            case ast.JoinedStr() if id(node) not in seldom:
                yield node.lineno, "builds text"
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in BY_NAME:
                yield node.lineno, f"calls {name}"
            case ast.Import(names=names) if SLOW_MODULES & {alias.name.split(".")[0] for alias in names}:
                yield node.lineno, "imports what waits or logs"
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in SLOW_MODULES:
                yield node.lineno, "imports what waits or logs"


def remembered(function: ast.FunctionDef) -> bool:
    return any("lru_cache" in ast.unparse(decorator) for decorator in function.decorator_list)


@pytest.mark.parametrize("path", HOT)
def test_a_hot_module_is_plain(path: str) -> None:
    assert list(breaches((ROOT / path).read_text())) == []


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ("async def deliver(): ...", "waits"),
        ("import logging", "imports what waits or logs"),
        ("from asyncio import Future", "imports what waits or logs"),
        ("x = getattr(queue, name)", "calls getattr"),
        ("loop.create_task(x)", "calls create_task"),
        ("x = f'queue {name}'", "builds text"),
    ],
)
def test_the_law_sees(source: str, breach: str) -> None:
    assert [what for _, what in breaches(source)] == [breach]


def test_an_error_may_say_what_it_is_about() -> None:
    assert list(breaches("raise ValueError(f'no queue {name}')")) == []
