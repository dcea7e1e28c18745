"""Digits to train and to test on: where they come from, how they are split and changed."""
