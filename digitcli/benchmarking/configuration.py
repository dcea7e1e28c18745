"""What a benchmark is to measure, and how; every value is checked. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from digitcli.errors import UsageError, did_you_mean
from digitcli.inference.devices import check_device_name

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Runtime = Literal["torch", "torch.compile", "onnxruntime"]
LARGEST_BATCH, MOST_THREADS = 1_000_000, 1024  # beyond them a slip of the finger is likelier than a wish


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What is measured, and how.

    `archs` are architectures (with their shipped weights, or else fresh ones), checkpoint files and run
    folders; `all` stands for every architecture that reads digits, and none at all for the shipped models.
    Each is measured in every one of the `runtimes` and `dtypes` that can run it; `auto` is float32. `threads`
    None leaves PyTorch's number. `train` measures training too, `cold` whole processes of `digitcli predict`.

    Raises:
        UsageError: a value out of range or of another type.
    """

    archs: tuple[str, ...] = ()
    device: str = "auto"
    batch_sizes: tuple[int, ...] = (1, 256)
    dtypes: tuple[str, ...] = ("auto",)
    runtimes: tuple[str, ...] = ("torch",)
    threads: int | None = None
    train: bool = False
    cold: bool = False

    def __post_init__(self) -> None:
        _check_several("--arch", self.archs, "cnn", "mlp")
        _check_several("--batch-size", self.batch_sizes, 1, 256)
        if not all(isinstance(name, str) for name in self.archs):
            raise UsageError(f"--arch is {self.archs!r}.", 'Give names, such as ("cnn", "mlp").')
        check_device_name(str(self.device))
        if not self.batch_sizes:
            raise UsageError("No batch size is given.", "Give one or several, such as --batch-size 1,256.")
        for size in self.batch_sizes:
            _check_whole("--batch-size", size, LARGEST_BATCH)
        _check_named("--dtype", self.dtypes, get_args(Dtype))
        _check_named("--runtime", self.runtimes, get_args(Runtime))
        if self.threads is not None:
            _check_whole("--threads", self.threads, MOST_THREADS)
        if self.cold and self.threads is not None:
            raise UsageError("digitcli predict takes every core.", "Leave --threads or --cold out.")
        if self.train and self.ways != (("torch", "float32"),):
            raise UsageError(
                "--train measures training as digitcli trains: by torch, in what the architecture takes.",
                "Leave --train out, or --dtype and --runtime.",
            )

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """Every runtime with every number format, `auto` resolved, each once."""
        dtypes = ["float32" if dtype == "auto" else dtype for dtype in self.dtypes]
        return tuple(dict.fromkeys((runtime, dtype) for runtime in self.runtimes for dtype in dtypes))


def _check_several(option: str, values: object, *example: object) -> None:
    """Refuse a single value, above all a text, which would be taken for its letters."""
    if not isinstance(values, tuple | list):
        raise UsageError(f"{option} is {values!r}.", f"Give a tuple, such as {example} or ({example[0]!r},).")


def _check_named(option: str, values: object, known: tuple[str, ...]) -> None:
    _check_several(option, values, *known[:2])
    assert isinstance(values, tuple | list)
    if not values:
        raise UsageError(f"No {option[2:]} is given.", f"Take some of {', '.join(known)}.")
    for value in values:
        if value not in known:
            raise UsageError(f"{option} is '{value}'.", did_you_mean(str(value), known))


def _check_whole(option: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UsageError(f"{option} is {value!r}.", f"It must be a whole number from 1 to {most:,}.")
