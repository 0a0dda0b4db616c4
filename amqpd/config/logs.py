"""Logging as the settings ask for it: outputs, formats, and a level for each category.

The handlers are the root logger's, so other
libraries' warnings go the same way; what they have to say below a warning is left out.
"""

from __future__ import annotations

import logging
import sys

from amqpd.config.log_lines import TextFormatter
from amqpd.config.schema import CATEGORIES, LEVELS
from amqpd.config.settings import Settings

__all__ = ["HOUSE", "NOTICE", "configure"]

NOTICE = LEVELS["notice"]
DEFAULT = "default"
HOUSE = "amqpd"
"""The logger above all of ours: `amqpd.connection` is the connection category."""

HANDLER_NAMES = {"console": "amqpd.console", "file": "amqpd.file"}


class Threshold(logging.Filter):
    """Lets a record pass by the level of its category on one output."""

    def __init__(self, settings: Settings, output: str) -> None:
        super().__init__()
        self.levels = {category: settings.log_level(output, category) for category in (*CATEGORIES, DEFAULT)}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this output writes this record."""
        house, _, rest = record.name.partition(".")
        category = rest.partition(".")[0] if house == HOUSE else DEFAULT
        return record.levelno >= self.levels.get(category, self.levels[DEFAULT])


def configure(settings: Settings) -> None:
    """Log as the settings say from now on. Raises OSError, and changes nothing, if the file cannot be opened.

    Called again it replaces what it set up before; handlers of others stay.
    """
    handlers = outputs(settings)
    root = logging.getLogger()
    for handler in list(root.handlers):
        if handler.name in HANDLER_NAMES.values():
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    # A level no output wants is refused by the logger itself, which is what makes a silent debug call cheap.
    thresholds = [one for handler in handlers for one in handler.filters if isinstance(one, Threshold)]
    logging.addLevelName(NOTICE, "NOTICE")
    for category in (*CATEGORIES, DEFAULT):
        least = min((threshold.levels[category] for threshold in thresholds), default=LEVELS["none"])
        logging.getLogger(HOUSE if category == DEFAULT else f"{HOUSE}.{category}").setLevel(least)


def outputs(settings: Settings) -> list[logging.Handler]:
    """A handler for each output that is on."""
    handlers: list[logging.Handler] = []
    path = settings.log_file()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, encoding="utf-8")
        handlers.append(dressed(file, settings, "file"))
    if settings.flag("log.console"):
        handlers.append(dressed(logging.StreamHandler(sys.stdout), settings, "console"))
    return handlers


def dressed(handler: logging.Handler, settings: Settings, output: str) -> logging.Handler:
    """The handler with its name, format and levels."""
    handler.set_name(HANDLER_NAMES[output])
    handler.addFilter(Threshold(settings, output))
    if settings.text(f"log.{output}.formatter") == "json":
        # Imported when asked for: it takes long, and few want it.
        from amqpd.config.log_json import JsonFormatter

        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter())
    return handler
