"""Definitions: everything that is declared, as one JSON document in RabbitMQ's format.

    exporting   the model -> a document, of the whole broker or of one virtual host
    importing   a document -> the same operations that clients and operators use; adds and changes, never deletes
    applying    the difference between a document and the model, and making it so; may delete
    loading     files at a start

Source: RabbitMQ's rabbit_definitions, rabbit_definitions_import_local_filesystem, rabbit_definitions_hashing.
"""

from __future__ import annotations

from amqpd.definitions.applying import Step, apply, plan
from amqpd.definitions.exporting import About, Document, export
from amqpd.definitions.importing import DefinitionsError, import_definitions, parse
from amqpd.definitions.loading import load

__all__ = [
    "About",
    "DefinitionsError",
    "Document",
    "Step",
    "apply",
    "export",
    "import_definitions",
    "load",
    "parse",
    "plan",
]
