"""The price catalogue in a state directory: fetched, checked, dated; knows no registry and no call."""
