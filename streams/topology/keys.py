"""Types of keys: which ones have no key in common."""

from typing import Any, get_args, get_origin, is_typeddict

from penstock.windows import Windowed


def never_equal(found: Any, wanted: Any) -> bool:
    """Whether keys of one type can never be of another one.

    >>> never_equal(str, int), never_equal(bool, int), never_equal(None, int)
    (True, False, False)
    """
    if get_origin(found) is Windowed and get_origin(wanted) is Windowed:
        return never_equal(get_args(found)[0], get_args(wanted)[0])
    if Windowed in (get_origin(found), get_origin(wanted)):
        return isinstance(found, type) or isinstance(wanted, type)
    if not (isinstance(found, type) and isinstance(wanted, type)) or is_typeddict(wanted):
        return False
    return not issubclass(found, wanted) and (found, wanted) != (int, float)
