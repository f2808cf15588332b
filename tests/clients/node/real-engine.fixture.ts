// Drives a gateway with llama.cpp and the synthetic engine behind it by unmodified frameworks: real-engine.fixture.ts URL MODEL
// EMBEDDER. Whatever a small model would say, grammars keep it to. Prints one JSON object.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { tool as langchainTool } from '@langchain/core/tools';
import { createReactAgent } from '@langchain/langgraph/prebuilt';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { Agent, tool as agentTool, OpenAIProvider, Runner, setTracingDisabled } from '@openai/agents';
import { embed, embedMany, generateText, Output, streamText, tool } from 'ai';
import { z } from 'zod';

const [baseURL = '', model = '', embedder = ''] = process.argv.slice(2);
const apiKey = 'none';
const city = z.enum(['Paris', 'Rome', 'Oslo']);
const arguments_ = z.object({ city });
const plan = z.object({ city, days: z.number().int().min(1).max(7) });
const prompt = 'What is the weather in Rome?';
const asked: string[] = [];
const look = async ({ city }: { city: string }): Promise<string> => {
  asked.push(city);
  return `Sunny in ${city}.`;
};

async function aiSdk() {
  const openai = createOpenAI({ baseURL, apiKey });
  const compatible = createOpenAICompatible({ name: 'stator', baseURL, supportsStructuredOutputs: true });
  const common = { prompt, maxRetries: 0, maxOutputTokens: 40, temperature: 0 };
  // A small model may put much white space between the parts of an object.
  const patient = { ...common, maxOutputTokens: 256 };
  const execute = ({ city }: { city: string }): string => `Sunny in ${city}.`;
  const tools = { get_weather: tool({ inputSchema: arguments_, strict: true, execute }) };
  const cities: unknown[] = [];
  const objects: unknown[] = [];
  for (const llm of [openai(model), openai.chat(model), compatible(model)]) {
    const called = await generateText({ ...common, model: llm, tools, toolChoice: 'required' });
    cities.push(...called.toolCalls.map(({ input }) => (input as { city: string }).city));
    objects.push((await generateText({ ...patient, model: llm, output: Output.object({ schema: plan }) })).output);
  }
  const streamed = streamText({ ...common, model: compatible(model), tools });
  for await (const part of streamed.fullStream) if (part.type === 'error') throw part.error;
  const { embedding } = await embed({ model: openai.embedding(embedder), value: 'Rome' });
  const { embeddings } = await embedMany({ model: openai.embedding(embedder), values: ['Rome', 'Oslo'] });
  return { cities, objects, finish: await streamed.finishReason, same: String(embeddings[0]) === String(embedding) };
}

/** A call is forced in the first turn; the SDK then lets the model answer. */
async function agents() {
  setTracingDisabled(true);
  const weather = agentTool({ name: 'get_weather', description: 'Weather.', parameters: arguments_, execute: look });
  const answered: boolean[] = [];
  for (const useResponses of [true, false]) {
    const runner = new Runner({ modelProvider: new OpenAIProvider({ baseURL, apiKey, useResponses }) });
    const modelSettings = { toolChoice: 'required', maxTokens: 30, temperature: 0 } as const;
    const agent = new Agent({ name: 'a', model, tools: [weather], modelSettings });
    answered.push(typeof (await runner.run(agent, prompt, { maxTurns: 8 })).finalOutput === 'string');
  }
  return { asked: asked.splice(0), answered };
}

async function langchain() {
  const settings = { model, apiKey, maxRetries: 0, maxTokens: 256, temperature: 0, configuration: { baseURL } };
  const llm = new ChatOpenAI(settings);
  const object = await llm.withStructuredOutput(plan, { method: 'jsonSchema' }).invoke(prompt);
  const weather = langchainTool(look, { name: 'get_weather', description: 'Weather.', schema: arguments_ });
  const called = await llm.bindTools([weather], { tool_choice: 'get_weather', strict: true }).invoke(prompt);
  const graph = createReactAgent({ llm, tools: [weather] });
  const { messages } = await graph.invoke({ messages: [{ role: 'user', content: prompt }] });
  const vectors = new OpenAIEmbeddings({ model: embedder, apiKey, maxRetries: 0, configuration: { baseURL } });
  const [first, second] = await vectors.embedDocuments(['Rome', 'Oslo']);
  const cities = called.tool_calls?.map(({ args }) => args['city'] as string);
  const dimensions = [first?.length, second?.length, (await vectors.embedQuery('Rome')).length];
  return { object, cities, messages: messages.length, dimensions };
}

const found = { aiSdk: await aiSdk(), agents: await agents(), langchain: await langchain() };
process.stdout.write(`${JSON.stringify(found)}\n`);
