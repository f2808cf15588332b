import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { ToolSchema } from '#core/parsing/context.ts';
import { findReasoningFormat, findToolFormat } from '#core/parsing/registry.ts';
import { AnswerParser } from '#gateway/parsing/answer-parser.ts';
import { foldParts } from '#gateway/parsing/parts.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { type Failure, failure, judgeAnswer, parsed } from './judge.ts';
import type { Observed } from './observed.ts';
import type { ProbeResult } from './snapshot.ts';
import { type WrittenAnswer, writers } from './writers.ts';

const call = z.strictObject({ name: z.string(), arguments: z.unknown() });

const recording = z.strictObject({
  model: z.string().default('recorded'),
  name: z.string(),
  toolParser: z.string().default('none'),
  reasoningParser: z.string().default('none'),
  tools: z.array(z.strictObject({ name: z.string(), parameters: z.unknown().optional() })).default([]),
  /** The model's output, special tokens included. */
  text: z.string(),
  content: z.string().default(''),
  reasoning: z.string().default(''),
  calls: z.array(call).default([]),
});

/** A model's output and what must be read from it. */
export type Recording = z.infer<typeof recording>;

/** Throws StatorError where a file holds no recordings. */
export async function readRecordings(file: string): Promise<Recording[]> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw StatorError.invalid('recording', `${file} cannot be read as JSON.`, { cause });
  }
  const found = z.array(recording).safeParse(value);
  if (found.success) return found.data;
  const [issue] = found.error.issues;
  throw StatorError.invalid('recording', `${file} holds no recordings: ${issue?.path.join('.')}: ${issue?.message}`);
}

const tools: readonly ToolSchema[] = [
  {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } } },
  },
  { name: 'get_time', parameters: { type: 'object', properties: {} } },
];
const paris = { name: 'get_weather', args: { city: 'Paris', days: 3 } };
const answers: Readonly<Record<string, WrittenAnswer>> = {
  text: { text: 'Hello, it is 5 < 6.', calls: [] },
  'reasoning and text': { thought: 'Let me see.', text: 'It is 7.', calls: [] },
  call: { calls: [paris] },
  'call without arguments': { calls: [{ name: 'get_time', args: {} }] },
  'two calls': { calls: [paris, { name: 'get_weather', args: { city: 'Rome', days: 1 } }] },
  'reasoning and call': { thought: 'I need the weather.', calls: [paris] },
  'reasoning, text and call': { thought: 'I need it.', text: 'Looking it up.', calls: [paris] },
  'quotes and other scripts': {
    calls: [{ name: 'get_weather', args: { city: 'Zürich "Süd" \\ 東京 😀\nline', days: 1 } }],
  },
  'markup in an argument': {
    calls: [{ name: 'get_weather', args: { city: 'a </tool_call> <think> [TOOL_CALLS] b', days: 1 } }],
  },
};

/** One output of each kind for each format of calls. */
export function builtInRecordings(): Recording[] {
  return writers.flatMap((writer) =>
    Object.entries(answers).flatMap(([name, answer]): Recording[] => {
      // Calls without markers are known by where they stand: in front.
      if (answer.text !== undefined && answer.calls.length > 0 && ['llama3_json', 'pythonic'].includes(writer.tool))
        return [];
      return [
        {
          model: 'recorded',
          name,
          toolParser: writer.tool,
          reasoningParser: writer.reasoning,
          tools: tools.map((tool) => ({ name: tool.name, parameters: tool.parameters })),
          text: writer.write(answer),
          content: answer.text ?? '',
          reasoning: answer.thought ?? '',
          calls: answer.calls.map((made) => ({ name: made.name, arguments: made.args })),
        },
      ];
    }),
  );
}

/** Reads a recording whole and letter by letter. */
export function probeRecording(one: Recording): ProbeResult[] {
  return [false, true].map((streamed) => {
    const found = judge(one, streamed ? [...one.text] : [one.text]);
    const parser = `${one.toolParser}+${one.reasoningParser}`;
    const base = { model: one.model, parser, probe: one.name, mode: 'recorded', streamed };
    return found === null
      ? { ...base, outcome: 'pass', class: null, detail: '' }
      : { ...base, outcome: 'fail', class: found.class, detail: found.detail };
  });
}

function judge(one: Recording, pieces: readonly string[]): Failure | null {
  const answer = read(one, pieces);
  const { calls } = answer;
  if (one.calls.length !== calls.length)
    return failure('arguments', `${calls.length} calls instead of ${one.calls.length}`);
  for (const [index, made] of one.calls.entries()) {
    const got = calls[index];
    if (got?.name !== made.name || JSON.stringify(parsed(got.arguments)) !== JSON.stringify(made.arguments)) {
      return failure(
        'arguments',
        `${got?.name} ${got?.arguments} instead of ${made.name} ${JSON.stringify(made.arguments)}`,
      );
    }
  }
  if (answer.reasoning.trim() !== one.reasoning.trim())
    return failure('reasoning', `reasoning ${JSON.stringify(answer.reasoning)}`);
  if (answer.content.trim() === one.content.trim()) return null;
  return judgeAnswer(answer) ?? failure('reasoning', `content ${JSON.stringify(answer.content)}`);
}

function read(one: Recording, pieces: readonly string[]): Observed {
  const parser = new AnswerParser({
    toolFormat: formatNamed(one.toolParser, findToolFormat),
    reasoningFormat: formatNamed(one.reasoningParser, findReasoningFormat),
    tools: one.tools.map(({ name, parameters }) => ({ name, ...(parameters === undefined ? {} : { parameters }) })),
    toolChoice: { mode: one.tools.length === 0 ? 'none' : 'auto' },
    parallelToolCalls: true,
    // An answer without thoughts is of a request that switched them off.
    reasoningStart: one.reasoning === '' ? 'content' : 'format',
    structured: false,
    showReasoning: true,
    fillsContent: false,
  });
  for (const piece of pieces) parser.push(piece);
  parser.finish();
  const { content, reasoning, calls } = foldParts(parser.take());
  return { content, reasoning, calls, finish: calls.length > 0 ? 'tool_calls' : 'stop', faults: [] };
}

function formatNamed<T>(name: string, find: (name: string) => T | undefined): T | null {
  if (name === 'none') return null;
  const format = find(name);
  if (format === undefined) throw StatorError.invalid('recording', `There is no parser ${name}.`);
  return format;
}
