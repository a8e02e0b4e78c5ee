"""Wire formats of models' APIs, a folder for each, pure; knows no transport and no model."""
