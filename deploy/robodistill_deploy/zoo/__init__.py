"""Zoo: trained policies that come with the package, each a folder with ``policy.onnx`` and its ``card.json``.

Wherever a policy file is asked for, ``zoo:<name>`` names one of them. A card says what the policy was trained for,
what it was measured to do and where its limits are; the figures are those of the run that made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robodistill_deploy import strict_json
from robodistill_deploy.codec import from_plain
from robodistill_deploy.errors import RobodistillError, unknown

PREFIX = "zoo:"
SCHEMA = "robodistill.card/1"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Measured:
    """What one set of evaluation episodes gave."""

    conditions: str
    """Such as ``as trained`` or ``friction 0.15 to 0.3``."""
    episodes: int
    figures: dict[str, tuple[float, float, float]]
    """Metric -> mean and the ends of its 95 % interval, in ``Card.units``."""


@dataclass(frozen=True)
class Card:
    """What a person must know before using a policy."""

    schema: str
    name: str
    title: str
    robot: str
    task: str
    sha256: str
    """Of the ``policy.onnx`` beside the card."""
    trained: dict[str, str]
    """How it came to be: method, seed, steps, time, machine, versions."""
    units: dict[str, str]
    measured: tuple[Measured, ...]
    limits: tuple[str, ...]
    """What it cannot do, and what nobody has tried."""
    license: str

    def __post_init__(self) -> None:
        """Refuse a card of another version."""
        if self.schema != SCHEMA:
            raise RobodistillError(f"card {self.name!r}: schema {self.schema!r}, this version reads {SCHEMA!r}")


def names(folder: Path = _FOLDER) -> list[str]:
    """Return the names of all policies that came with the package."""
    return sorted(path.parent.name for path in folder.glob("*/card.json"))


def card(name: str, folder: Path = _FOLDER) -> Card:
    """Return the card of the policy called ``name``."""
    if name not in names(folder):
        raise RobodistillError(unknown("policy of the zoo", name, names(folder)))
    text = (folder / name / "card.json").read_text()
    return from_plain(Card, strict_json.loads(text, f"card of {name}"))


def locate(policy: str | Path, folder: Path = _FOLDER) -> Path:
    """Return the file that ``policy`` names: a path, or ``zoo:<name>``."""
    text = str(policy)
    if not text.startswith(PREFIX):
        return Path(policy)
    return folder / card(text.removeprefix(PREFIX), folder).name / "policy.onnx"


def describe(shown: Card) -> str:
    """Return a card as text for a terminal."""
    figures = [key for measured in shown.measured for key in measured.figures]
    width = max(len(key) for key in (*shown.trained, *figures, "robot"))
    lines = [f"{shown.name}: {shown.title}", ""]
    lines += [f"  {key:<{width}}  {value}" for key, value in [("robot", shown.robot), ("task", shown.task)]]
    lines += [f"  {key:<{width}}  {value}" for key, value in shown.trained.items()]
    for measured in shown.measured:
        lines += ["", f"measured {measured.conditions} ({measured.episodes} episodes; 95 % intervals)"]
        for key, (mean, low, high) in measured.figures.items():
            unit = shown.units.get(key, "")
            lines.append(f"  {key:<{width}}  {mean:.3g} ({low:.3g} to {high:.3g}) {unit}".rstrip())
    lines += ["", "limits", *(f"  - {limit}" for limit in shown.limits), "", f"license {shown.license}"]
    return "\n".join(lines) + "\n"
