"""One wire format per module: reads requests, writes answers and errors; knows no HTTP."""
