"""Export files: parse, read, write and compare RTNeural JSON; golden vectors; ONNX conversion."""
