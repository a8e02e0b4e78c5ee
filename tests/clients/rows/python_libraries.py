"""Libraries for agents in Python."""

from clients.libraries import library

ONE_OBJECT = "streams the parts of an object, not texts"
TEXT_STREAMS = "streams through a text format of its own alone"

CLIENTS = (
    library("dspy", "dspy==3.4.1", section="DSPy", lacks={"cut": TEXT_STREAMS, "cancel": TEXT_STREAMS}),
    library(
        "inspect_ai",
        "inspect-ai==0.3.285",
        "openai==3.57.0",
        "anthropic==2.14.0",
        model="claude-sonnet-4-5",  # it knows by the name what a model of Claude can do
    ),
    library(
        "instructor",
        "instructor==1.17.0",
        "anthropic==2.14.0",
        dialects=("chat", "messages"),
        lacks={"cut": ONE_OBJECT, "cancel": ONE_OBJECT, "parallel": "takes one call as one object"},
        budget_usd=0.015,
    ),
    library("langchain", "langchain==1.5.2", "langchain-openai==1.7.4", "langchain-anthropic==1.7.10", section="LangChain"),
    library("litellm", "litellm==1.110.2", dialects=("chat", "messages")),
    library(
        "llamaindex",
        "llama-index-core==0.14.25",
        "llama-index-llms-openai==0.8.3",
        "llama-index-llms-openai-like==0.8.1",
        section="LlamaIndex",
        dialects=("chat", "responses"),
        tasks=("job", "whole"),
    ),
    library("openai-agents", "openai-agents==0.24.0", dialects=("chat", "responses")),
    library(
        "openhands",
        "openhands-sdk==1.58.2",
        "openhands-tools==1.58.2",
        section="OpenHands",
        dialects=("chat", "messages"),
        tasks=("job", "whole"),
        oldest_python="3.12",
    ),
    library("pydantic-ai", "pydantic-ai-slim[anthropic,openai]==2.68.0"),
    library("smolagents", "smolagents[litellm,openai]==1.26.0", dialects=("chat", "messages"), tasks=("job", "whole")),
)
