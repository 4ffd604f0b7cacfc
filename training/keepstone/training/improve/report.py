"""The report of an improvement: what was learned from, how, whether it helped, and how to go back.

as_markdown(record)
as_html(record)     # one file: pictures are inside, nothing is loaded, nothing runs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import jinja2

from keepstone.training.evaluate.gate import SPEED
from keepstone.training.evaluate.gate import TITLES as FIGURES
from keepstone.training.improve import plots
from keepstone.training.improve.record import TITLES, Candidate, Improvement, Measure

_MARKS = re.compile(r"([\\`*_\[\]<>#|~&])")
VERDICTS: Mapping[str, str] = {
    "promote": "Promote",
    "refuse": "Refuse",
    "not_enough_data": "Not enough data",
}
"""What the gate says, as people read it."""


def as_markdown(record: Improvement) -> str:
    """Return the report as Markdown."""
    return _environment().get_template("report.md.j2").render(_view(record))


def as_html(record: Improvement) -> str:
    """Return the report as one HTML page."""
    return _environment().get_template("report.html.j2").render(_view(record))


def loss_plot(candidate: Candidate) -> str:
    """Return the curve of a candidate's training as SVG; nothing where there is none."""
    return plots.curve([(each["step"], each["loss"]) for each in candidate.curve if "loss" in each], x="step", y="loss")


def difference_plot(candidate: Candidate) -> str:
    """Return what a candidate changes as SVG; nothing where nothing was measured."""
    measures = candidate.judgement.measures if candidate.judgement else ()
    return plots.intervals(
        [
            plots.Bar(FIGURES.get(each.name, each.name), each.value, each.low, each.high)
            for each in measures
            if each.name != SPEED and each.low is not None and each.high is not None
        ]
    )


def span(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def measured(each: Measure) -> tuple[str, str, str, str]:
    """Return live, candidate, change and interval of a figure for people."""
    if each.name == SPEED:
        written = (f"{each.live:.1f}", f"{each.candidate:.1f}", f"{each.value:.2f} times")
        return *written, "" if each.low is None else f"{each.low:.2f} to {each.high:.2f}"
    written = (f"{each.live:.3f}", f"{each.candidate:.3f}", f"{each.value:+.3f}")
    return *written, "" if each.low is None else f"{each.low:+.3f} to {each.high:+.3f}"


def rollback_command(record: Improvement, candidate: Candidate) -> str:
    """Return the command that brings back what a candidate replaced."""
    of = f" --collection {record.collection_id}" if candidate.recipe == "embedding" else ""
    return f"keepstone models rollback{of}"


def promote_command(record: Improvement, candidate: Candidate) -> str:
    """Return the command that puts a candidate into use."""
    of = f" --collection {record.collection_id}" if candidate.recipe == "embedding" else ""
    return f"keepstone models promote {candidate.model}{of}"


def _view(record: Improvement) -> dict[str, Any]:
    return {"record": record, "made": [each for each in record.candidates if each.model]}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"span": span, "moment": _moment, "title": _title, "verdict": VERDICTS.__getitem__}
    environment.filters["code"] = _code
    environment.globals |= {
        "measured": measured,
        "figures": FIGURES,
        "rollback": rollback_command,
        "promote": promote_command,
        "loss_plot": loss_plot,
        "difference_plot": difference_plot,
    }
    return environment


class _Code(str):
    """Text that stands in Markdown as it is."""

    __slots__ = ()


def _code(value: object) -> str:
    """Return text as code in Markdown."""
    return _Code(f"`{' '.join(str(value).replace('`', '').split())}`")


@jinja2.pass_eval_context
def _finalized(context: jinja2.nodes.EvalContext, value: Any) -> Any:
    """In Markdown, take the meaning from every sign that has one, and from line ends; HTML is escaped by itself."""
    if isinstance(value, str) and not isinstance(value, _Code) and not context.autoescape:
        return _MARKS.sub(r"\\\1", " ".join(value.split()))
    return value


def _title(recipe: Any) -> str:
    return TITLES[recipe]


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"
