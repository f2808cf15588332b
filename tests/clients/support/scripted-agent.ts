import { decodeBytes } from '#gateway/testing/byte-tokenizer.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { type ScriptedSequence, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { hermesCall, toolCard } from '#gateway/testing/tool-chats.ts';

/** What the model calls `get_weather` for. */
export const question = 'What is the weather in Paris?';
/** What the model says to anything else. */
export const hello = 'Hello from the model.';
/** What the model answers once it has seen the tool's result. */
export const answer = 'It is sunny in Paris.';
export const thought = 'The tool knows.';
/** What a forced format is answered with. */
export const forecast = { city: 'Paris', days: 3 };

export interface ScriptedAgent extends AsyncDisposable {
  readonly gateway: Harness;
  readonly worker: ScriptedWorker;
  /** Base URL of the OpenAI APIs. */
  readonly url: string;
  readonly model: string;
}

/**
 * The real gateway in front of a model that plays an agent's part, in the markup of Qwen 3: it thinks and calls
 * `get_weather`, or what "Call NAME." says, and answers once a result is in the prompt. Constraints are kept to as an engine would.
 */
export async function startScriptedAgent(): Promise<ScriptedAgent> {
  const gateway = await startHarness();
  const worker = new ScriptedWorker((sequence) => void say(sequence, saidBy(sequence)));
  const card = toolCard();
  if (card.capabilities !== undefined) card.capabilities.keepsPrompts = true;
  gateway.addWorker(1n, worker, card);
  return {
    gateway,
    worker,
    url: `${gateway.url}/v1`,
    model: 'test-model',
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

function saidBy(sequence: ScriptedSequence): string {
  const prompt = decodeBytes(sequence.request.tokenIds);
  const schema = schemaOf(sequence.request.guided?.constraint);
  if (schema !== null) return JSON.stringify(forced(schema));
  if (prompt.includes('<tool>')) return `<think>Now I know.</think>${answer}`;
  const called = /Call (\w+)\./.exec(prompt)?.[1];
  if (called !== undefined) return hermesCall(called, {});
  if (!prompt.includes(question)) return hello;
  return `<think>${thought}</think>${hermesCall('get_weather', { city: 'Paris' })}`;
}

type Constraint = NonNullable<ScriptedSequence['request']['guided']>['constraint'];

interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

/** The schema of the whole answer, at once or after reasoning; null: text is free, whatever calls in it must keep to. */
function schemaOf(guided: Constraint | undefined): JsonSchema | null {
  if (guided?.case === 'jsonSchema') return JSON.parse(guided.value) as JsonSchema;
  if (guided?.case !== 'structuralTag' || guided.value.includes('triggered_tags')) return null;
  let found: JsonSchema | null = null;
  JSON.parse(guided.value, (key, value: JsonSchema) => {
    if (key === 'json_schema') found = value;
    return value;
  });
  return found;
}

/** Something that keeps to a schema: forced calls are a list of names and parameters. */
function forced(schema: JsonSchema, name = ''): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  if (schema.anyOf !== undefined) return forced(schema.anyOf[0] ?? {}, name);
  if (schema.type === 'array') return [forced(schema.items ?? {}, name)];
  if (schema.type !== 'object') return (forecast as Readonly<Record<string, unknown>>)[name] ?? name;
  const members = Object.entries(schema.properties ?? {});
  return Object.fromEntries(members.map(([key, value]) => [key, forced(value, key)]));
}

/** Gives the event loop a turn between pieces, so that they are streamed one by one. */
async function say(sequence: ScriptedSequence, text: string): Promise<void> {
  sequence.prefilled();
  for (const piece of text.match(/.{1,6}/gs) ?? []) {
    await new Promise((resolve) => setImmediate(resolve));
    if (sequence.cancelled) return;
    sequence.tokens(piece);
  }
  if (!sequence.cancelled) sequence.finish();
}
