"""The Single Shot MultiBox Detector, made of the pieces that the book teaches: one module per chapter."""
