"""Drives the gateway with the OpenAI Agents SDK, unmodified: openai_agents.py URL MODEL API QUESTION. Prints one JSON object."""

import asyncio
import json
import sys

from agents import Agent, OpenAIProvider, RunConfig, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

base_url, model, api, question = sys.argv[1:5]
set_tracing_disabled(True)
client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
config = RunConfig(model_provider=OpenAIProvider(openai_client=client, use_responses=api == "responses"))
asked = []


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    asked.append(city)
    return f"Sunny in {city}."


class Plan(BaseModel):
    city: str
    days: int


instructions = "You answer questions about the weather."
meteorologist = Agent(name="meteorologist", model=model, instructions=instructions, tools=[get_weather])


def taken():
    cities = list(asked)
    asked.clear()
    return cities


async def loop():
    result = await Runner.run(meteorologist, question, run_config=config)
    items = [item.type for item in result.new_items]
    tokens = result.context_wrapper.usage.output_tokens
    return {"asked": taken(), "text": result.final_output, "items": items, "outputTokens": tokens}


async def streamed_loop():
    result = Runner.run_streamed(meteorologist, question, run_config=config)
    text, kinds = "", set()
    async for event in result.stream_events():
        kinds.add(event.type)
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            text += event.data.delta
    return {"asked": taken(), "text": text, "kinds": sorted(kinds)}


async def typed():
    planner = Agent(name="planner", model=model, instructions=instructions, output_type=Plan)
    return (await Runner.run(planner, "Plan a trip.", run_config=config)).final_output.model_dump()


async def handoff():
    triage = Agent(name="triage", model=model, instructions="You hand over.", handoffs=[meteorologist])
    result = await Runner.run(triage, "Call transfer_to_meteorologist.", run_config=config)
    return {"last": result.last_agent.name, "text": result.final_output}


async def second():
    first = await Runner.run(meteorologist, "Hi", run_config=config)
    history = [*first.to_input_list(), {"role": "user", "content": question}]
    by_history = await Runner.run(meteorologist, history, run_config=config)
    by_id = by_history
    if api == "responses":
        earlier = first.last_response_id
        by_id = await Runner.run(meteorologist, question, run_config=config, previous_response_id=earlier)
    asked.clear()
    return {"byHistory": by_history.final_output, "byId": by_id.final_output}


async def main():
    return {
        "loop": await loop(),
        "streamedLoop": await streamed_loop(),
        "object": await typed(),
        "handoff": await handoff(),
        "second": await second(),
    }


print(json.dumps(asyncio.run(main())))
