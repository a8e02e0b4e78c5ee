"""Answers of any server as OpenAI's, whole and in pieces; knows no request."""
