"""The page of a compilation: the schedule, the graph before and after every pass, state, guards, sizes and times."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final

from pullback.compile.history import Line, Stage, Step
from pullback.compile.outline import Item, Row, size
from pullback.compile.report import Code, Show, collapsed, counts
from pullback.show.page import Section, page
from pullback.show.table import Table

__all__ = ["compile_page"]

AROUND: Final = 2
"""Instructions on either side of a change that are shown; the others are folded away."""
FEW: Final = 12
"""Conditions that are shown unfolded, and items of a schedule without a strip to find them by, at most."""
MANY: Final = 60
"""Instructions as traced and places of state that are shown unfolded, at most."""
OPEN: Final = 400
"""Lines of passes that are shown unfolded, at most."""
_SYMBOL: Final = re.compile(r"%(\d+)(?!\d)")
_HEAD: Final = re.compile(r"((?:%\d+: [^=(]+? = )?)([A-Za-z_]\w*)(?=\()")
_TARGET: Final = re.compile(r"((?:%\d+|copy\d+)(?:, %\d+)*(?:\[[^]]*\])?) = ")
_MARKS: Final = {"kept": "", "gone": "−", "new": "+", "rewired": "~"}
_COLOURS: Final = {"loops": "blue", "numbers": "muted", "product": "green", "NumPy": "orange"}

_STYLE: Final = """
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem;margin:1.2rem 0}
.tile{border:1px solid var(--line);border-radius:6px;padding:.55rem .8rem}
.tile b{display:block;font-size:1.25rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{color:var(--muted);font-size:.82rem}
.warn{background:var(--orange-wash);border-left:4px solid var(--orange);padding:.5rem .9rem;border-radius:0 6px 6px 0;
  margin:.8rem 0}
.mono,.code,.item{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.8rem;line-height:1.5}
.code{border:1px solid var(--line);border-radius:6px;padding:.4rem 0;overflow-x:auto;margin:.5rem 0}
.code>div,.code details>div{white-space:pre;padding:0 .9rem;min-width:max-content}
.code i,.item i{font-style:normal;display:inline-block;width:1.3em;color:var(--muted)}
.code summary{color:var(--muted);padding:.05rem .9rem;cursor:pointer;font-size:.76rem;list-style-position:inside}
.gone{background:color-mix(in srgb,var(--red) 11%,transparent);color:var(--red)}
.gone .sym,.gone .op,.gone a{color:inherit}
.new{background:var(--green-wash)}
.rewired{background:var(--orange-wash)}
.sym{color:var(--blue)}
a.sym{text-decoration:none}
a.sym:hover{text-decoration:underline}
.op{font-weight:600}
.spec,.kept,.params{color:var(--muted)}
.fresh{font-weight:700;color:var(--orange);text-decoration:underline}
:target{outline:2px solid var(--blue);background:var(--blue-wash)}
.item{border:1px solid var(--line);border-left:4px solid var(--c);border-radius:0 6px 6px 0;margin:.55rem 0;
  overflow-x:auto;padding:.35rem 0 .45rem}
.item h4{font:600 .86rem/1.5 system-ui,sans-serif;margin:0;padding:0 .9rem .15rem;color:var(--c);position:sticky;left:0}
.item h4 small{font-weight:400;color:var(--muted);font-size:inherit}
.row{display:flex;justify-content:space-between;gap:2.5rem;padding:0 .9rem;white-space:pre;min-width:max-content}
.row:hover,.code>div:hover{background:color-mix(in srgb,var(--blue-wash) 60%,transparent)}
.inputs{display:flex;flex-wrap:wrap;gap:.1rem 1.6rem;margin:.7rem 0}
.strip{display:flex;flex-wrap:wrap;gap:3px;align-items:flex-end;margin:.9rem 0}
.strip a{width:.72rem;height:calc(.45rem + var(--n)*.09rem);background:var(--c);border-radius:2px;opacity:.75}
.strip a:hover{opacity:1}
.loop{color:var(--muted)}
.kept{font-size:.76rem}
.pass{margin:.35rem 0}
.pass>summary{cursor:pointer;padding:.15rem 0}
.pass b{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.88rem}
.pass small,.idle{color:var(--muted);font-size:.85rem}
.idle{margin:.35rem 0;padding-left:1.05rem}
.bar{display:inline-block;height:.55rem;border-radius:2px;background:var(--blue);opacity:.55;margin-right:.6rem;
  vertical-align:baseline}
h3{font-size:1.02rem;margin:1.6rem 0 .3rem}
.facts{columns:2 22rem;column-gap:3rem;font-size:.88rem;margin:.8rem 0}
.facts div{display:flex;justify-content:space-between;gap:1rem;border-bottom:1px solid var(--line);padding:.28rem 0;
  break-inside:avoid;font-variant-numeric:tabular-nums}
.facts span:first-child{color:var(--muted)}
"""


def compile_page(show: Show) -> str:
    """One self-contained HTML page about what the compiler did with a function: no network, no script.

    >>> import numpy as np
    >>> import pullback as pb
    >>> "loops over 3" in compile_page(pb.jit(lambda x: np.sin(x) * x).show(np.zeros(3)))
    True
    """
    sections = [_overview(show)]
    for n, code in enumerate(show.codes):
        sections.append(_schedule(code, show.stages[n - len(show.codes)], n, len(show.codes) > 1))
    for n, stage in enumerate(show.stages):
        # the last stages are those that code was made of; their values are what its schedule names
        made = n - (len(show.stages) - len(show.codes))
        sections.append(_stage(stage, made if made >= 0 else None))
    sections.append(_sizes(show.codes))
    return page(f"{show.name}, compiled", sections, "", _STYLE)


def _escaped(text: str) -> str:
    return html.escape(text)


# Overview


def _overview(show: Show) -> Section:
    section = Section("Overview")
    codes = show.codes
    cached = all(code.cached for code in codes)
    took = sum(code.milliseconds for code in codes)
    after = " + ".join(str(code.instructions) for code in codes)
    tiles = [
        (f"{show.stages[0].steps[0].size} → {after}", "instructions, traced → left"),
        (str(sum(code.counted("loops") for code in codes)), "nests of loops"),
        (str(sum(code.counted("product") for code in codes)), "matrix products"),
        (str(sum(len(code.calls) for code in codes)), "calls of NumPy, Python"),
        (size(sum(code.arena for code in codes)), "scratch memory"),
        (str(sum(code.lines for code in codes)), "lines of LLVM IR"),
        (f"{took:.0f} ms", "linked from the disk cache" if cached else "in LLVM"),
    ]
    section.blocks.append(
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b>{_escaped(a)}</b><span>{_escaped(b)}</span></div>' for a, b in tiles if a != "0"
        )
        + "</div>"
    )
    calls = dict.fromkeys(call for code in codes for call in code.calls)
    if calls:
        rows = "".join(f"<br><code>{_escaped(op)}</code>: {_escaped(why)}" for op, why in calls)
        section.blocks.append(f'<div class="warn"><b>Not native.</b> These are calls back into Python:{rows}</div>')
    if show.arguments:
        section.table(Table("Arguments", ["name", "kind"], list(show.arguments)))
    if show.state:
        section.table(Table("State outside the arguments", ["place", "kind", "use"], [tuple(s) for s in show.state]))
        if len(show.state) > MANY:
            head = f"<summary>State outside the arguments ({len(show.state)} places)</summary>"
            section.blocks.append(f'<details class="pass">{head}{section.blocks.pop()}</details>')
    if show.guards:
        items = "".join(f"<li>{_escaped(guard)}</li>" for guard in show.guards)
        opened = " open" if len(show.guards) <= FEW else ""
        section.blocks.append(
            f'<details class="pass"{opened}><summary>The code is used as long as this holds ({len(show.guards)}); '
            f"otherwise the function is traced again</summary><ul>{items}</ul></details>"
        )
    return section


# Schedule


def _schedule(code: Code, stage: Stage, n: int, several: bool) -> Section:
    section = Section(f"Schedule: {code.title.lower()}" if several else "Schedule")
    section.text(
        "What the code does, in order. On the right: where a value is kept, if it leaves the registers. "
        "Views are gone: an index says which element of the original is read."
    )
    chips = []
    for symbol, name in stage.inputs:
        number, _, spec = symbol.partition(": ")
        chips.append(f'<span>{_linked(number, n)} {_escaped(name)} <span class="spec">{_escaped(spec)}</span></span>')
    inputs = f'<div class="inputs mono">{"".join(chips)}</div>'
    if len(chips) > 2 * FEW:
        inputs = f'<details class="pass"><summary>{len(chips)} inputs</summary>{inputs}</details>'
    section.blocks.append(inputs)
    if len(code.items) > FEW:
        marks = (
            f'<a href="#i{n}-{i}" title="{i} · {_escaped(item.title)}" style="--c:var(--{_COLOURS[item.kind]});'
            f'--n:{min(len(item.rows), 12)}"></a>'
            for i, item in enumerate(code.items)
        )
        section.blocks.append(f'<div class="strip">{"".join(marks)}</div>')
    for i, item in enumerate(code.items):
        section.blocks.append(_item(item, i, n))
    return section


def _item(item: Item, i: int, n: int) -> str:
    kind, _, rest = item.title.partition(": ")
    rows = "".join(_row(row, n) for row in item.rows)
    title = f"{i} · {_escaped(kind)}" + (f" <small>{_escaped(rest)}</small>" if rest else "")
    return f'<div class="item" id="i{n}-{i}" style="--c:var(--{_COLOURS[item.kind]})"><h4>{title}</h4>{rows}</div>'


def _row(row: Row, n: int) -> str:
    indent = "  " * row.depth
    if row.head:
        return f'<div class="row loop"><span>{indent}{_escaped(row.text)}</span></div>'
    target = _TARGET.match(row.text)
    text = row.text[target.end() :] if target else row.text
    op = re.match(r"\w+(?=\()", text)
    written = f'<span class="op">{op[0]}</span>{_linked(text[op.end() :], n)}' if op else _linked(text, n)
    head = f"{_linked(target[1], n)} = " if target else ""
    kept = f'<span class="kept">{_escaped(row.kept)}</span>' if row.kept else ""
    return f'<div class="row"><span>{indent}{head}{written}</span>{kept}</div>'


def _linked(text: str, n: int | None, fresh: frozenset[int] = frozenset()) -> str:
    """Text with its symbols in colour, as links to where they are made in the compiled graph number `n`."""

    def symbol(match: re.Match[str]) -> str:
        kind = "sym fresh" if int(match[1]) in fresh else "sym"
        if n is None:
            return f'<span class="{kind}">{match[0]}</span>'
        return f'<a class="{kind}" href="#g{n}-{match[1]}">{match[0]}</a>'

    return _SYMBOL.sub(symbol, _escaped(text))


# Graphs


def _stage(stage: Stage, n: int | None) -> Section:
    first, *passes = stage.steps
    section = Section(f"{stage.title}: {first.size} → {stage.steps[-1].size} instructions")
    changed = [step for step in passes if step.lines]
    alone = not changed
    short = first.size <= MANY
    section.blocks.append(
        _listing(stage, first, n if alone else None, f"{first.size} instructions, {first.name}", short)
    )
    if alone:
        section.text(f"No pass finds anything to change: {', '.join(step.name for step in passes)}.")
        return section
    section.blocks.append(
        '<h3>The passes, in order</h3><p class="note">A value keeps its number from pass to pass. '
        '<span class="gone">− gone</span>, <span class="new">+ new</span>, '
        '<span class="rewired">~ reads something else</span>.</p>'
    )
    shown = 0
    most = max(step.size for step in stage.steps)
    for names, step in collapsed(passes):
        if step is None:
            section.blocks.append(f'<p class="idle">{_escaped(", ".join(names))}: nothing changed</p>')
            continue
        shown += sum(line.mark != "kept" for line in step.lines)
        bar = f'<span class="bar" style="width:{5 * step.size / max(most, 1):.2f}rem"></span>'
        head = f"<summary><b>{_escaped(step.name)}</b> {bar}<small>{_escaped(counts(step))}</small></summary>"
        body = "".join(_difference(step))
        opened = " open" if shown <= OPEN else ""
        section.blocks.append(f'<details class="pass"{opened}>{head}<div class="code">{body}</div></details>')
    last = changed[-1]
    section.blocks.append("<h3>After all passes</h3>")
    section.blocks.append(_listing(stage, last, n, f"{last.size} instructions", True))
    return section


def _listing(stage: Stage, step: Step, n: int | None, title: str, opened: bool) -> str:
    """A whole graph; with anchors if it is the compiled graph number `n`."""
    rows = [_input(symbol, name, n) for symbol, name in stage.inputs]
    rows += [_line(line, n, plain=True) for line in step.lines if line.mark != "gone"]
    rows.append(f"<div><i></i>{_linked(step.returns, n)}</div>")
    body = f'<div class="code">{"".join(rows)}</div>'
    return f'<details class="pass"{" open" if opened else ""}><summary>{_escaped(title)}</summary>{body}</details>'


def _input(symbol: str, name: str, n: int | None) -> str:
    number = symbol.partition(":")[0]
    anchor = f' id="g{n}-{number[1:]}"' if n is not None else ""
    spec = symbol.removeprefix(number)
    return (
        f'<div{anchor}><i></i><span class="sym">{number}</span><span class="spec">{_escaped(spec)}</span>'
        f'  <span class="params">{_escaped(name)}</span></div>'
    )


def _line(line: Line, n: int | None = None, plain: bool = False) -> str:
    """An instruction; `plain`: without what the pass did to it."""
    mark, kind = ("", "") if plain else (_MARKS[line.mark], f' class="{line.mark}"' if line.mark != "kept" else "")
    head = _HEAD.match(line.text)
    if head is None:
        return f"<div{kind}><i>{mark}</i>{_linked(line.text, n)}</div>"
    made, rest = head[1], line.text[head.end() :]
    close = rest.find(")") + 1
    args, params = rest[:close], rest[close:]
    specs = re.sub(r"(: )([^\s\[]+\[[^]]*\])", r'\1<span class="spec">\2</span>', _linked(made, None))
    anchor = ""
    if n is not None and made:
        first, *others = _SYMBOL.findall(made)
        anchor = f' id="g{n}-{first}"'
        for number in others:
            specs = specs.replace(f'<span class="sym">%{number}<', f'<span class="sym" id="g{n}-{number}">%{number}<')
    return (
        f"<div{kind}{anchor}><i>{mark}</i>{specs}"
        f'<span class="op">{head[2]}</span>{_linked(args, n, frozenset() if plain else line.fresh)}'
        f'<span class="params">{_linked(params, n)}</span></div>'
    )


def _difference(step: Step) -> Iterator[str]:
    """The graph after a pass with what it did, long runs of what stayed folded."""
    lines = step.lines
    near = [False] * len(lines)
    for i, line in enumerate(lines):
        if line.mark != "kept":
            start = max(0, i - AROUND)
            stop = min(len(lines), i + AROUND + 1)
            near[start:stop] = [True] * (stop - start)
    i = 0  # runs of those near a change and of those far from any
    while i < len(lines):
        j = i
        while j < len(lines) and near[j] == near[i]:
            j += 1
        rows = "".join(map(_line, lines[i:j]))
        yield rows if near[i] or j - i <= AROUND else f"<details><summary>{j - i} unchanged</summary>{rows}</details>"
        i = j
    yield f"<div><i></i>{_linked(step.returns, None)}</div>"


def _sizes(codes: Sequence[Code]) -> Section:
    section = Section("Sizes and times")
    for code in codes:
        if len(codes) > 1:
            section.blocks.append(f"<h3>{_escaped(code.title)}</h3>")
        rows = "".join(f"<div><span>{_escaped(a)}</span><span>{_escaped(b)}</span></div>" for a, b in code.facts)
        section.blocks.append(f'<div class="facts">{rows}</div>')
    return section
