; How Python enters compiled code: a METH_FASTCALL function that a descriptor drives (entry.py lays it out).
; It checks the arguments, makes the results, and calls the code on their memory. `$items`: where a tuple's items start.

%Entry = type {
  ptr,  ;  0 code        i32 (ptr buffers, ptr arena, ptr context)
  i64,  ;  1 inputs      how many
  i64,  ;  2 outputs     how many
  i64,  ;  3 returned    how many outputs are results; -1: the one result itself, not a tuple
  ptr,  ;  4 arena       64-byte aligned
  i64,  ;  5 bytes       of the arena
  i32,  ;  6 busy        1 while a call has the arena
  i32,  ;  7 release     whether to release the GIL around the code
  ptr,  ;  8 context     a tuple
  ptr,  ;  9 miss        what to return if an argument is not as expected
  ptr,  ; 10 ndarray     the type
  ptr,  ; 11 empty       PyArray_NewFromDescr
  ptr,  ; 12 scalar      PyArray_Scalar
  ptr,  ; 13 "_value"
  ptr,  ; 14 "_node"
  ptr,  ; 15 "_version"
  ptr,  ; 16 "_base"
  ptr,  ; 17 the int 0
  ptr,  ; 18 of %Input
  ptr,  ; 19 of %Output
  ptr,  ; 20 handle      PyDataMem_SetHandler
  ptr   ; 21 default     the handler that NumPy has unless another was set
}
%Input = type {
  i64,  ; 0 kind         as the switch below has them
  ptr,  ; 1 dtype
  i64,  ; 2 rank
  ptr,  ; 3 shape        of i64
  ptr,  ; 4 scalar       NumPy's type of a scalar of this dtype
  ptr,  ; 5 classes      accepted types of a tensor, then null
  ptr,  ; 6 node         what its `_node` must be
  i32,  ; 7 flags        that an array must have
  i32,  ; 8 writable     whether the code writes it
  i64   ; 9 bytes
}
%Output = type {
  i64,  ; 0 kind         0 none, 1 array, 2 scalar
  ptr,  ; 1 dtype
  i64,  ; 2 rank
  ptr,  ; 3 shape        of i64
  i64,  ; 4 input        whose memory a "none" is, or -1
  i64,  ; 5 offset       in the arena, of a "none" without input
  ptr,  ; 6 scalar       NumPy's type of a scalar of this dtype
  ptr,  ; 7 its tp_alloc, or null: PyArray_Scalar makes one of a slot
  ptr,  ; 8 class        of the tensor around it, or null
  ptr,  ; 9 its tp_alloc
  ptr   ; 10 handler     of the memory of an array, or null: NumPy's present one
}
%Array = type { i64, ptr, ptr, i32, i32, ptr, ptr, ptr, ptr, i32 }  ; refcount, type, data, rank, -, shape, strides, base, dtype, flags
%DType = type { i64, ptr, ptr, i8, i8, i8, i8, i32 }  ; refcount, type, scalar, kind, char, byte order, -, number

@PyFloat_Type = external global i8
@PyLong_Type = external global i8
@_Py_TrueStruct = external global i8
@_Py_FalseStruct = external global i8
@_Py_NoneStruct = external global i8

declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare void @PyErr_Clear()
declare ptr @PyErr_NoMemory()
declare i64 @PyLong_AsLongLongAndOverflow(ptr, ptr)
declare ptr @PyObject_GenericGetAttr(ptr, ptr)
declare i32 @PyObject_GenericSetAttr(ptr, ptr, ptr)
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyMem_RawMalloc(i64)
declare void @PyMem_RawFree(ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define internal ptr @type(ptr %object) alwaysinline {
  %at = getelementptr inbounds i8, ptr %object, i64 8
  %type = load ptr, ptr %at
  ret ptr %type
}

; Whether `x`, an ndarray, has the dtype, flags and shape of `input`.
define internal i1 @matches(ptr %x, ptr %input) alwaysinline {
start:
  %dtype.at = getelementptr inbounds %Array, ptr %x, i64 0, i32 8
  %dtype = load ptr, ptr %dtype.at
  %want.at = getelementptr inbounds %Input, ptr %input, i64 0, i32 1
  %want = load ptr, ptr %want.at
  %same = icmp eq ptr %dtype, %want
  br i1 %same, label %flags, label %equal
equal:  ; another object of the same number and byte order, as unpickling makes them
  %number.at = getelementptr inbounds %DType, ptr %dtype, i64 0, i32 7
  %number = load i32, ptr %number.at
  %number.want.at = getelementptr inbounds %DType, ptr %want, i64 0, i32 7
  %number.want = load i32, ptr %number.want.at
  %number.same = icmp eq i32 %number, %number.want
  %order.at = getelementptr inbounds %DType, ptr %dtype, i64 0, i32 5
  %order = load i8, ptr %order.at
  %order.want.at = getelementptr inbounds %DType, ptr %want, i64 0, i32 5
  %order.want = load i8, ptr %order.want.at
  %order.same = icmp eq i8 %order, %order.want
  %dtype.same = and i1 %number.same, %order.same
  br i1 %dtype.same, label %flags, label %no
flags:
  %flags.at = getelementptr inbounds %Array, ptr %x, i64 0, i32 9
  %flags.all = load i32, ptr %flags.at
  %flags.want.at = getelementptr inbounds %Input, ptr %input, i64 0, i32 7
  %flags.want = load i32, ptr %flags.want.at
  %flags.common = and i32 %flags.all, %flags.want
  %flags.same = icmp eq i32 %flags.common, %flags.want
  %rank.at = getelementptr inbounds %Array, ptr %x, i64 0, i32 3
  %rank.short = load i32, ptr %rank.at
  %rank = zext i32 %rank.short to i64
  %rank.want.at = getelementptr inbounds %Input, ptr %input, i64 0, i32 2
  %rank.want = load i64, ptr %rank.want.at
  %rank.same = icmp eq i64 %rank, %rank.want
  %both = and i1 %flags.same, %rank.same
  br i1 %both, label %shapes, label %no
shapes:
  %shape.at = getelementptr inbounds %Array, ptr %x, i64 0, i32 5
  %shape = load ptr, ptr %shape.at
  %shape.want.at = getelementptr inbounds %Input, ptr %input, i64 0, i32 3
  %shape.want = load ptr, ptr %shape.want.at
  br label %axis
axis:
  %k = phi i64 [ 0, %shapes ], [ %k.next, %length ]
  %done = icmp eq i64 %k, %rank
  br i1 %done, label %yes, label %length
length:
  %length.at = getelementptr inbounds i64, ptr %shape, i64 %k
  %length.is = load i64, ptr %length.at
  %length.want.at = getelementptr inbounds i64, ptr %shape.want, i64 %k
  %length.want = load i64, ptr %length.want.at
  %length.same = icmp eq i64 %length.is, %length.want
  %k.next = add nuw nsw i64 %k, 1
  br i1 %length.same, label %axis, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; Whether memory that the code writes is also that of another input.
define internal i1 @overlap(ptr %inputs, ptr %buffers, i64 %n) noinline {
start:
  br label %writable
writable:
  %i = phi i64 [ 0, %start ], [ %i.next, %next ]
  %i.end = icmp eq i64 %i, %n
  br i1 %i.end, label %no, label %test
test:
  %flag.at = getelementptr inbounds %Input, ptr %inputs, i64 %i, i32 8
  %flag = load i32, ptr %flag.at
  %skip = icmp eq i32 %flag, 0
  br i1 %skip, label %next, label %range
range:
  %a.at = getelementptr inbounds i64, ptr %buffers, i64 %i
  %a = load i64, ptr %a.at
  %a.bytes.at = getelementptr inbounds %Input, ptr %inputs, i64 %i, i32 9
  %a.bytes = load i64, ptr %a.bytes.at
  %a.end = add i64 %a, %a.bytes
  br label %other
other:
  %j = phi i64 [ 0, %range ], [ %j.next, %other.next ]
  %j.end = icmp eq i64 %j, %n
  br i1 %j.end, label %next, label %compare
compare:
  %b.at = getelementptr inbounds i64, ptr %buffers, i64 %j
  %b = load i64, ptr %b.at
  %b.bytes.at = getelementptr inbounds %Input, ptr %inputs, i64 %j, i32 9
  %b.bytes = load i64, ptr %b.bytes.at
  %b.end = add i64 %b, %b.bytes
  %before = icmp ult i64 %a, %b.end
  %after = icmp ult i64 %b, %a.end
  %meet = and i1 %before, %after
  %different = icmp ne i64 %i, %j
  %bad = and i1 %meet, %different
  br i1 %bad, label %yes, label %other.next
other.next:
  %j.next = add nuw nsw i64 %j, 1
  br label %other
next:
  %i.next = add nuw nsw i64 %i, 1
  br label %writable
yes:
  ret i1 true
no:
  ret i1 false
}

; Drop `n` references, some of them null.
define internal void @drop(ptr %objects, i64 %n) {
start:
  br label %loop
loop:
  %i = phi i64 [ 0, %start ], [ %i.next, %next ]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %exit, label %test
test:
  %at = getelementptr inbounds ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %at
  %null = icmp eq ptr %object, null
  br i1 %null, label %next, label %one
one:
  call void @Py_DecRef(ptr %object)
  br label %next
next:
  %i.next = add nuw nsw i64 %i, 1
  br label %loop
exit:
  ret void
}

; A tensor of class `class` on `value`, whose reference it takes; null with an exception set if that fails.
define internal ptr @tensor(ptr %entry, ptr %output, ptr %value) {
start:
  %class.at = getelementptr inbounds %Output, ptr %output, i64 0, i32 8
  %class = load ptr, ptr %class.at
  %alloc.at = getelementptr inbounds %Output, ptr %output, i64 0, i32 9
  %alloc = load ptr, ptr %alloc.at
  %self = call ptr %alloc(ptr %class, i64 0)
  %none = icmp eq ptr %self, null
  br i1 %none, label %exit, label %fill
fill:
  %name.value.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 13
  %name.value = load ptr, ptr %name.value.at
  %e0 = call i32 @PyObject_GenericSetAttr(ptr %self, ptr %name.value, ptr %value)
  %name.version.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 15
  %name.version = load ptr, ptr %name.version.at
  %zero.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 17
  %zero = load ptr, ptr %zero.at
  %e1 = call i32 @PyObject_GenericSetAttr(ptr %self, ptr %name.version, ptr %zero)
  %name.base.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 16
  %name.base = load ptr, ptr %name.base.at
  %e2 = call i32 @PyObject_GenericSetAttr(ptr %self, ptr %name.base, ptr @_Py_NoneStruct)
  %e01 = or i32 %e0, %e1
  %e = or i32 %e01, %e2
  %good = icmp eq i32 %e, 0
  br i1 %good, label %exit, label %fail
fail:
  call void @Py_DecRef(ptr %self)
  br label %exit
exit:
  %result = phi ptr [ null, %start ], [ %self, %fill ], [ null, %fail ]
  call void @Py_DecRef(ptr %value)
  ret ptr %result
}

; A new array for `output`; null with an exception set if that fails.
define internal ptr @array(ptr %entry, ptr %output) {
start:
  %ndarray.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 10
  %ndarray = load ptr, ptr %ndarray.at
  %empty.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 11
  %empty = load ptr, ptr %empty.at
  %dtype.at = getelementptr inbounds %Output, ptr %output, i64 0, i32 1
  %dtype = load ptr, ptr %dtype.at
  %rank.at = getelementptr inbounds %Output, ptr %output, i64 0, i32 2
  %rank.long = load i64, ptr %rank.at
  %rank = trunc i64 %rank.long to i32
  %shape.at = getelementptr inbounds %Output, ptr %output, i64 0, i32 3
  %shape = load ptr, ptr %shape.at
  %handler.at = getelementptr inbounds %Output, ptr %output, i64 0, i32 10
  %handler = load ptr, ptr %handler.at
  %present = icmp eq ptr %handler, null
  br i1 %present, label %plain, label %own
own:
  %handle.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 20
  %handle = load ptr, ptr %handle.at
  %old = call ptr %handle(ptr %handler)
  %unset = icmp eq ptr %old, null
  br i1 %unset, label %clear, label %usual
usual:  ; one that the user has set is used for large arrays too
  %default.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 21
  %default = load ptr, ptr %default.at
  %free = icmp eq ptr %old, %default
  br i1 %free, label %make, label %restore
make:
  call void @Py_IncRef(ptr %dtype)
  %made = call ptr %empty(ptr %ndarray, ptr %dtype, i32 %rank, ptr %shape, ptr null, ptr null, i32 0, ptr null)
  call void @PyErr_Clear()
  br label %restore
restore:
  %large = phi ptr [ null, %usual ], [ %made, %make ]
  %mine = call ptr %handle(ptr %old)
  call void @Py_DecRef(ptr %old)
  call void @Py_DecRef(ptr %mine)
  %none = icmp eq ptr %large, null
  br i1 %none, label %clear, label %done
clear:
  call void @PyErr_Clear()
  br label %plain
plain:
  call void @Py_IncRef(ptr %dtype)
  %new = call ptr %empty(ptr %ndarray, ptr %dtype, i32 %rank, ptr %shape, ptr null, ptr null, i32 0, ptr null)
  ret ptr %new
done:
  call void @PyErr_Clear()
  ret ptr %large
}

define ptr @enter(ptr %self, ptr %args, i64 %given) {
start:
  %overflow = alloca i32
  %block.at = getelementptr inbounds i8, ptr %self, i64 $items
  %block = load ptr, ptr %block.at
  %entry.at = getelementptr inbounds %Array, ptr %block, i64 0, i32 2
  %entry = load ptr, ptr %entry.at
  %n.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 1
  %n = load i64, ptr %n.at
  %count = icmp eq i64 %given, %n
  br i1 %count, label %prepare, label %missed

prepare:
  %m.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 2
  %m = load i64, ptr %m.at
  %inputs.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 18
  %inputs = load ptr, ptr %inputs.at
  %outputs.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 19
  %outputs = load ptr, ptr %outputs.at
  %ndarray.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 10
  %ndarray = load ptr, ptr %ndarray.at
  %all = add i64 %n, %m
  %buffers = alloca ptr, i64 %all
  %objects = alloca ptr, i64 %all          ; references to drop: values of tensors, then results
  %slots = alloca [2 x i64], i64 %all, align 16
  %objects.bytes = shl i64 %all, 3
  call void @llvm.memset.p0.i64(ptr %objects, i8 0, i64 %objects.bytes, i1 false)
  br label %inputs.loop

; -- the arguments ----------------------------------------------------------------------------------------------------

inputs.loop:
  %i = phi i64 [ 0, %prepare ], [ %i.next, %inputs.next ]
  %written = phi i32 [ 0, %prepare ], [ %written.next, %inputs.next ]
  %inputs.end = icmp eq i64 %i, %n
  br i1 %inputs.end, label %alias, label %input
input:
  %input.at = getelementptr inbounds %Input, ptr %inputs, i64 %i
  %x.at = getelementptr inbounds ptr, ptr %args, i64 %i
  %x = load ptr, ptr %x.at
  %class = call ptr @type(ptr %x)
  %slot = getelementptr inbounds [2 x i64], ptr %slots, i64 %i
  %kind = load i64, ptr %input.at
  switch i64 %kind, label %dropped [
    i64 0, label %array
    i64 1, label %tensor
    i64 2, label %float
    i64 3, label %int
    i64 4, label %bool
    i64 5, label %scalar
  ]

array:
  %array.is = icmp eq ptr %class, %ndarray
  br i1 %array.is, label %array.check, label %dropped
array.check:
  %array.value = phi ptr [ %x, %array ], [ %held, %tensor.array ]
  %array.good = call i1 @matches(ptr %array.value, ptr %input.at)
  br i1 %array.good, label %array.data, label %dropped
array.data:
  %data.at = getelementptr inbounds %Array, ptr %array.value, i64 0, i32 2
  %data = load ptr, ptr %data.at
  br label %inputs.next

tensor:
  %classes.at = getelementptr inbounds %Input, ptr %input.at, i64 0, i32 5
  %classes = load ptr, ptr %classes.at
  br label %class.loop
class.loop:
  %c = phi i64 [ 0, %tensor ], [ %c.next, %class.next ]
  %accepted.at = getelementptr inbounds ptr, ptr %classes, i64 %c
  %accepted = load ptr, ptr %accepted.at
  %class.good = icmp eq ptr %accepted, %class
  br i1 %class.good, label %tensor.node, label %class.next
class.next:
  %c.next = add nuw nsw i64 %c, 1
  %class.none = icmp eq ptr %accepted, null
  br i1 %class.none, label %dropped, label %class.loop
tensor.node:
  %name.node.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 14
  %name.node = load ptr, ptr %name.node.at
  %node = call ptr @PyObject_GenericGetAttr(ptr %x, ptr %name.node)
  %node.null = icmp eq ptr %node, null
  br i1 %node.null, label %raised, label %node.test
node.test:
  call void @Py_DecRef(ptr %node)
  %node.want.at = getelementptr inbounds %Input, ptr %input.at, i64 0, i32 6
  %node.want = load ptr, ptr %node.want.at
  %node.good = icmp eq ptr %node, %node.want
  br i1 %node.good, label %tensor.value, label %dropped
tensor.value:
  %name.value.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 13
  %name.value = load ptr, ptr %name.value.at
  %held = call ptr @PyObject_GenericGetAttr(ptr %x, ptr %name.value)
  %held.null = icmp eq ptr %held, null
  br i1 %held.null, label %raised, label %held.keep
held.keep:
  %held.at = getelementptr inbounds ptr, ptr %objects, i64 %i
  store ptr %held, ptr %held.at
  %held.class = call ptr @type(ptr %held)
  %held.array = icmp eq ptr %held.class, %ndarray
  br i1 %held.array, label %tensor.array, label %tensor.scalar
tensor.array:
  br label %array.check
tensor.scalar:
  %held.rank.at = getelementptr inbounds %Input, ptr %input.at, i64 0, i32 2
  %held.rank = load i64, ptr %held.rank.at
  %held.number = icmp eq i64 %held.rank, 0
  br i1 %held.number, label %scalar.check, label %dropped

scalar:
  br label %scalar.check
scalar.check:
  %scalar.value = phi ptr [ %x, %scalar ], [ %held, %tensor.scalar ]
  %scalar.class = call ptr @type(ptr %scalar.value)
  %scalar.want.at = getelementptr inbounds %Input, ptr %input.at, i64 0, i32 4
  %scalar.want = load ptr, ptr %scalar.want.at
  %scalar.same = icmp eq ptr %scalar.class, %scalar.want
  %scalar.write.at = getelementptr inbounds %Input, ptr %input.at, i64 0, i32 8
  %scalar.write = load i32, ptr %scalar.write.at
  %scalar.read = icmp eq i32 %scalar.write, 0
  %scalar.good = and i1 %scalar.same, %scalar.read
  %scalar.data = getelementptr inbounds i8, ptr %scalar.value, i64 16
  br i1 %scalar.good, label %inputs.next, label %dropped

float:
  %float.is = icmp eq ptr %class, @PyFloat_Type
  %float.data = getelementptr inbounds i8, ptr %x, i64 16
  br i1 %float.is, label %inputs.next, label %dropped

int:
  %int.is = icmp eq ptr %class, @PyLong_Type
  br i1 %int.is, label %int.value, label %dropped
int.value:
  %int.number = call i64 @PyLong_AsLongLongAndOverflow(ptr %x, ptr %overflow)
  store i64 %int.number, ptr %slot
  %over = load i32, ptr %overflow
  %int.good = icmp eq i32 %over, 0
  br i1 %int.good, label %inputs.next, label %dropped

bool:
  %true = icmp eq ptr %x, @_Py_TrueStruct
  %true.byte = zext i1 %true to i8
  store i8 %true.byte, ptr %slot
  %false = icmp eq ptr %x, @_Py_FalseStruct
  %bool.good = or i1 %true, %false
  br i1 %bool.good, label %inputs.next, label %dropped

inputs.next:
  %address = phi ptr [ %data, %array.data ], [ %scalar.data, %scalar.check ], [ %float.data, %float ],
    [ %slot, %int.value ], [ %slot, %bool ]
  %buffer.at = getelementptr inbounds ptr, ptr %buffers, i64 %i
  store ptr %address, ptr %buffer.at
  %writable.at = getelementptr inbounds %Input, ptr %input.at, i64 0, i32 8
  %writable = load i32, ptr %writable.at
  %written.next = or i32 %written, %writable
  %i.next = add nuw nsw i64 %i, 1
  br label %inputs.loop

alias:
  %any = icmp ne i32 %written, 0
  br i1 %any, label %alias.test, label %arena
alias.test:
  %shared = call i1 @overlap(ptr %inputs, ptr %buffers, i64 %n)
  br i1 %shared, label %dropped, label %arena

raised:
  call void @PyErr_Clear()
  br label %dropped
dropped:
  call void @drop(ptr %objects, i64 %n)
  br label %missed
missed:
  %miss.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 9
  %miss = load ptr, ptr %miss.at
  call void @Py_IncRef(ptr %miss)
  ret ptr %miss

; -- memory and results -----------------------------------------------------------------------------------------------

arena:
  %bytes.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 5
  %bytes = load i64, ptr %bytes.at
  %own.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 4
  %own = load ptr, ptr %own.at
  %busy.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 6
  %small = icmp eq i64 %bytes, 0
  br i1 %small, label %ready, label %take
take:
  %try = cmpxchg ptr %busy.at, i32 0, i32 1 acquire monotonic
  %took = extractvalue { i32, i1 } %try, 1
  br i1 %took, label %ready, label %borrow
borrow:  ; another call has it
  %room = add i64 %bytes, 64
  %lent = call ptr @PyMem_RawMalloc(i64 %room)
  %lent.null = icmp eq ptr %lent, null
  br i1 %lent.null, label %exhausted, label %borrowed
borrowed:
  %lent.number = ptrtoint ptr %lent to i64
  %lent.up = add i64 %lent.number, 63
  %lent.down = and i64 %lent.up, -64
  %lent.skip = sub i64 %lent.down, %lent.number
  %lent.aligned = getelementptr i8, ptr %lent, i64 %lent.skip
  br label %ready
exhausted:
  %nothing = call ptr @PyErr_NoMemory()
  call void @drop(ptr %objects, i64 %all)
  ret ptr null

ready:
  %arena.now = phi ptr [ %own, %arena ], [ %own, %take ], [ %lent.aligned, %borrowed ]
  %to.free = phi ptr [ null, %arena ], [ null, %take ], [ %lent, %borrowed ]
  %to.clear = phi i1 [ false, %arena ], [ true, %take ], [ false, %borrowed ]
  br label %outputs.loop
outputs.loop:
  %j = phi i64 [ 0, %ready ], [ %j.next, %outputs.next ]
  %outputs.end = icmp eq i64 %j, %m
  br i1 %outputs.end, label %call, label %output
output:
  %output.at = getelementptr inbounds %Output, ptr %outputs, i64 %j
  %at = add nuw nsw i64 %n, %j
  %result.at = getelementptr inbounds ptr, ptr %objects, i64 %at
  %result.slot = getelementptr inbounds [2 x i64], ptr %slots, i64 %at
  %made = load i64, ptr %output.at
  switch i64 %made, label %output.none [
    i64 1, label %output.array
    i64 2, label %output.scalar
  ]
output.none:
  %target.at = getelementptr inbounds %Output, ptr %output.at, i64 0, i32 4
  %target = load i64, ptr %target.at
  %scratch = icmp slt i64 %target, 0
  br i1 %scratch, label %output.scratch, label %output.input
output.scratch:
  %offset.at = getelementptr inbounds %Output, ptr %output.at, i64 0, i32 5
  %offset = load i64, ptr %offset.at
  %scratch.data = getelementptr inbounds i8, ptr %arena.now, i64 %offset
  br label %outputs.next
output.input:
  %target.buffer.at = getelementptr inbounds ptr, ptr %buffers, i64 %target
  %target.data = load ptr, ptr %target.buffer.at
  br label %outputs.next
output.array:
  %new = call ptr @array(ptr %entry, ptr %output.at)
  store ptr %new, ptr %result.at
  %new.null = icmp eq ptr %new, null
  br i1 %new.null, label %failed, label %new.data
new.data:
  %new.data.at = getelementptr inbounds %Array, ptr %new, i64 0, i32 2
  %new.address = load ptr, ptr %new.data.at
  br label %outputs.next
output.scalar:
  %alloc.at = getelementptr inbounds %Output, ptr %output.at, i64 0, i32 7
  %alloc = load ptr, ptr %alloc.at
  %slotted = icmp eq ptr %alloc, null
  br i1 %slotted, label %outputs.next, label %scalar.new
scalar.new:
  %number.class.at = getelementptr inbounds %Output, ptr %output.at, i64 0, i32 6
  %number.class = load ptr, ptr %number.class.at
  %number = call ptr %alloc(ptr %number.class, i64 0)
  store ptr %number, ptr %result.at
  %number.null = icmp eq ptr %number, null
  %number.data = getelementptr inbounds i8, ptr %number, i64 16
  br i1 %number.null, label %failed, label %outputs.next
outputs.next:
  %place = phi ptr [ %scratch.data, %output.scratch ], [ %target.data, %output.input ], [ %new.address, %new.data ],
    [ %result.slot, %output.scalar ], [ %number.data, %scalar.new ]
  %place.at = getelementptr inbounds ptr, ptr %buffers, i64 %at
  store ptr %place, ptr %place.at
  %j.next = add nuw nsw i64 %j, 1
  br label %outputs.loop

; -- the call ---------------------------------------------------------------------------------------------------------

call:
  %code = load ptr, ptr %entry
  %context.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 8
  %context = load ptr, ptr %context.at
  %release.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 7
  %release = load i32, ptr %release.at
  %holding = icmp eq i32 %release, 0
  br i1 %holding, label %call.held, label %call.released
call.held:
  %status.held = call i32 %code(ptr %buffers, ptr %arena.now, ptr %context)
  br label %called
call.released:
  %thread = call ptr @PyEval_SaveThread()
  %status.released = call i32 %code(ptr %buffers, ptr %arena.now, ptr %context)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %called
called:
  %status = phi i32 [ %status.held, %call.held ], [ %status.released, %call.released ]
  %good = icmp eq i32 %status, 0
  br i1 %good, label %finish, label %failed
failed:
  call void @drop(ptr %objects, i64 %all)
  br label %give.back
finish:
  call void @drop(ptr %objects, i64 %n)
  br label %give.back
give.back:
  %success = phi i1 [ false, %failed ], [ true, %finish ]
  call void @PyMem_RawFree(ptr %to.free)
  br i1 %to.clear, label %unlock, label %results
unlock:
  store atomic i32 0, ptr %busy.at release, align 4
  br label %results

results:
  br i1 %success, label %collect, label %null
collect:
  %returned.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 3
  %returned = load i64, ptr %returned.at
  %single = icmp slt i64 %returned, 0
  br i1 %single, label %results.start, label %tuple
tuple:
  %tuple.new = call ptr @PyTuple_New(i64 %returned)
  %tuple.null = icmp eq ptr %tuple.new, null
  br i1 %tuple.null, label %abandon, label %results.start
results.start:
  %whole = phi ptr [ null, %collect ], [ %tuple.new, %tuple ]
  br label %results.loop
results.loop:
  %r = phi i64 [ 0, %results.start ], [ %r.next, %results.next ]
  %filled = phi i64 [ 0, %results.start ], [ %filled.next, %results.next ]
  %results.end = icmp eq i64 %r, %m
  br i1 %results.end, label %results.done, label %one
one:
  %one.at = getelementptr inbounds %Output, ptr %outputs, i64 %r
  %one.kind = load i64, ptr %one.at
  %one.silent = icmp eq i64 %one.kind, 0
  br i1 %one.silent, label %results.next, label %one.made
one.made:
  %one.index = add nuw nsw i64 %n, %r
  %one.object.at = getelementptr inbounds ptr, ptr %objects, i64 %one.index
  %one.object = load ptr, ptr %one.object.at
  %one.missing = icmp eq ptr %one.object, null
  br i1 %one.missing, label %one.slot, label %one.wrap
one.slot:
  %maker.at = getelementptr inbounds %Entry, ptr %entry, i64 0, i32 12
  %maker = load ptr, ptr %maker.at
  %one.slot.at = getelementptr inbounds [2 x i64], ptr %slots, i64 %one.index
  %one.dtype.at = getelementptr inbounds %Output, ptr %one.at, i64 0, i32 1
  %one.dtype = load ptr, ptr %one.dtype.at
  %one.number = call ptr %maker(ptr %one.slot.at, ptr %one.dtype, ptr null)
  store ptr %one.number, ptr %one.object.at
  %one.number.null = icmp eq ptr %one.number, null
  br i1 %one.number.null, label %abandon.tuple, label %one.wrap
one.wrap:
  %value = phi ptr [ %one.object, %one.made ], [ %one.number, %one.slot ]
  store ptr null, ptr %one.object.at
  %wrapper.at = getelementptr inbounds %Output, ptr %one.at, i64 0, i32 8
  %wrapper = load ptr, ptr %wrapper.at
  %bare = icmp eq ptr %wrapper, null
  br i1 %bare, label %one.done, label %one.tensor
one.tensor:
  %tensor.new = call ptr @tensor(ptr %entry, ptr %one.at, ptr %value)
  %tensor.null = icmp eq ptr %tensor.new, null
  br i1 %tensor.null, label %abandon.tuple, label %one.done
one.done:
  %done = phi ptr [ %value, %one.wrap ], [ %tensor.new, %one.tensor ]
  br i1 %single, label %return.single, label %one.put
one.put:
  %put = call i32 @PyTuple_SetItem(ptr %whole, i64 %filled, ptr %done)
  %filled.more = add nuw nsw i64 %filled, 1
  br label %results.next
results.next:
  %filled.next = phi i64 [ %filled, %one ], [ %filled.more, %one.put ]
  %r.next = add nuw nsw i64 %r, 1
  br label %results.loop
return.single:
  ret ptr %done
results.done:
  ret ptr %whole

abandon.tuple:
  %lost = phi ptr [ %whole, %one.slot ], [ %whole, %one.tensor ]
  %lost.null = icmp eq ptr %lost, null
  br i1 %lost.null, label %abandon, label %abandon.whole
abandon.whole:
  call void @Py_DecRef(ptr %lost)
  br label %abandon
abandon:
  %rest = getelementptr inbounds ptr, ptr %objects, i64 %n
  call void @drop(ptr %rest, i64 %m)
  br label %null
null:
  ret ptr null
}
