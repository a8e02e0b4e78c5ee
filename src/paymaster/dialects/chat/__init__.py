"""OpenAI's chat completions, as servers and clients really write them; knows no transport and no model."""
