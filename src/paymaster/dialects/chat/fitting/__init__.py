"""Requests in the form that an endpoint takes: histories, names, parameters; knows no answer."""
