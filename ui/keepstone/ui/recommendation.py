"""Which better model this machine could run than the one in use, and how to get it."""

from __future__ import annotations

from dataclasses import dataclass

from keepstone.platform.machine import Machine
from keepstone.platform.models.catalog import Kind, catalog, recommend
from keepstone.platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model that is better than the one in use."""

    kind: Kind
    name: str
    title: str
    memory_gib: float
    commands: tuple[str, ...]
    """What to run, in order."""


def better_models(settings: Settings, machine: Machine) -> list[Recommendation]:
    """Return the LLM and the encoder of the catalog that suit the machine better than those in the settings.

    A model in use that the catalog does not know was chosen with care: nothing is recommended over it.
    """
    order = list(catalog())
    in_use: dict[Kind, str] = {} if settings.encoder.url else {"encoder": settings.encoder.model}
    if settings.engine.mode == "managed":
        in_use["llm"] = settings.engine.model
    found: list[Recommendation] = []
    for kind, entry in recommend(machine).items():
        present = in_use.get(kind)
        if present is None or present not in order or order.index(present) >= order.index(entry.name):
            continue
        section = "engine" if kind == "llm" else "encoder"
        commands = (
            f"keepstone models pull {entry.name}",
            f'put model = "{entry.name}" under [{section}] in keepstone.toml',
            "keepstone down && keepstone up",
        )
        found.append(Recommendation(kind, entry.name, entry.title, entry.memory_gib, commands))
    return found
