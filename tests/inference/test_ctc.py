"""The beam search finds the strings and probabilities that a sum over all paths gives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from digitcli.inference.ctc import (
    DIGITS,
    AnyDigits,
    align,
    beam_search,
    best_path,
    best_path_of,
    digit_columns,
    divide,
    log_probability,
    log_softmax,
)


def columns_of(
    length: int, seed: int, classes: tuple[int, ...] = (0, 1, 10), blank: float = 0.0
) -> np.ndarray:
    """Return log-probabilities (T, 11) in which only some classes are likely."""
    logits = np.random.default_rng(seed).normal(0, 2, (length, 11)).astype(np.float32)
    logits[:, [index for index in range(11) if index not in classes]] = -40
    logits[:, -1] += blank
    return log_softmax(logits)


def by_all_paths(columns: np.ndarray, classes: tuple[int, ...] = (0, 1, 10)) -> dict[str, float]:
    """The probability of every string, path by path."""
    strings: dict[str, float] = {}
    for path in itertools.product(classes, repeat=len(columns)):
        text = "".join(
            DIGITS[label]
            for place, label in enumerate(path)
            if label != 10 and (place == 0 or path[place - 1] != label)
        )
        probability = math.exp(sum(columns[time, label] for time, label in enumerate(path)))
        strings[text] = strings.get(text, 0.0) + probability
    return strings


def written(text: str, gap: int = 1, sure: float = 0.9) -> np.ndarray:
    """Columns in which a string is spelt out, blanks between its digits."""
    rows = []
    for digit in text:
        row = np.full(11, (1 - sure) / 10)
        row[int(digit)] = sure
        rows += [row, *[np.eye(11)[10] * 0.98 + 0.02 / 11] * gap]
    return np.log(np.array(rows, np.float32))


def test_a_wide_search_finds_every_string_with_its_probability() -> None:
    for length, seed in itertools.product([1, 2, 5, 7], range(4)):
        columns = columns_of(length, seed)
        expected = by_all_paths(columns)
        found = beam_search(columns, width=1000, min_probability=1e-9)
        assert [text for text, _ in found[:5]] == sorted(expected, key=lambda text: -expected[text])[:5]
        for text, value in found:
            assert math.exp(value) == pytest.approx(expected[text], rel=1e-3, abs=1e-7)
    assert beam_search(np.zeros((0, 11), np.float32)) == [("", 0.0)]


def test_the_probability_of_a_string_sums_over_its_alignments() -> None:
    columns = columns_of(7, seed=9)
    expected = by_all_paths(columns)
    for text in ("", "0", "1", "01", "00", "1101"):
        assert math.exp(log_probability(columns, text)) == pytest.approx(expected[text], rel=1e-3)
    columns = columns_of(20, seed=3, classes=tuple(range(11)), blank=2)
    targets, lengths = torch.tensor([[3, 3, 7, 0]]), (torch.tensor([20]), torch.tensor([4]))
    loss = torch.nn.functional.ctc_loss(torch.from_numpy(columns)[:, None], targets, *lengths, blank=10,
                                        reduction="none")  # fmt: skip
    assert log_probability(columns, "3370") == pytest.approx(-float(loss), abs=1e-3)


def test_the_search_is_right_where_the_best_path_is_not() -> None:
    columns = np.log(np.full((2, 11), 1e-9, np.float32))
    columns[:, 10], columns[:, 4] = math.log(0.6), math.log(0.4)
    assert best_path(columns) == ""
    assert beam_search(columns)[0] == ("4", pytest.approx(math.log(0.64), abs=1e-4))
    assert beam_search(written("30075512"), width=2)[0][0] == "30075512"  # a narrow search reads clear digits


class Even:
    """Only strings of even length, and no 7."""

    def may_begin(self, text: str) -> bool:
        return "7" not in text

    def accepts(self, text: str) -> bool:
        return len(text) % 2 == 0 and self.may_begin(text)

    def group(self, text: str) -> int:
        return len(text) % 2


def test_a_grammar_gives_the_most_probable_string_that_it_allows() -> None:
    classes = (0, 7, 10)
    for seed in range(5):
        columns = columns_of(6, seed, classes)
        strings = by_all_paths(columns, classes)
        allowed = {text: value for text, value in strings.items() if Even().accepts(text)}
        found = beam_search(columns, Even(), width=200, min_probability=1e-9)
        assert found[0][0] == max(allowed, key=lambda text: allowed[text])
        assert {text for text, _ in found} <= set(allowed)


def test_groups_do_not_crowd_each_other_out_nor_make_the_search_wide() -> None:
    (best, *_) = beam_search(written("123", sure=0.999), Even(), width=1, min_probability=1e-9)
    assert len(best[0]) % 2 == 0

    class EachAlone(AnyDigits):
        def group(self, text: str) -> str:
            return text

    assert len(beam_search(log_softmax(np.zeros((8, 11), np.float32)), EachAlone())) == 300


def test_equal_digits_need_a_blank_between_them() -> None:
    assert best_path(written("55", gap=0)) == "5" and best_path(written("55", gap=1)) == "55"
    assert beam_search(written("55", gap=1))[0][0] == "55"


def test_marks_count_as_the_blank() -> None:
    logits = np.full((4, 13), -9.0, np.float32)
    for place, label in enumerate((1, 10, 1, 12)):  # 1 . 1 and the blank
        logits[place, label] = 9
    columns = digit_columns(logits, "0123456789.,")
    assert columns.shape == (4, 11) and np.allclose(np.exp(columns).sum(axis=1), 1, atol=1e-5)
    assert best_path(columns) == "11"
    assert best_path(log_softmax(logits), "0123456789.,") == "1.1"


def test_an_alphabet_may_have_any_order_and_a_temperature_flattens() -> None:
    logits = np.full((1, 12), -9.0, np.float32)
    logits[0, 1] = 9
    assert best_path(digit_columns(logits, "-9876543210")) == "9"
    logits = np.array([[4.0, 0, 0]], np.float32)
    assert log_softmax(logits, 2.0)[0, 0] < log_softmax(logits)[0, 0]


def test_alignment_names_the_surest_column_of_each_digit() -> None:
    columns = written("3370", gap=2)
    columns[4] = np.log(np.array([0.05] * 10 + [0.5], np.float32))
    assert align(columns, "3370") == [0, 3, 6, 9]
    assert align(columns, "") == []
    assert len(set(align(written("5", gap=0), "55"))) < 2  # it is impossible


def test_a_long_line_of_doubt_is_searched_without_losing_its_texts() -> None:
    quiet, doubtful = np.full((1, 11), 1e-9), np.full((1, 11), 0.01)
    quiet[0, -1], doubtful[0, [5, -1]] = 1e-3, (0.02, 0.05)
    columns = np.log(np.concatenate([quiet, doubtful] * 200)).astype(np.float32)
    (text, value), *_ = beam_search(columns, min_probability=0.015)
    assert math.isfinite(value) and value < math.log(1e-300)
    assert value <= log_probability(columns, text) + 1e-3


def test_neighbouring_blanks_count_as_one() -> None:
    columns = written("55", gap=4)
    (text, value), *_ = beam_search(columns, min_probability=0.05)
    assert text == "55" and value == pytest.approx(log_probability(columns, "55"), abs=0.05)


def test_a_text_is_divided_behind_the_likeliest_blank_between_two_digits() -> None:
    columns = written("447", gap=3)
    columns[2, -1] += 0.1  # the middle one of the blanks between the first two digits
    assert divide(columns, "447") == [(0, 3), (3, 6), (6, 12)]
    assert divide(written("12", gap=0), "12") == [(0, 1), (1, 2)]


def test_the_parts_of_a_text_are_read_as_its_digits() -> None:
    assert divide(written("4"), "") == []
    for text in ("8", "8899", "10203"):
        columns = written(text, gap=2)
        parts = divide(columns, text)
        assert [first for first, _ in parts] == [0, *(end for _, end in parts[:-1])]
        assert parts[-1][1] == len(columns)
        assert "".join(best_path(columns[slice(*part)]) for part in parts) == text


def test_the_best_path_of_some_digits_is_the_likeliest_of_all_paths() -> None:
    alphabet = "01.-"
    for seed in range(12):
        columns = log_softmax(np.random.default_rng(seed).normal(0, 2, (5, 5)).astype(np.float32))
        scores: dict[str, float] = {}
        for path in itertools.product(range(5), repeat=5):
            text = "".join(alphabet[index] for index, _ in itertools.groupby(path) if index < len(alphabet))
            scores[text] = max(float(columns[range(5), path].sum()), scores.get(text, -math.inf))
        for digits in ("", "0", "01", "11"):
            texts = [text for text in scores if "".join(filter(str.isdecimal, text)) == digits]
            assert best_path_of(columns, digits, alphabet) == max(texts, key=lambda text: scores[text])


def test_marks_that_are_unlikely_are_left_out_and_too_many_digits_stay_as_they_are() -> None:
    columns = np.log(np.array([[0.1, 0.1, 0.5, 0.3], [0.8, 0.1, 0.05, 0.05]], np.float32))
    assert best_path_of(columns, "0", "01-") == "-0"
    assert best_path_of(columns, "0", "01-", min_probability=0.6) == "0"
    assert best_path_of(columns, "00", "01-") == "00"
