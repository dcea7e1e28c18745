from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.data.mnist import read_idx
from digitcli.evaluation import ood as module
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.ood import auroc, ood_images


@pytest.mark.parametrize(
    ("higher", "lower", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.1], [0.2], 0.0),
        ([0.5, 0.5], [0.5], 0.5),
        ([0.9, 0.3], [0.5, 0.3], 0.625),
    ],
)
def test_auroc_counts_pairs(higher: list[float], lower: list[float], expected: float) -> None:
    assert auroc(higher, lower) == expected


def test_auroc_agrees_with_a_count_over_all_pairs() -> None:
    random = np.random.default_rng(0)
    one, two = random.integers(0, 20, 50), random.integers(0, 15, 70)
    pairs = [(a > b) + 0.5 * (a == b) for a in one for b in two]
    assert auroc(one, two) == pytest.approx(np.mean(pairs))


def test_noise_clouds_and_letters_need_no_installed_dataset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fonts: Path
) -> None:
    monkeypatch.setattr(module, "FASHION_MNIST_FILE", tmp_path / "none.gz")
    results = ood_images()
    assert list(results) == ["noise", "clouds", "letters"]
    assert all(images.shape[1:] == (28, 28) and images.dtype == np.uint8 for images in results.values())
    assert len(ood_images(fonts)["letters"]) > len(results["letters"])
    assert np.array_equal(ood_images()["clouds"], results["clouds"])


def test_fashion_mnist_is_used_if_it_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\x03" + np.array([3, 28, 28], ">u4").tobytes() + images.tobytes())
    assert np.array_equal(read_idx(path), images)
    monkeypatch.setattr(module, "FASHION_MNIST_FILE", path)
    assert np.array_equal(ood_images()["fashion-mnist"], images)


def test_a_model_is_less_confident_in_noise_than_in_digits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "FASHION_MNIST_FILE", tmp_path / "none.gz")
    results = evaluate("cnn", device="cpu", ood=True).ood
    assert results is not None
    by_name = {row.name: row for row in results}
    assert by_name["noise"].auroc > 0.99
    assert 0.8 < by_name["letters"].auroc < 1
    assert by_name["noise"].n == 1_000
    assert not any(row.trained for row in results)


def test_letters_are_marked_for_a_model_that_was_trained_on_letters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "FASHION_MNIST_FILE", tmp_path / "none.gz")
    results = evaluate("digit_or_none", device="cpu", ood=True).ood
    assert results is not None
    assert {row.name: row.trained for row in results} == {"noise": False, "clouds": False, "letters": True}
