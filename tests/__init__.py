"""The tests mirror the house. jaxtyping finds its type checker by this package's attributes (see pyproject.toml)."""

import tests.helpers.typecheck  # noqa: F401
