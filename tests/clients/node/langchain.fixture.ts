// Drives the gateway with LangChain and LangGraph, unmodified: langchain.fixture.ts URL MODEL API QUESTION, where API is chat or
// responses. Prints one JSON object.
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { createReactAgent } from '@langchain/langgraph/prebuilt';
import { ChatOpenAI } from '@langchain/openai';
import { z } from 'zod';

const [baseURL = '', model = '', api = '', question = ''] = process.argv.slice(2);
const settings = { model, apiKey: 'none', maxRetries: 0, useResponsesApi: api === 'responses' };
const llm = new ChatOpenAI({ ...settings, configuration: { baseURL } });

const asked: string[] = [];
const weather = tool(
  ({ city }: { city: string }) => {
    asked.push(city);
    return `Sunny in ${city}.`;
  },
  { name: 'get_weather', description: 'The weather of a city.', schema: z.object({ city: z.string() }) },
);

function outputTokensOf(message: { usage_metadata?: unknown }): number {
  return (message.usage_metadata as { output_tokens?: number } | undefined)?.output_tokens ?? 0;
}

async function text() {
  const message = await llm.invoke('Hi');
  return { text: message.text, outputTokens: outputTokensOf(message) };
}

async function streamed() {
  const pieces: string[] = [];
  let outputTokens = 0;
  for await (const chunk of await llm.stream('Hi')) {
    if (chunk.text !== '') pieces.push(chunk.text);
    outputTokens += outputTokensOf(chunk);
  }
  return { text: pieces.join(''), pieces: pieces.length, outputTokens };
}

/** The loop by hand, with strict tools. */
async function loop() {
  const bound = llm.bindTools([weather], { strict: true });
  const first = await bound.invoke(question);
  const results = [];
  for (const call of first.tool_calls ?? []) {
    const content = String(await weather.invoke(call.args as { city: string }));
    results.push(new ToolMessage({ content, tool_call_id: call.id ?? '' }));
  }
  const last = await bound.invoke([new HumanMessage(question), first, ...results]);
  return { asked: asked.splice(0), text: last.text };
}

async function graph() {
  const agent = createReactAgent({ llm, tools: [weather] });
  const { messages } = await agent.invoke({ messages: [new HumanMessage(question)] });
  return { asked: asked.splice(0), text: messages.at(-1)?.text, kinds: messages.map((message) => message.type) };
}

async function streamedGraph() {
  const agent = createReactAgent({ llm, tools: [weather] });
  let text = '';
  const stream = await agent.stream({ messages: [new HumanMessage(question)] }, { streamMode: 'messages' });
  for await (const [message] of stream) if (message.type === 'ai') text += message.text;
  return { asked: asked.splice(0), text };
}

async function objects() {
  const schema = z.object({ city: z.string(), days: z.number().int() });
  return {
    jsonSchema: await llm.withStructuredOutput(schema, { method: 'jsonSchema' }).invoke('Plan a trip.'),
    functionCalling: await llm.withStructuredOutput(schema, { method: 'functionCalling' }).invoke('Plan a trip.'),
  };
}

const found = {
  text: await text(),
  streamed: await streamed(),
  loop: await loop(),
  graph: await graph(),
  streamedGraph: await streamedGraph(),
  objects: await objects(),
};
process.stdout.write(`${JSON.stringify(found)}\n`);
