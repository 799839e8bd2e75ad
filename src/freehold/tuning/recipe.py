"""How a candidate is tuned: a small typed record, with a reason for every number that the user left out."""

from freehold.records import Record
from freehold.spec import LoraSettings, Resolved, UpperLoraSettings


class LoraRecipe(Record, frozen=True, kw_only=True, tag="lora"):
    """Low-rank adapters on every linear layer (Hu et al. 2021, arXiv:2106.09685).

    `alpha / rank` scales the adapter's output. `batch_tokens` counts the tokens of a step after the shared
    prefix, at most. `patience` is the number of epochs without a lower validation loss after which tuning stops.
    """

    rank: int
    alpha: float
    learning_rate: float
    epochs: int
    batch_tokens: int
    warmup: float = 0.06
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    patience: int = 2


class UpperLoraRecipe(LoraRecipe, frozen=True, kw_only=True, tag="upper-lora"):
    """Adapters on the upper half of the layers. What the frozen lower half makes of an example never changes, so it is
    computed once and kept over all epochs."""


def frozen_layers(recipe: LoraRecipe, layers: int) -> int:
    """How many of a model's layers, from the bottom, carry no adapter."""
    return layers // 2 if isinstance(recipe, UpperLoraRecipe) else 0


def choose(settings: LoraSettings, examples: int, labels: int) -> tuple[LoraRecipe, list[Resolved]]:
    """The recipe for so many training examples of so many labels (0: none), and where each number came from."""
    epochs, why_epochs = _epochs(examples, labels)
    derived = {
        "rank": (16, "default"),
        "learning_rate": (1e-3, "default"),
        "epochs": (epochs, why_epochs),
        "batch_tokens": (768, "default"),
    }
    values: dict[str, float | int] = {}
    rows = []
    for name, (value, why) in derived.items():
        given = getattr(settings, name)
        values[name] = value if given is None else given
        rows.append(Resolved(f"tune.{name}", values[name], why if given is None else "task file"))
    kind = UpperLoraRecipe if isinstance(settings, UpperLoraSettings) else LoraRecipe
    recipe = kind(
        rank=int(values["rank"]),
        alpha=2.0 * values["rank"],
        learning_rate=float(values["learning_rate"]),
        epochs=int(values["epochs"]),
        batch_tokens=int(values["batch_tokens"]),
    )
    return recipe, rows


def _epochs(examples: int, labels: int) -> tuple[int, str]:
    """Passes enough for about 150 visits a label (3,000 in all where there are none), between 3 and 8."""
    visits = 150 * labels or 3000
    epochs = max(3, min(8, round(visits / max(examples, 1))))
    what = f"{examples:,} training examples" + (f" of {labels} labels" if labels else "")
    return epochs, f"from the data: {what}; stops early on validation loss"
