"""Measure how forms are learned, told from other pages, and read: `python benchmarks/forms.py`.

`judging/forms.py` draws blanks with a logo, small print, combs and boxes; writers that nothing was trained on
fill in their fields, some of which stay empty or hold fewer digits than boxes. They are photographed from the
side, bent, with shadows and noise, and every third upside down or turned by 90 degrees. The template is
learned from the blank. Other pages are those of `judging/score.py`, and forms that were filled in on another
blank. The constants of `digitcli.tables.registration` and `digitcli.tables.forms` were chosen on seed 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from judging.forms import DrawnForm, draw_form, fill_in, photograph
from judging.ink import JudgingRoom, judging_room
from judging.score import WORLDS
from support import Output, Rows, open_app

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.evaluation.metrics import wilson_interval
from digitcli.imaging.grayscale import Box
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading
from digitcli.tables.forms import Form, find_fields_of, read_forms
from digitcli.tables.reading import TableOptions
from digitcli.tables.registration import register

app = open_app(__doc__)
NEAR = 4  # pixels of a blank of 1240 x 1754, within which a learned box is right
Counts = npt.NDArray[np.int64]


@app.command()
def main(forms: int = 30, others: int = 100, seed: int = 2, output: Output = None) -> None:
    """Read a photograph of each of `--forms`, and `--others` that are something else."""
    room, reader, rows = judging_room(split(load_mnist()).test), Reader(keep_pictures=True), Rows()
    templates, learned, answers, distances, refused = list[Form](), np.zeros(3, int), [], [], 0
    photographs = []
    for index in range(forms):
        random = np.random.default_rng([seed, index])
        drawn = draw_form(random, room)
        learned += judge_learned(drawn)
        boxes = tuple(_box(field.box) for field in drawn.fields)
        names = tuple(f"field_{k}" for k in range(len(boxes)))
        digits = tuple(field.digits for field in drawn.fields)
        form = Form(drawn.blank, boxes, digits, TableOptions(names))
        sheet, texts = fill_in(random, room, drawn)
        page, corners = photograph(random, sheet)
        templates.append(form)
        photographs.append(page)
        _, found = register(page, form.prepared)
        if found is not None:
            x, y, width, height = np.array(boxes).T
            ours = np.stack([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]).transpose(
                2, 0, 1
            )
            away = np.hypot(*(found.on_page(ours) - corners).transpose(2, 0, 1)) / found.fineness
            distances.append(away.mean(axis=1))
        turned = np.rot90(page, (0, 2, 1)[index % 3])
        (reading,) = read_forms(reader, [np.ascontiguousarray(turned)], form)
        refused += reading.reason == "not_this_form"
        answers.append(judge_answers(reading, texts))
    right, wrong, missed, filled, is_empty = np.concatenate(answers).T
    rows.add("learned", dict(zip(("fields", "missing", "false"), learned.tolist(), strict=True)))
    near = np.concatenate(distances)
    rows.add(
        "distance in pixels", {"mean": near.mean(), "95 %": np.quantile(near, 0.95), "largest": near.max()}
    )
    rows.add("this form, refused", {"n": forms, "share": refused / forms})
    for name, chosen in (("fields", right >= 0), ("filled", is_empty == 0), ("empty", is_empty == 1)):
        n = int(chosen.sum())
        low, high = wilson_interval(int(wrong[chosen].sum()), n)
        shares = {"right": right[chosen].mean(), "wrong": wrong[chosen].mean(), "low": low, "high": high}
        rows.add(name, {"n": n, **shares, "refused": missed[chosen].mean()})
    pages = other_pages(room, others // 2, seed)
    strange = [(page, templates[k % forms]) for k, page in enumerate(pages)]
    strange += [
        (photographs[k % forms], templates[(k + 1 + k // forms) % forms]) for k in range(others - len(pages))
    ]
    known = [register(page, form.prepared)[1] is not None for page, form in strange]
    rows.add("other pages", {"n": len(known), "refused": 1 - float(np.mean(known))})
    rows.save(output)


def _box(sides: tuple[float, float, float, float]) -> Box:
    x0, y0, x1, y1 = map(round, sides)
    return x0, y0, x1 - x0, y1 - y0


def judge_learned(drawn: DrawnForm) -> Counts:
    """Count the fields of a blank, those that are not found, and what is found and is none."""
    found = find_fields_of(drawn.blank)
    missing = 0
    for field in drawn.fields:
        near = [
            each for each in found
            if each[1] == field.digits and np.abs(np.subtract(each[0], _box(field.box))).max() <= NEAR
        ]  # fmt: skip
        missing += not near
        found = [each for each in found if each not in near]
    return np.array([len(drawn.fields), missing, len(found)])


def judge_answers(reading: Reading, texts: list[str]) -> Counts:
    """Tell of each field whether it is right, wrong or refused, and whether it is filled or empty."""
    numbers = {number.column: number for number in reading.numbers}
    rows = []
    for column, text in enumerate(texts):
        number = numbers.get(column)
        is_refused = reading.reason == "not_this_form" or (number is not None and number.status == "refused")
        is_right = text == (number.text if number else "")
        rows.append(
            (not is_refused and is_right, not is_refused and not is_right, is_refused, text != "", text == "")
        )
    return np.array(rows, int)


def other_pages(room: JudgingRoom, count: int, seed: int) -> list[npt.NDArray[np.uint8]]:
    """Draw pages that are no forms of ours: letters, exams, signs and the like."""
    worlds = list(WORLDS.values())
    randoms = [np.random.default_rng([seed, 1, index]) for index in range(count)]
    return [worlds[index % len(worlds)](random, room).picture for index, random in enumerate(randoms)]


if __name__ == "__main__":
    app()
