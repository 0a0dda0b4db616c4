"""The import law of the house: who may know whom (see [tool.importlinter] in pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINTER = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="import-linter has no wheel for PyPy")
def test_the_import_law_holds() -> None:
    """Every contract is kept; the linter's own report says which import breaks which."""
    run = subprocess.run(
        [sys.executable, "-c", LINTER, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
