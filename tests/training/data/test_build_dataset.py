"""The promises of a dataset: nothing leaks, negatives do not answer, and the same order gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.database.tables import ChunkRow
from keepstone.platform.errors import Conflict, InvalidInput
from keepstone.platform.serving.engine import ChatRequest
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.training.data import Dataset, RetrievalRow, Side
from keepstone.training.data.duplicates import PASSAGES, shingles
from tests.training.data.handbooks import FOOTER, ask, handbook, handbooks

SIDES: tuple[Side, ...] = ("train", "test")


def contents(dataset: Dataset) -> dict[str, bytes]:
    """Return all files of a dataset but the one that says when it was built."""
    files = (path for path in dataset.folder.rglob("*") if path.is_file() and path.name != "built.json")
    return {str(path.relative_to(dataset.folder)): path.read_bytes() for path in files}


def passages_of(dataset: Dataset, side: Side) -> Iterator[str]:
    """Yield every passage that a side shows, whether as positive, negative or in a prompt."""
    for row in dataset.retrieval(side):
        yield row.positive
        yield from row.negatives
    for chat in dataset.chat(side):
        shown = chat.messages[1].content
        yield from (part.partition("\n</passage>")[0].partition(">\n")[2] for part in shown.split("<passage ")[1:])


@pytest.fixture(scope="module")
def leaky(make_bench: Callable[..., Any]) -> Any:
    """Return a collection with copies, versions, an excerpt, and a footer in every document."""
    files = {name: text + f"\n## Service\n\n{FOOTER}\n".encode() for name, text in handbooks(16).items()}
    for number in (1, 5, 9):
        text = handbook(number) + f"\n## Service\n\n{FOOTER}\n"
        files[f"copy-{number}.md"] = text.replace("by itself", "all by itself").encode()
        files[f"excerpt-{number}.md"] = (
            text.partition("\n## Care")[0].encode()
            + "".join(f"\n## Care{part}" for part in handbook(number).split("\n## Care")[2:4]).encode()
        )
    return make_bench(files)


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_of_the_test_side_stands_on_the_training_side(leaky: Any, seed: int) -> None:
    """In any role: no document, no version or excerpt of one, no passage that nearly equals one."""
    dataset = leaky.build(seed=seed)
    groups = {side: {name_of(leaky, sha256) for sha256 in dataset.documents(side)} for side in SIDES}
    assert groups["train"].isdisjoint(groups["test"])
    assert groups["test"]
    kept = {side: [set(shingles(text, PASSAGES.shingle)) for text in set(passages_of(dataset, side))] for side in SIDES}
    closest = max(len(one & other) / len(one | other) for one in kept["test"] for other in kept["train"])
    assert closest < PASSAGES.least + 0.05
    assert not any(FOOTER in text for text in passages_of(dataset, "test"))


def name_of(bench: Any, sha256: str) -> str:
    """Return the number of the handbook that a document is a version of."""
    [document] = [each for each in bench.runtime.library.documents(bench.me, bench.collection) if each.sha256 == sha256]
    return str(int(Path(document.name).stem.rpartition("-")[2]))


@pytest.mark.parametrize("source", ["written", "sentences"])
def test_no_negative_overlaps_the_positive_or_holds_the_answer(bench: Any, source: str) -> None:
    dataset = bench.build(source=source)
    rows: list[RetrievalRow] = [row for side in SIDES for row in dataset.retrieval(side)]
    assert rows
    with bench.runtime.database.reading() as session:
        for row in rows:
            positive = session.get_one(ChunkRow, row.positive_chunk)
            assert 1 <= len(row.negatives) == len(set(row.negatives)) <= 4
            for text in row.negatives:
                assert text.endswith(positive.text) is False
                assert row.answer not in text
                assert positive.text not in text
            if row.kind in ("written", "keywords"):
                assert row.positive == f"{positive.context}\n{positive.text}"
                assert row.answer in positive.text


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(bench: Any) -> None:
    first, again, other = (contents(bench.build(seed=seed)) for seed in (7, 7, 8))
    assert first == again
    assert set(first) == {
        "card.json",
        "documents.jsonl",
        "retrieval/train.jsonl",
        "retrieval/test.jsonl",
        "chat/train.jsonl",
        "chat/test.jsonl",
        "preferences/train.jsonl",
    }
    assert other["documents.jsonl"] != first["documents.jsonl"]


@pytest.mark.parametrize("source", ["written", "sentences"])
def test_a_build_that_dies_at_any_unit_gives_the_same_dataset(bench: Any, source: str) -> None:
    """Each unit is begun and lost, then done by a new process, which knows only what is on the disk."""
    expected = contents(bench.build(source=source, seed=3))
    job = bench.job(source=source, seed=3)
    bench.builder().plan(job)
    for unit in bench.builder().plan(job):
        bench.builder().run(job, unit)
        bench.builder().run(job, unit)
    bench.builder().finish(job, None)
    assert contents(bench.built_by(job)) == expected


def test_the_answer_stands_in_the_prompt_where_its_citation_says(bench: Any) -> None:
    dataset = bench.build(source="written")
    rows = list(dataset.chat("train"))
    assert rows
    for row in rows:
        assert [message.role for message in row.messages] == ["system", "user", "assistant"]
        answer, _, mark = row.messages[-1].content.rpartition(" [")
        shown = row.messages[1].content.partition(f'<passage id="{mark[:-1]}"')[2].partition("</passage>")[0]
        assert answer in shown


def test_what_the_model_writes_badly_is_left_out_and_counted(make_bench: Callable[..., Any]) -> None:
    bad = {
        "unreadable_reply": "I would rather not.",
        "not_a_question": json.dumps({"question": "The valve.", "answer": "valve"}),
        "speaks_of_the_passage": json.dumps({"question": "What does this passage tell about it?", "answer": "valve"}),
        "answer_not_in_passage": json.dumps({"question": "Who founded the company Meridian?", "answer": "Ada Byron"}),
        "passage_not_found_again": "",
    }
    replies = iter([*bad.values()] * 3)

    def reply(request: ChatRequest) -> str:
        text = next(replies, None)
        if text is None:
            return ask(request)
        if text:
            return text
        answer = json.loads(ask(request))["answer"]
        return json.dumps({"question": "Zorp wibble quux frobnicate blarg?", "answer": answer})

    dataset = make_bench(handbooks(14), ScriptedEngine(default=reply)).build(source="written", found_within=1)
    assert {reason: dataset.card.dropped.get(reason, 0) >= 3 for reason in bad} == dict.fromkeys(bad, True)
    assert not any("Zorp" in row.question or "Ada" in row.answer for row in dataset.retrieval("train"))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (handbooks(2), "too few documents"),
        ({f"page-{n}.md": handbook(1).replace("Handbook", f"Handbook {n:04}").encode() for n in range(30)}, "the same"),
        ({f"short-{n}.md": handbook(n, sections=1).encode() for n in range(4)}, "too few good"),
    ],
    ids=["few documents", "alike", "few passages"],
)
def test_what_nothing_can_be_learned_from_ends_in_a_sentence(
    make_bench: Callable[..., Any], files: dict[str, bytes], sentence: str
) -> None:
    bench = make_bench(files)
    with pytest.raises(InvalidInput, match=sentence) as caught:
        bench.build()
    assert caught.value.fix
    assert bench.collection not in {each.card.collection for each in bench.datasets.list()}


def test_a_document_deleted_during_the_build_is_not_in_the_dataset(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(handbooks(17))
    job, builder = bench.job(), bench.builder()
    *units, last = builder.plan(job)
    for unit in units:
        builder.run(job, unit)
    gone = bench.runtime.library.documents(bench.me, bench.collection)[0]
    bench.runtime.library.delete_document(bench.me, gone.id)
    builder.run(job, last)
    dataset = bench.built_by(job)
    assert dataset.card.dropped["changed_meanwhile"] > 0
    title = handbook(int(Path(gone.name).stem[-2:])).partition("\n")[0].removeprefix("# ")
    assert not any(title in text for side in SIDES for text in passages_of(dataset, side))


def test_a_build_whose_files_are_gone_says_so(bench: Any) -> None:
    job = bench.job()
    builder = bench.builder()
    units = builder.plan(job)
    builder.finish(job, None)
    with pytest.raises(Conflict, match="gone"):
        builder.run(job, units[1])
