"""Check ssd_lite's annotations while the tests run.

As for any type checker, an int may stand for a float.
"""

from beartype import BeartypeConf, beartype

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
