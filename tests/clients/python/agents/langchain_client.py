"""Drives the gateway with LangChain and LangGraph, unmodified: langchain_client.py URL MODEL API QUESTION. Prints one JSON object."""

import json
import sys
import warnings

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel

warnings.simplefilter("ignore")
base_url, model, api, question = sys.argv[1:5]
settings = {"base_url": base_url, "api_key": "none", "max_retries": 0, "stream_usage": True}
llm = ChatOpenAI(model=model, use_responses_api=api == "responses", **settings)
asked = []


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    asked.append(city)
    return f"Sunny in {city}."


class Plan(BaseModel):
    """A plan of a trip."""

    city: str
    days: int


def taken():
    cities = list(asked)
    asked.clear()
    return cities


def text():
    message = llm.invoke("Hi")
    return {"text": message.text, "outputTokens": message.usage_metadata["output_tokens"]}


def streamed():
    chunks = list(llm.stream("Hi"))
    pieces = [chunk.text for chunk in chunks if chunk.text]
    tokens = sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata)
    return {"text": "".join(pieces), "pieces": len(pieces), "outputTokens": tokens}


def loop():
    """The loop by hand, with strict tools."""
    bound = llm.bind_tools([get_weather], strict=True)
    first = bound.invoke(question)
    results = [
        ToolMessage(content=get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls
    ]
    last = bound.invoke([HumanMessage(question), first, *results])
    return {"asked": taken(), "text": last.text}


def graph():
    agent = create_react_agent(llm, [get_weather])
    messages = agent.invoke({"messages": [HumanMessage(question)]})["messages"]
    return {"asked": taken(), "text": messages[-1].text, "kinds": [message.type for message in messages]}


def streamed_graph():
    agent = create_react_agent(llm, [get_weather])
    text = ""
    for message, _ in agent.stream({"messages": [HumanMessage(question)]}, stream_mode="messages"):
        if message.type in ("ai", "AIMessageChunk"):
            text += message.text
    return {"asked": taken(), "text": text}


def objects():
    kinds = {"jsonSchema": "json_schema", "functionCalling": "function_calling"}
    return {
        name: llm.with_structured_output(Plan, method=method).invoke("Plan a trip.").model_dump()
        for name, method in kinds.items()
    }


found = {
    "text": text(),
    "streamed": streamed(),
    "loop": loop(),
    "graph": graph(),
    "streamedGraph": streamed_graph(),
    "objects": objects(),
}
print(json.dumps(found))
