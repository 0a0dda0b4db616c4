"""Plugins: what is loaded, and what is said of what is not."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from amqpd.core.exchanges.base import ExchangeType
from amqpd.errors import PreconditionFailed
from amqpd.plugins.loader import EXCHANGE_TYPES, load
from amqpd.wire.tables import longstr

MODULE = "plugin_under_test"

SOURCE = """
from amqpd.core.exchanges.fanout import Fanout
from amqpd.errors import PreconditionFailed

class Good(Fanout):
    def __init__(self, arguments):
        if "refused" in arguments:
            raise PreconditionFailed("not that one")
        super().__init__({"x": arguments["missing"]} if "broken" in arguments else {})

class Lacking:
    def bind(self, binding): ...
    def unbind(self, binding): ...
    def route(self, keys, headers, props): ...

number = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that can be imported for as long as a test runs."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit('no')\n")
    (tmp_path / "spelled.py").write_text("def (\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, EXCHANGE_TYPES)


def test_a_type_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "amqpd.plugins")
    loaded = load([point("x-good", f"{MODULE}:Good")])
    assert list(loaded.exchange_types) == ["x-good"]
    assert len(loaded.names) == 1
    made: ExchangeType = loaded.exchange_types["x-good"]({})
    assert made is not loaded.exchange_types["x-good"]({})
    assert "adds the exchange type 'x-good'" in caplog.text


def test_nothing_installed_is_nothing_loaded() -> None:
    assert load([]) == ({}, ())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("direct", f"{MODULE}:Good", "amqpd has an exchange type 'direct' of its own; rename the plugin's"),
        ("x-random", f"{MODULE}:Good", "amqpd has an exchange type 'x-random' of its own"),
        ("x-bad", "nowhere_at_all:Good", "(ModuleNotFoundError: No module named 'nowhere_at_all'); install a version"),
        ("x-bad", f"{MODULE}:Absent", "AttributeError: module 'plugin_under_test' has no attribute 'Absent'"),
        ("x-bad", "spelled:Good", "SyntaxError"),
        ("x-bad", "leaves:Good", "(SystemExit: no)"),
        ("x-bad", f"{MODULE}:number", "it is no class; install a version that works or uninstall the package"),
        ("x-bad", f"{MODULE}:Lacking", "the class has no check_binding and no depends"),
    ],
)
def test_what_cannot_be_used_is_said_and_left_out(
    name: str, value: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load([point(name, value), point("x-good", f"{MODULE}:Good")])
    assert list(loaded.exchange_types) == ["x-good"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert said in record.getMessage()
    assert "Traceback" not in caplog.text


def test_two_plugins_with_one_name(caplog: pytest.LogCaptureFixture) -> None:
    loaded = load([point("x-good", f"{MODULE}:Good"), point("x-good", f"{MODULE}:Lacking")])
    assert loaded.exchange_types["x-good"]({}).depends is not None
    assert "another plugin has an exchange type 'x-good' too; uninstall one of them" in caplog.text


def test_what_a_type_says_of_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    factory = load([point("x-good", f"{MODULE}:Good")]).exchange_types["x-good"]
    with pytest.raises(PreconditionFailed) as raised:
        factory({"refused": longstr("x")})
    assert raised.value.explanation == "not that one"
    assert not caplog.records
    with pytest.raises(PreconditionFailed) as raised:
        factory({"broken": longstr("x")})
    assert raised.value.explanation == "exchange type 'x-good' does not take these arguments"
    assert "KeyError" in caplog.text


def test_metadata_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    site = Path(sys.path[0]) / "spoiled-1.0.dist-info"
    site.mkdir()
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: spoiled\nVersion: 1.0\n")
    (site / "entry_points.txt").write_bytes(b"[amqpd.exchange_types]\n\xff\xfe = x\n")
    assert load() == ({}, ())
    assert "no plugin is used: the metadata of an installed package cannot be read" in caplog.text
