"""One kind of file each: a path -> the documents in it, streamed."""
