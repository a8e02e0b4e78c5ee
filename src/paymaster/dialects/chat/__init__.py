"""OpenAI's chat completions to and from the neutral form; `normal` reads odd answers, `fitting` fits requests to an endpoint."""
