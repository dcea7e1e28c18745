"""Wrong labels are found as cleanlab finds them, on probabilities of networks that never saw the digits."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits
from digitcli.diagnosis.label_errors import doubtful_labels, out_of_sample_probabilities
from digitcli.errors import InputError


def noisy_probabilities(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, of which some are wrong, and probabilities that mostly favour the right ones."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 10, 500)
    logits = random.normal(0, 1, (500, 10)) + 4 * np.eye(10)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = random.random(500) < 0.1
    return np.where(wrong, random.integers(0, 10, 500), truth), probabilities.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_the_errors_are_those_of_cleanlab(seed: int) -> None:
    from cleanlab.filter import find_label_issues

    labels, probabilities = noisy_probabilities(seed)
    expected = find_label_issues(
        labels, probabilities, filter_by="confident_learning", return_indices_ranked_by="normalized_margin"
    )
    assert len(expected) > 10
    assert [each.index for each in doubtful_labels(labels, probabilities) if each.is_error] == list(expected)


def test_a_label_that_is_likeliest_is_not_doubtful() -> None:
    probabilities = np.full((2, 10), 0.05, np.float32)
    probabilities[0, 3], probabilities[1, 4] = 0.55, 0.55
    (doubtful,) = doubtful_labels(np.array([3, 3]), probabilities)
    assert (doubtful.index, doubtful.label, doubtful.suggestion) == (1, 3, 4)
    assert doubtful.probability == pytest.approx(0.05)


def test_no_network_is_trained_on_the_digits_that_it_reads(digits: Digits) -> None:
    """Flip labels: a network that saw them would learn some of them."""
    train = digits.take(np.arange(800))
    flipped = np.arange(0, 800, 20)
    labels = train.labels.copy()
    labels[flipped] = (labels[flipped] + 1) % 10
    dataset = Dataset("flipped", Digits(train.images, labels), digits.take(np.arange(800, 900)))
    of_train, of_test = out_of_sample_probabilities(dataset, "cpu")
    assert of_test is not None and of_test.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert (of_test.argmax(axis=1) == digits.labels[800:900]).mean() > 0.8
    most_doubtful = [each.index for each in doubtful_labels(labels, of_train)][:40]
    assert len(set(most_doubtful) & set(flipped.tolist())) > 25


def test_copies_with_a_wrong_label_do_not_vouch_for_each_other(digits: Digits) -> None:
    train = digits.take(np.arange(400))
    seven = train.take(np.flatnonzero(train.labels == 7)[[0] * 24])
    images, labels = np.concatenate([train.images, seven.images]), np.append(train.labels, [3] * 24)
    copies = Digits(seven.images, np.full(24, 3))
    of_train, of_test = out_of_sample_probabilities(Dataset("copies", Digits(images, labels), copies), "cpu")
    assert {each.index for each in doubtful_labels(labels, of_train)} >= {*range(400, 424)}
    assert of_test is not None and len(doubtful_labels(copies.labels, of_test)) == 24


def test_too_few_digits_are_refused(digits: Digits) -> None:
    with pytest.raises(InputError, match="39 different training digits"):
        out_of_sample_probabilities(Dataset("few", digits.take(np.arange(80) % 39)), "cpu")
