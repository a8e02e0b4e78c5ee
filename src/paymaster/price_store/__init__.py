"""The price catalogue in a state directory: fetched, checked, dated, kept with the last good one; knows no registry and no call."""
