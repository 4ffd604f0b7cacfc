"""What sentences and children are, and what is read in their place."""

from __future__ import annotations

from keepstone.retrieval.chunking import WordOffsets
from keepstone.retrieval.chunking.parent_child import ParentChild
from keepstone.retrieval.chunking.sentence_window import SentenceWindow
from tests.retrieval.chunking.texts import document_of

_TEXT = """# Care

Clean it daily. See e.g. Dr. Foy for help!

You need:

- a brush
- some
  soap

| Part | Count |
| --- | --- |
| screw | 4 |
| nut | 2 |

```
x = 1
y = 2
```

清洗水泵。每天！"""


def test_sentences_rows_and_items_are_cut_apart_and_code_is_not() -> None:
    chunks = SentenceWindow(60).split(document_of(_TEXT), WordOffsets())
    assert [chunk.text for chunk in chunks] == [
        "# Care\n\nClean it daily.",
        "See e.g. Dr. Foy for help!",
        "You need:",
        "- a brush",
        "- some\n  soap",
        "| Part | Count |\n| --- | --- |\n| screw | 4 |",
        "| nut | 2 |",
        "```\nx = 1\ny = 2\n```",
        "清洗水泵。",
        "每天！",
    ]


def test_a_window_ends_where_the_document_does() -> None:
    chunks = SentenceWindow(60, window_sentences=2).split(document_of(_TEXT), WordOffsets())
    read = [_TEXT[slice(*chunk.wide)] for chunk in chunks if chunk.wide]
    assert read[0].startswith("# Care")
    assert read[0].endswith("You need:")
    assert read[-1].endswith("每天！")
    [alone] = SentenceWindow(60).split(document_of("Just this."), WordOffsets())
    assert alone.wide is None


def test_children_lie_in_parents_along_the_structure() -> None:
    part = "\n\n".join(f"The pump of side {number} must be cleaned." for number in range(8))
    text = f"# One\n\n{part}\n\n# Two\n\n{part}"
    chunks = ParentChild(20, parent_tokens=90).split(document_of(text), WordOffsets())
    parents = dict.fromkeys(chunk.wide or (chunk.start, chunk.end) for chunk in chunks)
    assert [text[start:end].split("\n", maxsplit=1)[0] for start, end in parents] == ["# One", "# Two"]
    assert [chunk.context for chunk in chunks if chunk.text.startswith("# Two")] == ["Manual > Two"]
