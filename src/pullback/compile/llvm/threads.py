"""How many threads compiled code uses, and how it shares a loop among them.

There is no pool: a loop that is long enough starts its threads and waits for them, which takes some tens of
microseconds, survives a fork and leaves nothing behind. The number is read each time the code runs, so that changing it
compiles nothing anew. With one thread everything runs in order, in the thread that calls.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

__all__ = ["MOST", "RUNTIME", "SYMBOL", "address", "can_split", "get_num_threads", "set_num_threads"]

MOST: Final = max(1, min(os.cpu_count() or 1, 64))
"""Threads that a loop is shared among at most: what they sum up is kept apart until all are done."""
SYMBOL: Final = "pb.threads"
_count = ctypes.c_int64(1)


def set_num_threads(n: int) -> None:
    """Let compiled loops use up to `n` threads from now on."""
    if n < 1:
        raise ValueError(f"the number of threads is at least 1, not {n}")
    _count.value = n


def get_num_threads() -> int:
    """How many threads compiled loops use at most."""
    return int(_count.value)


def address() -> int:
    """Where the number is."""
    return ctypes.addressof(_count)


def can_split() -> bool:
    """Whether there are several processors, and POSIX threads."""
    return MOST > 1 and sys.platform != "win32"


RUNTIME: Final = f"""\
@{SYMBOL} = external global i64
%pb.Job = type {{ ptr, ptr, i64, i64, i64, ptr, i64 }}  ; task, frame, first, end, number, handle, whether it runs
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(ptr, ptr)
define internal ptr @pb.job(ptr %job) {{
  %task = load ptr, ptr %job
  %frame.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 1
  %first.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 2
  %end.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 3
  %number.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 4
  %frame = load ptr, ptr %frame.at
  %first = load i64, ptr %first.at
  %end = load i64, ptr %end.at
  %number = load i64, ptr %number.at
  call void %task(ptr %frame, i64 %first, i64 %end, i64 %number)
  ret ptr null
}}
; Run task(frame, first, end, number) for parts of [0, extent), number 0 here and the others in threads; how many.
; A long loop is parted at multiples of 64: whole vectors, and none of them empty.
define internal i64 @pb.parallel(ptr %task, ptr %frame, i64 %extent) noinline {{
entry:
  %jobs = alloca [{MOST} x %pb.Job]
  %threads = load i64, ptr @{SYMBOL}
  %some = call i64 @llvm.smin.i64(i64 %threads, i64 {MOST})
  %parts = call i64 @llvm.smin.i64(i64 %some, i64 %extent)
  %long = icmp sge i64 %extent, {1024 * MOST}
  %mask = select i1 %long, i64 -64, i64 -1
  br label %start
start:
  %t = phi i64 [ 1, %entry ], [ %t.next, %begin ]
  %started = icmp sge i64 %t, %parts
  br i1 %started, label %mine, label %begin
begin:
  %job = getelementptr inbounds %pb.Job, ptr %jobs, i64 %t
  %t.next = add i64 %t, 1
  %low = mul i64 %extent, %t
  %low.part = udiv i64 %low, %parts
  %first = and i64 %low.part, %mask
  %high = mul i64 %extent, %t.next
  %high.part = udiv i64 %high, %parts
  %high.whole = and i64 %high.part, %mask
  %last = icmp eq i64 %t.next, %parts
  %end = select i1 %last, i64 %extent, i64 %high.whole
  %frame.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 1
  %first.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 2
  %end.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 3
  %number.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 4
  %handle.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 5
  %runs.at = getelementptr inbounds %pb.Job, ptr %job, i64 0, i32 6
  store ptr %task, ptr %job
  store ptr %frame, ptr %frame.at
  store i64 %first, ptr %first.at
  store i64 %end, ptr %end.at
  store i64 %t, ptr %number.at
  %error = call i32 @pthread_create(ptr %handle.at, ptr null, ptr @pb.job, ptr %job)
  %runs = icmp eq i32 %error, 0
  %runs.word = zext i1 %runs to i64
  store i64 %runs.word, ptr %runs.at
  br label %start
mine:
  %own = udiv i64 %extent, %parts
  %own.whole = and i64 %own, %mask
  %alone = icmp eq i64 %parts, 1
  %own.end = select i1 %alone, i64 %extent, i64 %own.whole
  call void %task(ptr %frame, i64 0, i64 %own.end, i64 0)
  br label %wait
wait:
  %k = phi i64 [ 1, %mine ], [ %k.next, %waited ]
  %over = icmp sge i64 %k, %parts
  br i1 %over, label %out, label %check
check:
  %k.next = add i64 %k, 1
  %other = getelementptr inbounds %pb.Job, ptr %jobs, i64 %k
  %flag.at = getelementptr inbounds %pb.Job, ptr %other, i64 0, i32 6
  %flag = load i64, ptr %flag.at
  %ran = icmp ne i64 %flag, 0
  br i1 %ran, label %join, label %instead
join:
  %thread.at = getelementptr inbounds %pb.Job, ptr %other, i64 0, i32 5
  %thread = load ptr, ptr %thread.at
  %status = call i32 @pthread_join(ptr %thread, ptr null)
  br label %waited
instead:
  %ignored = call ptr @pb.job(ptr %other)
  br label %waited
waited:
  br label %wait
out:
  ret i64 %parts
}}
declare i64 @llvm.smin.i64(i64, i64)"""
