"""What makes the weights. Never imported at run time: it needs torch, onnx and the labelled data."""
