"""Side by side with torchvision's SSD300-VGG16.

Both have the same weights and pictures, in one process, and are timed in turn.

``python -m benchmarks`` measures everything and keeps the record in ``figures/records/``;
appendix F draws it.
"""
