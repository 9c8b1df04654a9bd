"""Operators of one argument as operators of one argument among several."""

import functools


def get_name(f):
    return getattr(f, "__name__", "[unknown name]")


def unary_to_nary(operator):
    """`operator(fun, x, ...)` with `argnum`, an index or several, saying which argument x is."""

    @functools.wraps(operator)
    def nary(fun, argnum=0, *options, **named):
        def at(*args, **kwargs):
            def of_x(x):
                full = list(args)
                if isinstance(argnum, int):
                    full[argnum] = x
                else:
                    for i, part in zip(argnum, x, strict=True):
                        full[i] = part
                return fun(*full, **kwargs)

            of_x.__name__ = get_name(fun)
            x = args[argnum] if isinstance(argnum, int) else tuple(args[i] for i in argnum)
            return operator(of_x, x, *options, **named)

        at.__name__ = f"{operator.__name__}_of_{get_name(fun)}_wrt_argnum_{argnum}"
        return at

    return nary
