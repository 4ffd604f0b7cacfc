"""Improvements as HTML: the one that is under way with its curve, and earlier ones with their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keepstone.platform.database.tables import OPEN_JOBS, JobState
from keepstone.training.evaluate.gate import TITLES as FIGURES
from keepstone.training.improve import Progress, plots
from keepstone.training.improve.record import TITLES, Candidate, Improvement, Stage
from keepstone.training.improve.report import VERDICTS, difference_plot, loss_plot, measured, span
from keepstone.ui.web.markup import Markup, action, element, join, with_code

_STEPS: Final = {"train": "Train", "judge": "Judge", "promote": "Promote"}
_MADE: Final = {"embedding": "the encoder", "sft": "the adapter", "quantize": "the quantized model"}
_DOTS: Final = {"done": "dot state-done", "running": "dot spinning", "waiting": "dot waiting", "skipped": "dot waiting"}
Curve = Sequence[Mapping[str, Any]]


def render_running(progress: Progress, curve: Curve) -> Markup:
    """Return how far an improvement is.

    Args:
        progress: the improvement.
        curve: of the training that is under way; empty if none is.
    """
    record = progress.record
    waiting = progress.state == JobState.QUEUED
    share = progress.done / progress.total if progress.total else 0.0
    head = element("h3", "Learning from ", element("bdi", record.collection))
    words = "Waiting for what runs before it" if waiting else f"{share:.0%} done"
    bar = element("progress", max=1, value=f"{share:.3f}", aria_label="How far it is")
    cancel = (
        element("p", "It is being stopped.", class_="note")
        if progress.cancel_requested
        else action(
            "cancel",
            "Cancel",
            class_="button small",
            data_improvement=record.id,
            data_confirm="Stop this improvement? What it trained so far is lost; the models in use stay.",
            data_confirm_label="Stop it",
        )
    )
    plot = plots.curve([(each["step"], each["loss"]) for each in curve if "loss" in each], x="step", y="loss")
    figure = element("figure", Markup(plot), class_="plot") if plot else None
    line = element("div", element("p", words, role="status"), bar, cancel, class_="work")
    return element("section", head, line, _steps(record.stages), figure, class_="panel")


def render_past(progress: Progress, live: Mapping[str, bool]) -> Markup:
    """Return what came of an improvement, folded.

    Args:
        progress: the improvement.
        live: whether each candidate is in use now, by its name and version; those that are unknown are left out.
    """
    record = progress.record
    word, kind = _outcome(record)
    head = element(
        "summary",
        element("strong", record.collection, dir="auto"),
        element("span", word, class_=f"badge {kind}"),
        element("span", f"{record.created_at:%Y-%m-%d %H:%M} UTC", class_="note"),
    )
    error = None
    if record.error is not None:
        retry = action("retry", "Try again", class_="button small", data_improvement=record.id)
        words = element("p", with_code(record.error))
        error = element("div", words, None if progress.state == "gone" else retry, class_="callout error")
    made = [_candidate(record, each, live) for each in record.candidates if each.model]
    report = element(
        "p",
        element("a", "The whole report", href=f"/v1/improvements/{record.id}/report", target="_blank", rel="noopener"),
        class_="note",
    )
    return element("details", head, error, *made, _steps(record.stages), report, class_="panel improvement")


def render_none() -> Markup:
    """Return what stands there before the first improvement."""
    first = element("p", "Nothing was learned yet.")
    second = element("p", "Choose a collection above: its own documents become questions, and those train its search.")
    return element("div", first, second, class_="empty-state")


def render_not_allowed() -> Markup:
    """Return what people see who may not."""
    words = "Only administrators may improve models: what a model learns, everybody who uses it can see."
    return element("p", words, class_="callout")


def _candidate(record: Improvement, made: Candidate, live: Mapping[str, bool]) -> Markup:
    judgement = made.judgement
    parts: list[Markup | None] = [
        element("h4", TITLES[made.recipe]),
        element("p", element("code", made.model), " from ", element("code", made.base), class_="note"),
    ]
    if judgement is not None:
        reasons = [element("p", reason) for reason in judgement.reasons]
        kind = "good" if judgement.outcome == "promote" else ""
        parts.append(element("div", element("p", element("strong", VERDICTS[judgement.outcome])), *reasons,
                             class_=f"callout {kind}"))  # fmt: skip
        parts.append(_plot(difference_plot(made), "Candidate minus live, with 95% intervals"))
        parts.append(_figures(made) if judgement.measures else None)
    parts.append(_plot(loss_plot(made), "Loss while training"))
    parts.append(_button(record, made, live))
    return element("div", *parts, class_="candidate")


def _button(record: Improvement, made: Candidate, live: Mapping[str, bool]) -> Markup | None:
    """Return the way to put a candidate into use, or to take it out again."""
    if made.model is None or made.model not in live:
        return None
    target = {"data_improvement": record.id, "data_recipe": made.recipe}
    if live[made.model]:
        question = f"Roll back? What was in use before {made.model} answers again."
        return action(
            "rollback", "Roll back", class_="button", data_confirm=question, data_confirm_label="Roll back", **target
        )
    if made.judgement is not None and made.judgement.outcome == "promote":
        return action("promote", "Promote", class_="button primary", **target)
    return None


def _figures(made: Candidate) -> Markup:
    assert made.judgement is not None
    heads = ("Figure", "Live", "Candidate", "Change", "95% interval")
    head = element("tr", *[element("th", each, scope="col") for each in heads])
    rows = [
        element(
            "tr",
            element("td", FIGURES.get(each.name, each.name)),
            *[element("td", cell, class_="number") for cell in measured(each)],
        )
        for each in made.judgement.measures
    ]
    return element("table", element("thead", head), element("tbody", *rows), class_="plain")


def _steps(stages: Sequence[Stage]) -> Markup:
    return element("ol", *map(_step, stages), class_="steps")


def _step(stage: Stage) -> Markup:
    what, _, recipe = stage.name.partition(" ")
    name = f"{_STEPS[what]} {_MADE[recipe]}" if recipe else "Build the dataset"
    took = span(stage.seconds) if stage.state == "done" else ""
    return element(
        "li",
        element("span", class_=_DOTS[stage.state], aria_hidden="true"),
        element("span", name, class_="name"),
        element("span", stage.said, class_="said"),
        element("span", took, class_="number"),
        class_=f"step-{stage.state}",
        aria_current="step" if stage.state == "running" else None,
    )


def _plot(svg: str, caption: str) -> Markup | None:
    return element("figure", Markup(svg), element("figcaption", caption), class_="plot") if svg else None


def _outcome(record: Improvement) -> tuple[str, str]:
    if record.error is not None:
        return ("Cancelled", "") if record.cancelled else ("Failed", "bad")
    judged = {each.judgement.outcome for each in record.candidates if each.judgement is not None}
    if any(each.promoted for each in record.candidates):
        return "Promoted", "good"
    if "promote" in judged:
        return "Better, not in use", "good"
    if "not_enough_data" in judged:
        return "Not enough data", ""
    return ("Refused", "") if judged else ("Nothing new", "")


def is_open(progress: Progress) -> bool:
    """Tell whether an improvement is under way or waits."""
    return progress.state in OPEN_JOBS


def render_all(past: Sequence[Markup]) -> Markup:
    """Return the earlier improvements, the newest first; nothing where there are none."""
    return join([element("h3", "Earlier", class_="earlier"), *past]) if past else Markup("")
