// Drives the gateway with the OpenAI Agents SDK, unmodified: openai-agents.fixture.ts URL MODEL API QUESTION, where API is chat
// or responses. Prints one JSON object.
import { Agent, OpenAIProvider, Runner, setTracingDisabled, tool } from '@openai/agents';
import { z } from 'zod';

const [baseURL = '', model = '', api = '', question = ''] = process.argv.slice(2);
setTracingDisabled(true);
const modelProvider = new OpenAIProvider({ baseURL, apiKey: 'none', useResponses: api === 'responses' });
const runner = new Runner({ modelProvider });

const asked: string[] = [];
// Zod parameters make a tool strict, as the SDK's own examples have it.
const weather = tool({
  name: 'get_weather',
  description: 'The weather of a city.',
  parameters: z.object({ city: z.string(), unit: z.enum(['C', 'F']).nullable().optional() }),
  execute: async ({ city }) => {
    asked.push(city);
    return `Sunny in ${city}.`;
  },
});
const instructions = 'You answer questions about the weather.';
const meteorologist = new Agent({ name: 'meteorologist', model, instructions, tools: [weather] });

async function loop() {
  const result = await runner.run(meteorologist, question);
  const items = result.newItems.map(({ type }) => type);
  return { asked: asked.splice(0), text: result.finalOutput, items, outputTokens: result.state.usage.outputTokens };
}

async function streamedLoop() {
  const result = await runner.run(meteorologist, question, { stream: true });
  const kinds = new Set<string>();
  let text = '';
  for await (const event of result) {
    kinds.add(event.type);
    if (event.type !== 'raw_model_stream_event') continue;
    if (event.data.type === 'output_text_delta') text += event.data.delta;
  }
  await result.completed;
  return { asked: asked.splice(0), text, kinds: [...kinds] };
}

async function object() {
  const outputType = z.object({ city: z.string(), days: z.number().int() });
  const result = await runner.run(new Agent({ name: 'planner', model, instructions, outputType }), 'Plan a trip.');
  return result.finalOutput;
}

async function handoff() {
  const triage = new Agent({ name: 'triage', model, instructions: 'You hand over.', handoffs: [meteorologist] });
  const result = await runner.run(triage, 'Call transfer_to_meteorologist.');
  return { last: result.lastAgent?.name, text: result.finalOutput };
}

async function second() {
  const first = await runner.run(meteorologist, 'Hi');
  const history = [...first.history, { role: 'user' as const, content: question }];
  const byHistory = await runner.run(meteorologist, history);
  asked.splice(0);
  if (api !== 'responses') return { byHistory: byHistory.finalOutput, byId: byHistory.finalOutput };
  const previousResponseId = first.lastResponseId;
  if (previousResponseId === undefined) throw new Error('the response has no id');
  const byId = await runner.run(meteorologist, question, { previousResponseId });
  return { byHistory: byHistory.finalOutput, byId: byId.finalOutput };
}

const found = {
  loop: await loop(),
  streamedLoop: await streamedLoop(),
  object: await object(),
  handoff: await handoff(),
  second: await second(),
};
process.stdout.write(`${JSON.stringify(found)}\n`);
