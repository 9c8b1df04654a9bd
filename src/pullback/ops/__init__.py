"""The op table and its entries, one file a family. Knows nothing of tapes and tensors: an op binds itself to whatever
value it is given through that value's `level` and `bind`.
"""
