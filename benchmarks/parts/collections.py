"""Public collections to search: passages, questions, and how relevant which passage is to which question."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Context
from benchmarks.parts import scifact

Relevant = dict[str, int]
_CMRC_QUESTIONS = 400


@dataclass(frozen=True, slots=True)
class Collection:
    """Passages, questions, and how relevant which passage is to which question."""

    passages: dict[str, str]
    """Text by name; a title stands on a line of its own."""
    questions: dict[str, str]
    relevant: dict[str, Relevant]
    """Degrees of relevance, 1 and up, by question and passage."""


def claims(folder: Path, part: str) -> Collection:
    """Return SciFact with the claims of BEIR's `train` or `test` (Wadden et al., 2020; Thakur et al., 2021)."""
    passages = {row["doc_id"]: f"{row['title']}\n{scifact.abstract(row['abstract'])}" for row in scifact.corpus(folder)}
    texts = {row["id"]: row["claim"] for row in scifact.claim_rows(folder, part)}
    relevant: dict[str, Relevant] = {}
    for line in (folder / f"beir_qrels_{part}.tsv").read_text().splitlines()[1:]:
        question, passage, score = line.split("\t")
        relevant.setdefault(question, {})[passage] = int(score)
    return Collection(passages, {question: texts[question] for question in relevant}, relevant)


def pool(context: Context, name: str) -> Collection:
    """Return the passages of all questions of one of BEIR's lists to rerank as one collection."""
    items = json.loads((context.dataset("beir_rerank_maniscope") / f"dataset-{name}.json").read_text())
    numbers: dict[str, str] = {}
    for item in items:
        for text in item["docs"]:
            numbers.setdefault(text, str(len(numbers)))
    relevant = {}
    for number, item in enumerate(items):
        marks = {numbers[item["docs"][int(place)]]: int(mark) for place, mark in item["relevance_map"].items()}
        relevant[str(number)] = {passage: mark for passage, mark in marks.items() if mark > 0}
    questions = {str(number): item["query"] for number, item in enumerate(items) if relevant[str(number)]}
    return Collection({number: text for text, number in numbers.items()}, questions, relevant)


def paragraphs(path: Path, questions: int | None = None) -> Collection:
    """Return the paragraphs of a file in SQuAD's form, each of which answers its own questions.

    Args:
        path: of the file.
        questions: takes the first so many; all by default. The paragraphs are always all.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    passages: dict[str, str] = {}
    asked: dict[str, str] = {}
    relevant: dict[str, Relevant] = {}
    for paragraph in (each for article in content["data"] for each in article["paragraphs"]):
        number = str(len(passages))
        passages[number] = paragraph["context"]
        for each in paragraph["qas"]:
            asked[each["id"]], relevant[each["id"]] = each["question"], {number: 1}
    return Collection(passages, dict(list(asked.items())[:questions]), relevant)


def cranfield(context: Context) -> Collection:
    """Return the Cranfield collection (Cleverdon, 1967); every listed passage counts as relevant."""
    folder = context.dataset("glasgow_cran")
    rows = [line.split() for line in (folder / "cran.qrels").read_text().splitlines()]
    # Judgements number the questions by their order, not by what stands in the file.
    asked = enumerate(_smart(folder / "cran.qry", ".W"), 1)
    return _judged(
        _smart_passages(folder / "cran.all.1400", (".T", ".W")),
        {str(number): text for number, (_, text) in asked},
        ((row[0], row[1]) for row in rows if row),
    )


def medline(context: Context) -> Collection:
    """Return the MEDLINE collection of Glasgow."""
    folder = context.dataset("glasgow_med")
    rows = [line.split() for line in (folder / "MED.REL").read_text().splitlines()]
    return _judged(
        _smart_passages(folder / "MED.ALL", (".T", ".W")),
        dict(_smart(folder / "MED.QRY", ".W")),
        ((row[0], row[2]) for row in rows if row),
    )


def cacm(context: Context) -> Collection:
    """Return the CACM collection (Fox, 1983): titles, abstracts, authors, which some questions name, and keywords."""
    folder = context.dataset("glasgow_cacm")
    rows = [line.split() for line in (folder / "qrels.text").read_text().splitlines()]
    return _judged(
        _smart_passages(folder / "cacm.all", (".T", ".W", ".A", ".K")),
        dict(_smart(folder / "query.text", ".W")),
        ((str(int(row[0])), str(int(row[1]))) for row in rows if row),
    )


def time(context: Context) -> Collection:
    """Return the TIME collection: articles of 1963, numbered by their order."""
    folder = context.dataset("glasgow_time")
    texts = re.split(r"^\*TEXT[^\n]*\n", (folder / "TIME.ALL").read_text(), flags=re.MULTILINE)[1:]
    passages = {str(number): _words(text.replace("*STOP", "")) for number, text in enumerate(texts, 1)}
    asked = re.findall(
        r"^\*FIND\s+(\d+)\n(.*?)(?=^\*)", (folder / "TIME.QUE").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    rows = [line.split() for line in (folder / "TIME.REL").read_text().splitlines()]
    return _judged(
        passages,
        {number: _words(text) for number, text in asked},
        ((row[0], passage) for row in rows if row for passage in row[1:]),
    )


def hotpot(context: Context) -> Collection:
    """Return the passages of HotpotQA that HippoRAG draws on; each question needs two (Yang et al., 2018)."""
    folder = context.dataset("multihop_hipporag")
    corpus = json.loads((folder / "hotpotqa_train_corpus.json").read_text(encoding="utf-8"))
    items = json.loads((folder / "hotpotqa_train.json").read_text(encoding="utf-8"))
    return _judged(
        {title: f"{title}\n{''.join(sentences)}" for title, sentences in corpus.items()},
        {item["_id"]: item["question"] for item in items},
        ((item["_id"], title) for item in items for title, _ in item["supporting_facts"]),
    )


def limit(context: Context) -> Collection:
    """Return LIMIT-small, on which single vectors fail (Weller et al., 2025)."""
    folder = context.dataset("limit_small")
    corpus, queries, judged = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("corpus", "queries", "qrels")
    )
    return _judged(
        {row["_id"]: "\n".join(filter(None, (row.get("title"), row["text"]))) for row in corpus},
        {row["_id"]: row["text"] for row in queries},
        ((row["query-id"], row["corpus-id"]) for row in judged),
    )


COLLECTIONS: Mapping[str, Callable[[Context], Collection]] = {
    "scifact": lambda context: claims(context.dataset("scifact"), "test"),
    "cranfield": cranfield,
    "medline": medline,
    "cacm": cacm,
    "time": time,
    "fiqa": lambda context: pool(context, "fiqa"),
    "arguana": lambda context: pool(context, "arguana"),
    "trec_covid": lambda context: pool(context, "trec-covid"),
    "msmarco": lambda context: pool(context, "msmarco"),
    "fever": lambda context: pool(context, "fever"),
    "hotpotqa": hotpot,
    "limit_small": limit,
    "xquad_en": lambda context: paragraphs(context.dataset("xquad") / "xquad.en.json"),
    "xquad_zh": lambda context: paragraphs(context.dataset("xquad") / "xquad.zh.json"),
    "cmrc2018": lambda context: paragraphs(
        context.dataset("cmrc2018") / "squad-style-data" / "cmrc2018_dev.json", _CMRC_QUESTIONS
    ),
}
"""How each collection is read, by its name in the targets."""


def _judged(passages: dict[str, str], questions: dict[str, str], pairs: Iterable[tuple[str, str]]) -> Collection:
    """Return a collection in which every pair of question and passage is relevant, with the questions that have any."""
    relevant: dict[str, Relevant] = {}
    for question, passage in pairs:
        if passage in passages:
            relevant.setdefault(question, {})[passage] = 1
    return Collection(passages, {name: text for name, text in questions.items() if name in relevant}, relevant)


def _smart_passages(path: Path, fields: Sequence[str]) -> dict[str, str]:
    """Return the records of a file by their numbers, each field that they have on a line of its own."""
    texts = [dict(_smart(path, field)) for field in fields]
    return {name: "\n".join(filter(None, (text[name] for text in texts))) for name in texts[0]}


def _smart(path: Path, field: str) -> list[tuple[str, str]]:
    """Return number and text of one field of every record of a file in SMART's form."""
    found = []
    for record in re.split(r"^\.I\s+", path.read_text(encoding="latin-1"), flags=re.MULTILINE)[1:]:
        number, _, rest = record.partition("\n")
        parts = re.split(r"^(\.[A-Z])\s*$", rest, flags=re.MULTILINE)
        texts = [text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name == field]
        found.append((str(int(number)), _words(" ".join(texts))))
    return found


def _words(text: str) -> str:
    return " ".join(text.split())
