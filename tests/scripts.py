"""Where the scripts lie, and how a test calls them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "src" / "experiments"

Script = Callable[..., "subprocess.CompletedProcess[str]"]
"""The fixture ``script``: name, arguments, options of ``subprocess.run``."""
