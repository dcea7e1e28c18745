"""Measure the speed, memory and accuracy of models, and write their model cards."""
