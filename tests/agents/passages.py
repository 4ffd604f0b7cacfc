"""Passages made by hand, to check answers against without any search."""

from keepstone.agents.types import Passage
from keepstone.retrieval.types import Hit

TEXTS = (
    "Premium economy may be booked for a flight of more than eight hours. Business class needs written approval.",
    "A medical certificate is required from the fourth consecutive day of absence. Call before 9:30.",
    "每台 860 元；同一地点第二台起每台 420 元。请提前十个工作日预约。",
)


def make_passage(number: int, text: str, start: int = 0) -> Passage:
    hit = Hit(
        chunk_id=number,
        document_id=f"doc_{number}",
        document_name=f"{number}.md",
        document_sha256="0" * 64,
        collection_id="col_1",
        text=text,
        start=start,
        end=start + len(text),
        page=None,
        context=f"Handbook > Section {number}",
        score=1.0 / number,
        dense_score=0.5,
        lexical_score=3.0,
        fused_score=1.0 / number,
    )
    return Passage(number=number, hit=hit, text=text)
