"""C99: a program that compiles without a warning and answers every test digit as PyTorch does."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from digitcli.errors import EnvironmentFault, QualityError
from digitcli.export import c_source, exporter
from digitcli.export.export import export
from digitcli.export.integer_layers import IntegerLayer, integer_layers
from digitcli.export.plain_layers import PlainLayer
from tests.support.exports import model_of, quantized_model_of

with_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


@with_compiler
def test_a_program_answers_all_test_digits_alike() -> None:
    result = export(model_of("softmax"), "c")
    assert result.parity is not None and result.parity.n == 10_000
    assert result.parity.different_answers == 0 and result.parity.largest_difference < 1e-4
    assert result.facts["ram_bytes"] == 4 * 784 and result.rounding is None
    assert result.facts["constant_bytes"] == 4 * 7_850
    header = Path("softmax-c/digit_model.h").read_text()
    assert "int digit_predict(const float pixels[DIGIT_PIXELS], float logits[DIGIT_CLASSES]);" in header


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [("sigmoid_mlp", "int8"), ("fast", "float32"), ("lenet1", "float32"), ("micro", "int8")],
)
def test_every_kind_of_layer_is_computed(architecture: str, dtype: str) -> None:
    result = export(model_of(architecture), "c", dtype=dtype)  # type: ignore[arg-type]
    assert result.parity is not None and result.parity.largest_difference < 1e-4
    source = Path(result.path, "digit_model.c").read_text()
    assert not re.search(r"malloc|#include <(?!math|stdint)", source)
    assert "convolution 5x5" in source or architecture != "lenet1"
    assert ("static void deslant" in source) is (architecture == "micro")
    if dtype == "int8":
        assert (
            result.rounding is not None
            and result.rounding.largest_difference > 10 * result.parity.largest_difference
        )
        assert "typedef int8_t weight;" in source


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
def test_padding_strides_groups_and_local_contrast_are_computed(plugins: Callable[..., None]) -> None:
    plugins(unusual="tests.support.exports:unusual", single="tests.support.exports:single")
    result = export(model_of("unusual"), "c")
    assert result.parity is not None and result.parity.largest_difference < 1e-5
    assert export(model_of("single"), "c").facts["ram_bytes"] == 0


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
@pytest.mark.parametrize(("architecture", "ram_bytes"), [("fast", 6_272), ("micro", 4_144)])
def test_a_model_with_quantized_inputs_computes_with_integers(architecture: str, ram_bytes: int) -> None:
    model = quantized_model_of(architecture)
    result = export(model, "c", dtype="int8")
    assert result.parity is not None and result.parity.rounds_inputs and result.rounding is None
    floats = export(model, "c", Path("floats"), verify=False).facts
    assert result.facts["ram_bytes"] == ram_bytes <= 0.4 * int(floats["ram_bytes"])
    source = Path(result.path, "digit_model.c").read_text()
    assert "static int32_t add_products(" in source and "typedef int8_t weight;" in source
    assert not re.search(r"static void (convolve|multiply|max_pool|relu|leaky_relu)\(", source)
    header = Path(result.path, "digit_model.h").read_text()
    assert "integers in convolutions" in header and "at most 1 in 1,000 answers differs" in header


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
@pytest.mark.parametrize("name", ["unusual", "in_blocks", "single"])
def test_integers_are_computed_in_every_layer_without_undefined_behaviour(
    name: str, plugins: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*c_source.OPTIONS, "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    monkeypatch.setattr(c_source, "OPTIONS", options)
    monkeypatch.setattr(exporter, "MAX_SHARE", 0.02)  # random networks are less sure than trained ones
    plugins(**{name: f"tests.support.exports:{name}"})
    for bits, inputs in ((8, True), (4, True), (4, False)):
        model = quantized_model_of(name, bits, inputs=inputs)
        result = export(model, "c", Path(f"{name}-{bits}-{inputs}"), dtype="int8")
        assert result.parity is not None and result.rounding is None
        assert inputs or result.parity.largest_difference < 1e-4


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
def test_weights_of_4_bits_stay_packed() -> None:
    model = quantized_model_of("lenet1", 4, inputs=False)
    result = export(model, "c", dtype="int8")
    assert result.parity is not None and result.parity.largest_difference < 1e-4
    eight = export(quantized_model_of("lenet1", 8, inputs=False), "c", Path("eight"), dtype="int8").facts
    assert int(eight["constant_bytes"]) - int(result.facts["constant_bytes"]) == 3_220 / 2
    assert int(result.facts["ram_bytes"]) == int(eight["ram_bytes"]) + 192  # the weights of one output
    assert "4-bit integers" in Path(result.path, "digit_model.h").read_text()


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
@pytest.mark.parametrize(
    ("field", "wrong"), [("biases", 0.0), ("scales", 1.05), ("zero_point", 1)], ids=lambda value: str(value)
)
def test_wrong_integers_are_not_kept(monkeypatch: pytest.MonkeyPatch, field: str, wrong: float) -> None:
    def spoil(layers: Sequence[PlainLayer]) -> list[PlainLayer | IntegerLayer]:
        *units, last = integer_layers(layers)
        assert isinstance(last, IntegerLayer)
        value = getattr(last, field)
        spoiled = value + 1 if field == "zero_point" else (value * wrong).astype(value.dtype)
        return [*units, replace(last, **{field: spoiled})]

    monkeypatch.setattr(c_source, "integer_layers", spoil)
    with pytest.raises(QualityError, match="not kept"):
        export(quantized_model_of("lenet1"), "c", dtype="int8")
    assert not Path("lenet1-int8-c").exists()


def test_without_a_compiler_only_an_unchecked_program_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_source.shutil, "which", lambda name: None)
    model = model_of("lenet1")
    with pytest.raises(EnvironmentFault, match="no C compiler") as failure:
        export(model, "c")
    assert "--no-verify" in failure.value.remedy and not Path("lenet1-c").exists()
    result = export(model, "c", verify=False)
    assert result.facts == {"ram_bytes": 12_352, "constant_bytes": 4 * 3_246}
    assert "not checked (--no-verify)" in Path("lenet1-c/digit_model.h").read_text()


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
def test_a_program_with_a_warning_or_that_stops_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*c_source.OPTIONS, "-Wfloat-conversion", "-Wconversion", "-DDIGIT_MODEL_H")
    with monkeypatch.context() as patch:
        patch.setattr(c_source, "OPTIONS", options)
        with pytest.raises(QualityError, match="cannot be compiled"):
            export(model_of("softmax"), "c")
    Path("check.c").write_text("int main(void) { return 1; }")
    monkeypatch.setattr(c_source, "CHECK", Path("check.c"))
    with pytest.raises(QualityError, match="stops before its end: exit code 1"):
        export(model_of("softmax"), "c")
    assert not Path("softmax-c").exists()


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
def test_the_example_of_the_documentation_is_a_program() -> None:
    export(model_of("softmax"), "c", Path("program"))
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (example,) = re.findall(r"^```c\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    Path("program", "main.c").write_text(example)
    command = ["cc", *c_source.OPTIONS, "main.c", "digit_model.c", "-lm", "-o", "main"]
    subprocess.run(command, cwd="program", check=True)
    done = subprocess.run([Path("program/main").absolute()], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"[0-9]\n", done.stdout)
