"""Wire formats, one folder each, by way of one neutral form; knows no HTTP and no call."""
