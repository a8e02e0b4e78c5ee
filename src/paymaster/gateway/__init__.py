"""The server for clients of OpenAI's and Anthropic's APIs; knows HTTP and the flow, and no command line."""
