"""The tests, in folders named after what they test.

jaxtyping finds its type checker by this package's attributes (see pyproject.toml).
"""

import tests.helpers.typecheck  # noqa: F401
