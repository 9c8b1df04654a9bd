; Memory of large results, as a memory handler of NumPy (pool.py). NumPy calls it with the GIL held, which is the lock.
; Of $least bytes and more; the system's pages have $page bytes, its huge ones $huge.

%Handler = type { [127 x i8], i8, ptr, ptr, ptr, ptr, ptr }  ; name, version, then what is below
%Pool = type {
  %Handler,  ; 0
  ptr,       ; 1 free what has been idle for so many seconds: void (i64)
  i64,       ; 2 idle blocks
  i64,       ; 3 their bytes
  i64,       ; 4 the most that these may be
  ptr        ; 5 the name of the capsule
}
%Idle = type { ptr, i64, i64 }  ; data, its bytes, since when
%Header = type { ptr, i64, i64 }  ; mapping, its bytes, those of the data; in the 64 bytes before the data

@name = private constant [12 x i8] c"mem_handler\00"
@pool = global %Pool {
  %Handler { [127 x i8] c"$title", i8 1, ptr null, ptr @malloc, ptr @calloc, ptr @realloc, ptr @free },
  ptr @trim, i64 0, i64 0, i64 0, ptr @name
}
@idle = internal global [$slots x %Idle] zeroinitializer  ; the longest idle first
@turn = internal global i64 0  ; counts new blocks

declare ptr @mmap(ptr, i64, i32, i32, i32, i64)
declare i32 @munmap(ptr, i64)
declare i32 @madvise(ptr, i64, i32)
declare i64 @time(ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
declare { i64, i1 } @llvm.umul.with.overflow.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)

define internal i64 @capacity(ptr %data) {
  %header = getelementptr i8, ptr %data, i64 -64
  %at = getelementptr inbounds %Header, ptr %header, i64 0, i32 2
  %capacity = load i64, ptr %at
  ret i64 %capacity
}

define internal void @unmap(ptr %data) {
  %header = getelementptr i8, ptr %data, i64 -64
  %mapping = load ptr, ptr %header
  %length.at = getelementptr inbounds %Header, ptr %header, i64 0, i32 1
  %length = load i64, ptr %length.at
  %ignored = call i32 @munmap(ptr %mapping, i64 %length)
  ret void
}

; Take idle block `i` out of the pool.
define internal ptr @remove(i64 %i) {
  %at = getelementptr inbounds %Idle, ptr @idle, i64 %i
  %data = load ptr, ptr %at
  %capacity = call i64 @capacity(ptr %data)
  %held = load i64, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 3)
  %held.less = sub i64 %held, %capacity
  store i64 %held.less, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 3)
  %count = load i64, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 2)
  %count.less = sub i64 %count, 1
  store i64 %count.less, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 2)
  %later = sub i64 %count.less, %i
  %bytes = mul i64 %later, 24
  %next = getelementptr inbounds %Idle, ptr %at, i64 1
  call void @llvm.memmove.p0.p0.i64(ptr %at, ptr %next, i64 %bytes, i1 false)
  ret ptr %data
}

; Free blocks that have been idle for `seconds`.
define internal void @trim(i64 %seconds) {
start:
  %now = call i64 @time(ptr null)
  %before = sub i64 %now, %seconds
  br label %loop
loop:
  %count = load i64, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 2)
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %exit, label %oldest
oldest:
  %since = load i64, ptr getelementptr (%Idle, ptr @idle, i64 0, i32 2)
  %old = icmp sle i64 %since, %before
  br i1 %old, label %release, label %exit
release:
  %data = call ptr @remove(i64 0)
  call void @unmap(ptr %data)
  br label %loop
exit:
  ret void
}

; A new block, or null. Its data begin behind a header, on a multiple of $huge but for a stagger: arrays that are read
; and written side by side would meet in the same sets of the caches, and a load wait for a store 4096 bytes off.
define internal ptr @map(i64 %size) {
start:
  %turn = load i64, ptr @turn
  %turn.next = add i64 %turn, 1
  store i64 %turn.next, ptr @turn
  %turn.low = and i64 %turn, 15
  %stagger = shl i64 %turn.low, 8
  %offset = add i64 %stagger, 64
  %large = icmp ugt i64 %size, 4611686018427387904
  br i1 %large, label %none, label %reserve
reserve:
  %with = add i64 %size, %offset
  %up = add i64 %with, sub (i64 $page, i64 1)
  %length = and i64 %up, sub (i64 0, i64 $page)
  %total = add i64 %length, $huge
  %raw = call ptr @mmap(ptr null, i64 %total, i32 3, i32 $flags, i32 -1, i64 0)
  %failed = icmp eq ptr %raw, inttoptr (i64 -1 to ptr)
  br i1 %failed, label %none, label %fill
fill:
  %raw.number = ptrtoint ptr %raw to i64
  %raw.up = add i64 %raw.number, sub (i64 $huge, i64 1)
  %raw.down = and i64 %raw.up, sub (i64 0, i64 $huge)
  %skip = sub i64 %raw.down, %raw.number
  %base = getelementptr i8, ptr %raw, i64 %skip
  %whole = and i64 %length, sub (i64 0, i64 $huge)
  %ignored = call i32 @madvise(ptr %base, i64 %whole, i32 $advice)
  %data = getelementptr i8, ptr %base, i64 %offset
  %header = getelementptr i8, ptr %data, i64 -64
  store ptr %raw, ptr %header
  %total.at = getelementptr inbounds %Header, ptr %header, i64 0, i32 1
  store i64 %total, ptr %total.at
  %capacity = sub i64 %length, %offset
  %capacity.at = getelementptr inbounds %Header, ptr %header, i64 0, i32 2
  store i64 %capacity, ptr %capacity.at
  ret ptr %data
none:
  ret ptr null
}

; Memory of at least `size` bytes: the block freed last that is no more than 1/8 too large, or a new one.
define internal ptr @malloc(ptr %context, i64 %size) {
start:
  call void @trim(i64 $patience)
  %count = load i64, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 2)
  br label %loop
loop:
  %i = phi i64 [ %count, %start ], [ %i.next, %test ]
  %end = icmp eq i64 %i, 0
  br i1 %end, label %new, label %test
test:
  %i.next = sub i64 %i, 1
  %capacity.at = getelementptr inbounds %Idle, ptr @idle, i64 %i.next, i32 1
  %capacity = load i64, ptr %capacity.at
  %spare = sub i64 %capacity, %size
  %most = lshr i64 %capacity, 3
  %fits = icmp ule i64 %spare, %most  ; too small: spare is a huge number
  br i1 %fits, label %found, label %loop
found:
  %data = call ptr @remove(i64 %i.next)
  ret ptr %data
new:
  %fresh = call ptr @map(i64 %size)
  %none = icmp eq ptr %fresh, null
  br i1 %none, label %again, label %done
again:
  call void @trim(i64 0)
  %last = call ptr @map(i64 %size)
  ret ptr %last
done:
  ret ptr %fresh
}

define internal ptr @calloc(ptr %context, i64 %n, i64 %each) {
  %product = call { i64, i1 } @llvm.umul.with.overflow.i64(i64 %n, i64 %each)
  %size = extractvalue { i64, i1 } %product, 0
  %over = extractvalue { i64, i1 } %product, 1
  br i1 %over, label %none, label %allocate
allocate:
  %data = call ptr @malloc(ptr %context, i64 %size)
  %null = icmp eq ptr %data, null
  br i1 %null, label %none, label %clear
clear:
  call void @llvm.memset.p0.i64(ptr %data, i8 0, i64 %size, i1 false)
  ret ptr %data
none:
  ret ptr null
}

define internal void @free(ptr %context, ptr %data, i64 %size) {
start:
  %null = icmp eq ptr %data, null
  br i1 %null, label %exit, label %test
test:
  %capacity = call i64 @capacity(ptr %data)
  %limit = load i64, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 4)
  %small = icmp ult i64 %capacity, $least
  %large = icmp ugt i64 %capacity, %limit
  %unfit = or i1 %small, %large
  br i1 %unfit, label %release, label %room
release:
  call void @unmap(ptr %data)
  ret void
room:
  %count = load i64, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 2)
  %held = load i64, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 3)
  %held.more = add i64 %held, %capacity
  %full = icmp eq i64 %count, $slots
  %over = icmp ugt i64 %held.more, %limit
  %crowded = or i1 %full, %over
  br i1 %crowded, label %evict, label %keep
evict:
  %oldest = call ptr @remove(i64 0)
  call void @unmap(ptr %oldest)
  br label %room
keep:
  %at = getelementptr inbounds %Idle, ptr @idle, i64 %count
  %capacity.at = getelementptr inbounds %Idle, ptr %at, i64 0, i32 1
  %since.at = getelementptr inbounds %Idle, ptr %at, i64 0, i32 2
  %now = call i64 @time(ptr null)
  store ptr %data, ptr %at
  store i64 %capacity, ptr %capacity.at
  store i64 %now, ptr %since.at
  %count.more = add i64 %count, 1
  store i64 %count.more, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 2)
  store i64 %held.more, ptr getelementptr (%Pool, ptr @pool, i64 0, i32 3)
  call void @trim(i64 $patience)
  ret void
exit:
  ret void
}

define internal ptr @realloc(ptr %context, ptr %data, i64 %size) {
start:
  %null = icmp eq ptr %data, null
  br i1 %null, label %new, label %old
new:
  %first = call ptr @malloc(ptr %context, i64 %size)
  ret ptr %first
old:
  %capacity = call i64 @capacity(ptr %data)
  %spare = sub i64 %capacity, %size
  %half = lshr i64 %capacity, 1
  %fits = icmp ule i64 %spare, %half
  br i1 %fits, label %stay, label %move
stay:
  ret ptr %data
move:
  %to = call ptr @malloc(ptr %context, i64 %size)
  %none = icmp eq ptr %to, null
  br i1 %none, label %fail, label %copy
copy:
  %bytes = call i64 @llvm.umin.i64(i64 %capacity, i64 %size)
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %data, i64 %bytes, i1 false)
  call void @free(ptr %context, ptr %data, i64 %capacity)
  ret ptr %to
fail:
  ret ptr null
}
