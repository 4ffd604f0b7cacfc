"""A made-up collection: handbooks of machines, whose sentences have one form, so that questions can be scripted."""

from __future__ import annotations

import json
import random
import re

from keepstone.platform.serving.engine import ChatRequest

_PARTS = (
    "filter", "valve", "gasket", "spindle", "lamp", "hopper", "nozzle", "sensor", "bearing", "membrane", "coupling",
    "impeller", "burner", "bellows", "cartridge", "flywheel", "manifold", "piston", "rotor", "sieve", "thermostat",
    "turbine", "winch", "damper",
)  # fmt: skip
_DONE = ("cleaned", "replaced", "inspected", "calibrated", "lubricated", "drained", "tightened", "polished")
_UNITS = ("hours", "days", "weeks", "months", "cycles", "shifts")
_SYLLABLES = ("ba", "cor", "dex", "fil", "gra", "hon", "jul", "kep", "lum", "mor", "nex", "ost", "pra", "quil", "ruv")
_FACT = re.compile(r"The (\w+) of the (\w+) is (\w+) after (\d+) (\w+)")
FOOTER = "Questions about maintenance are answered by the service desk of Meridian Industries on every working day."


def handbook(number: int, sections: int = 4) -> str:
    """Return the handbook of one machine as Markdown."""
    draw = random.Random(number)
    name = "".join(draw.sample(_SYLLABLES, 3)).capitalize()
    text = f"# Handbook of the {name}\n"
    parts = draw.sample(_PARTS, 3 * sections)
    for section in range(sections):
        facts = [
            f"The {part} of the {name} is {draw.choice(_DONE)} after {draw.randint(11, 99)} {draw.choice(_UNITS)}, "
            f"which the {draw.choice(_PARTS)} {draw.choice(_SYLLABLES)}{draw.choice(_SYLLABLES)} shows by itself."
            for part in parts[3 * section : 3 * section + 3]
        ]
        text += f"\n## Care of the {parts[3 * section]} {draw.choice(_SYLLABLES)}{number}\n\n{' '.join(facts)}\n"
    return text


def handbooks(count: int) -> dict[str, bytes]:
    """Return files of so many different handbooks."""
    return {f"handbook-{number:02}.md": handbook(number).encode() for number in range(count)}


def ask(request: ChatRequest) -> str:
    """Write a question about the passage that a request shows, as a good language model would."""
    fact = _FACT.search(request.messages[-1].content)
    if fact is None:
        return json.dumps({"question": "Who answers questions?", "answer": "the service desk"})
    part, name, done, number, unit = fact.groups()
    question = f"How long may one wait until the {part} of the {name} is {done}?"
    return json.dumps({"question": question, "answer": f"after {number} {unit}"})
