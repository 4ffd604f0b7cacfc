"""The SciFact corpus, as files to ingest (Wadden et al., 2020; BEIR's corpus and queries)."""

from __future__ import annotations

import ast
import csv
import io
import re
import zipfile
from pathlib import Path


def documents(folder: Path, limit: int | None = None) -> dict[str, bytes]:
    """Return the abstracts as Markdown files by name, in the order of the corpus."""
    rows = corpus(folder)[:limit]
    return {f"{row['doc_id']}.md": f"# {row['title']}\n\n{abstract(row['abstract'])}\n".encode() for row in rows}


def corpus(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the corpus: `doc_id`, `title`, `abstract`."""
    return _rows(folder, "corpus_train")


def claim_rows(folder: Path, part: str) -> list[dict[str, str]]:
    """Return the claims of BEIR's `train` or `test`, with their `id`; one may stand there more than once."""
    return _rows(folder, {"train": "claims_train", "test": "claims_validation"}[part])


def claims(folder: Path, part: str = "claims_validation") -> list[str]:
    """Return the claims of a part, each once."""
    return list(dict.fromkeys(row["claim"] for row in _rows(folder, part)))


def _rows(folder: Path, part: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(folder / "scifact_hf_csv.zip") as archive:
        [name] = [each for each in archive.namelist() if part in each]
        with archive.open(name) as file:
            return list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))


def abstract(field: str) -> str:
    """Return the text of an abstract, which stands in the file as a list of sentences in Python's or numpy's form."""
    # Python would glue strings together that have only a line break between them.
    field = re.sub(r"(['\"])\s*\n\s*(['\"])", r"\1, \2", field)
    try:
        sentences = [str(each) for each in ast.literal_eval(field)]
    except (SyntaxError, ValueError):
        sentences = field.strip("[]").splitlines()
    return " ".join(sentence.strip(" '\"\n") for sentence in sentences)
