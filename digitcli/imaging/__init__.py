"""Turn a picture into its ink and its digit, in the same way for prediction, training and evaluation.

1. `opening`: turn any file or bytes into upright grey pixels, or raise a `PictureError`.
2. `binarization`: flatten the light, find the polarity, remove ruled lines; ink is 1 and paper is 0.
3. `digits`: tell digits from frames, specks and neighbours; scale and centre a digit as in MNIST.

Page finders and line networks see raw pixels instead: `network_inputs`. The package uses NumPy,
OpenCV and Pillow, but not torch.
"""
