"""Does the job with OpenHands' SDK; the model comes from the page's recipe."""

import os
from importlib import import_module

from openhands.sdk import Agent, Conversation, Tool
from openhands.sdk.conversation.response_utils import get_agent_final_response
from openhands.tools.terminal import TerminalTool

llm = import_module(f"recipe_{os.environ['DIALECT']}").llm


def main(task: str, prompt: str) -> None:
    """Do the task."""
    streamed = task == "job"
    agent = Agent(llm=llm.model_copy(update={"stream": streamed}), tools=[Tool(name=TerminalTool.name)])
    callbacks = {"token_callbacks": [lambda _: None]} if streamed else {}
    conversation = Conversation(agent=agent, workspace=os.environ["PWD"], **callbacks)
    conversation.send_message(prompt)
    conversation.run()
    print("ANSWER:", get_agent_final_response(conversation.state.events))
    print("COST:", conversation.conversation_stats.get_combined_metrics().accumulated_cost)


main(os.environ["TASK"], os.environ["PROMPT"])
