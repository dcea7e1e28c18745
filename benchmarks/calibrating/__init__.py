"""Generators of the pictures by which confidences are calibrated.

They share no code with the composer that networks learn from, nor with the generators that judge: only the
types of labels, and strokes, fonts and digits of which each group has its own.
"""
