"""Drives the gateway with NVIDIA's NeMo Agent Toolkit and its Dynamo provider, unmodified: nat_client.py URL MODEL QUESTION.
Prints one JSON object."""

import asyncio
import json
import sys

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent
from nat.builder.framework_enum import LLMFrameworkEnum
from nat.builder.workflow_builder import WorkflowBuilder
from nat.llm.dynamo_llm import DynamoModelConfig, DynamoPrefixContext
from nat.runtime.loader import PluginTypes, discover_and_register_plugins

base_url, model, question = sys.argv[1:4]
asked = []


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    asked.append(city)
    return f"Sunny in {city}."


async def main():
    discover_and_register_plugins(PluginTypes.CONFIG_OBJECT)
    config = DynamoModelConfig(
        model_name=model,
        base_url=base_url,
        api_key="none",
        enable_nvext_hints=True,
        nvext_prefix_total_requests=2,
        nvext_prefix_osl="LOW",
        nvext_prefix_iat="HIGH",
    )
    async with WorkflowBuilder() as builder:
        await builder.add_llm("dynamo", config)
        llm = await builder.get_llm("dynamo", wrapper_type=LLMFrameworkEnum.LANGCHAIN)
        agent = create_react_agent(llm, [get_weather])
        with DynamoPrefixContext.scope("conversation-1"):
            messages = (await agent.ainvoke({"messages": [HumanMessage(question)]}))["messages"]
    return {"asked": asked, "text": messages[-1].text}


print(json.dumps(asyncio.run(main())))
