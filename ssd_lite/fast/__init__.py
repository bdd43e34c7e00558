"""The engine room: the same results as the taught functions, sooner."""
