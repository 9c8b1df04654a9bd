"""Old names."""

from autograd.test_util import check_grads


def quick_grad_check(fun, arg0, extra_args=(), kwargs=None, **options):
    check_grads(fun, modes=["rev"], order=1)(arg0, *extra_args, **(kwargs or {}))
