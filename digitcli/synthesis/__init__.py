"""Synthetic lines and characters of handwriting with exact labels; free of torch.

`lines` composes a line in these steps: sample a text and a writer (`writer_style`), draw each character with
a pen (`glyphs`, from `digit_shapes`, `strokes` or MNIST), place the characters side by side (`layout`), put
them on paper among distractors (`composition`), and photograph the paper (`paper`).
"""
