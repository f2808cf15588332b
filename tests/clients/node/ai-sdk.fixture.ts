// Drives the gateway with the Vercel AI SDK, unmodified: ai-sdk.fixture.ts URL MODEL PROVIDER QUESTION. Prints one JSON object.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateObject, generateText, isStepCount, type LanguageModel, Output, streamText, tool } from 'ai';
import { z } from 'zod';

const [baseURL = '', name = '', provider = '', question = ''] = process.argv.slice(2);
const providers: Readonly<Record<string, () => LanguageModel>> = {
  'openai responses': () => createOpenAI({ baseURL, apiKey: 'none' })(name),
  'openai chat': () => createOpenAI({ baseURL, apiKey: 'none' }).chat(name),
  'openai-compatible': () =>
    createOpenAICompatible({ name: 'stator', baseURL, supportsStructuredOutputs: true, includeUsage: true })(name),
  anthropic: () => createAnthropic({ baseURL, apiKey: 'none' })(name),
};
const model = providers[provider]?.();
if (model === undefined) throw new Error(`there is no provider ${provider}`);

const common = { model, maxRetries: 0, maxOutputTokens: 300 };
const schema = z.object({ city: z.string(), days: z.number().int() });
const asked: string[] = [];
const tools = {
  get_weather: tool({
    description: 'The weather of a city.',
    inputSchema: z.object({ city: z.string() }),
    strict: true,
    execute: ({ city }) => {
      asked.push(city);
      return `Sunny in ${city}.`;
    },
  }),
};

async function text() {
  const { text, finishReason, usage } = await generateText({ ...common, prompt: 'Hi' });
  return { text, finishReason, outputTokens: usage.outputTokens };
}

async function streamed() {
  const result = streamText({ ...common, prompt: 'Hi' });
  const pieces: string[] = [];
  for await (const piece of result.textStream) pieces.push(piece);
  const { outputTokens } = await result.usage;
  return { text: pieces.join(''), pieces: pieces.length, finishReason: await result.finishReason, outputTokens };
}

async function loop() {
  const providerOptions = { openai: { reasoningSummary: 'auto', forceReasoning: true } };
  const result = await generateText({ ...common, prompt: question, tools, providerOptions, stopWhen: isStepCount(4) });
  const [first] = result.steps;
  return {
    asked: asked.splice(0),
    text: result.text,
    reasoning: first?.reasoningText,
    finishReasons: result.steps.map(({ finishReason }) => finishReason),
  };
}

async function streamedLoop() {
  const result = streamText({ ...common, prompt: question, tools, stopWhen: isStepCount(4) });
  const kinds = new Set<string>();
  for await (const part of result.fullStream) {
    if (part.type === 'error') throw part.error;
    kinds.add(part.type);
  }
  return { asked: asked.splice(0), text: await result.text, kinds: [...kinds] };
}

async function objects() {
  const { object } = await generateObject({ ...common, schema, prompt: 'Plan a trip.' });
  const { output } = await generateText({ ...common, output: Output.object({ schema }), prompt: 'Plan a trip.' });
  return { object, output };
}

async function forced() {
  const toolChoice = { type: 'tool', toolName: 'get_weather' } as const;
  const { toolCalls } = await generateText({ ...common, prompt: 'Anything.', tools, toolChoice });
  asked.splice(0);
  return toolCalls.map(({ toolName, input }) => ({ toolName, input }));
}

const found = {
  text: await text(),
  streamed: await streamed(),
  loop: await loop(),
  streamedLoop: await streamedLoop(),
  objects: await objects(),
  forced: await forced(),
};
process.stdout.write(`${JSON.stringify(found)}\n`);
