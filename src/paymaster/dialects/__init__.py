"""Wire formats, one folder each; pure, knows no HTTP and no call."""
