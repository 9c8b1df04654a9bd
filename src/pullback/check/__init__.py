"""Gradients, checked: confirmed, refuted or undecided against differences, and explained where they are wrong.

The package is called as its function: `pb.check(f, ...)` is `pullback.check.check(f, ...)`.
"""

import sys
from types import ModuleType
from typing import Any

from pullback.check.across import Comparison as Comparison
from pullback.check.across import compare_gradients as compare_gradients
from pullback.check.mark import gradient_of as gradient_of
from pullback.check.other import check_hessian as check_hessian
from pullback.check.other import check_jacobian as check_jacobian
from pullback.check.other import check_jvp as check_jvp
from pullback.check.report import Finding as Finding
from pullback.check.report import GradientError as GradientError
from pullback.check.report import Report as Report
from pullback.check.run import check as check
from pullback.check.run import check_vjp as check_vjp


class _Package(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Report:
        return check(*args, **kwargs)

    __call__.__doc__ = check.__doc__


sys.modules[__name__].__class__ = _Package
