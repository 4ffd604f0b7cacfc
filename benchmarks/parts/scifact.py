"""The SciFact corpus, as files to ingest (Wadden et al., 2020; BEIR's corpus and queries)."""

from __future__ import annotations

import ast
import csv
import io
import zipfile
from pathlib import Path


def documents(folder: Path, limit: int | None = None) -> dict[str, bytes]:
    """Return the abstracts as Markdown files by name, in the order of the corpus."""
    rows = _rows(folder, "corpus_train")[:limit]
    return {f"{row['doc_id']}.md": f"# {row['title']}\n\n{_abstract(row['abstract'])}\n".encode() for row in rows}


def claims(folder: Path, part: str = "claims_validation") -> list[str]:
    """Return the claims of a part, each once."""
    return list(dict.fromkeys(row["claim"] for row in _rows(folder, part)))


def _rows(folder: Path, part: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(folder / "scifact_hf_csv.zip") as archive:
        [name] = [each for each in archive.namelist() if part in each]
        with archive.open(name) as file:
            return list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))


def _abstract(field: str) -> str:
    try:
        sentences = [str(each) for each in ast.literal_eval(field)]
    except (SyntaxError, ValueError):
        sentences = field.strip("[]").splitlines()
    return " ".join(sentence.strip(" '\"\n") for sentence in sentences)
