"""What makes the contents of ``inference/weights``: simulation, training, evaluation."""
