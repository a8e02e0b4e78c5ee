"""Counts the tokens of a prompt: texts, tools, images, by family of models; knows no price and no limit."""
