"""How many tokens a prompt has: texts, tools, pictures, by family of models; knows no price and no limit."""
