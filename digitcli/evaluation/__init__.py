"""What a model is worth: metrics and calibration, as functions of logits and labels."""
