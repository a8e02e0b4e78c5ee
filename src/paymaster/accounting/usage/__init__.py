"""Reads the usage that any provider reports into one record; knows no price."""
