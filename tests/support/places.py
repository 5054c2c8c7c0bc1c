"""Where the checkout is, and what lies in it and beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"  # recordings that are not part of the project
DIGITS = ROOT / "src" / "linnet" / "models" / "embedded" / "digits"
EXAMPLES = ROOT / "examples"
RECIPES = ROOT / "recipes"
