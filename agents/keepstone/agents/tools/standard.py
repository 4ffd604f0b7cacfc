"""The tools that every agent has."""

from __future__ import annotations

from typing import Final

from keepstone.agents.tools.base import Tool
from keepstone.agents.tools.calculator import calculator
from keepstone.agents.tools.listing import list_documents
from keepstone.agents.tools.read import read
from keepstone.agents.tools.search import search

STANDARD_TOOLS: Final[tuple[Tool, ...]] = (search, read, list_documents, calculator)
