"""Side by side with torchvision's SSD300-VGG16: same weights, same pictures, one process, in turn.

``python -m benchmarks`` measures everything and keeps the record in ``figures/records/``;
appendix F draws it.
"""
