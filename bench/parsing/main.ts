// Cost of splitting an answer into content, reasoning and calls, a token at a time as they are generated.
import { create } from '@bufbuild/protobuf';
import type { OutputSink } from '#core/parsing/context.ts';
import { cases } from '#core/parsing/testing/cases.ts';
import { createParser, type Setup } from '#core/parsing/testing/collect.ts';
import { renderDelta } from '#gateway/output/chat-parts.ts';
import { formatsOf } from '#gateway/parsing/formats.ts';
import { createAnswerParser } from '#gateway/parsing/wishes.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow } from '../report.ts';

/** Units of a token: about what vocabularies of 100 000 and more tokens reach in English. */
const tokenLength = 4;
/** Units of an answer, over which the cost of its parser's making is spread. */
const answerLength = 4000;
const prose = 'The quick brown fox jumps over the lazy dog, and (as 3 < 4) nobody minds; "really", it said.\n'.repeat(
  12,
);

/** As of one model's card, for which they are found once. */
const formats = formatsOf(create(ModelCardSchema, { toolCallParser: 'hermes', reasoningParser: 'qwen3' }));

class Counter implements OutputSink {
  units = 0;
  content(text: string): void {
    this.units += text.length;
  }
  reasoning(text: string): void {
    this.units += text.length;
  }
  callStart(_index: number, name: string): void {
    this.units += name.length;
  }
  callArguments(_index: number, json: string): void {
    this.units += json.length;
  }
  callEnd(): void {
    this.units++;
  }
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const tokens = quick ? 20_000 : 400_000;
  const rows: BenchRow[] = [];
  const seen = new Set<string>();
  for (const { setup, text, calls } of cases) {
    if (setup.choice !== undefined) continue;
    const name = setup.tool ?? setup.reasoning;
    // One case of each format: the first that its model could have written.
    if (name === undefined || seen.has(name) || (setup.tool !== undefined && calls === undefined)) continue;
    seen.add(name);
    const answer = text.repeat(Math.ceil(answerLength / text.length));
    const kind = setup.tool === undefined ? 'reasoning' : 'calls';
    rows.push(row(`${kind} ${name}: its markup over and over`, setup, answer, tokens));
  }
  rows.push(row('prose: hermes and basic', { tool: 'hermes', reasoning: 'basic' }, prose, tokens));
  const long = `<tool_call>{"name":"f","arguments":{"text":${JSON.stringify(prose.repeat(8))}}}</tool_call>`;
  rows.push(row('a call with 9 KB of arguments: hermes', { tool: 'hermes' }, long, tokens));
  const code = `<tool_call><function=f><parameter=t>${prose.repeat(8)}</parameter></function></tool_call>`;
  rows.push(row('a call with 9 KB of arguments: qwen3_coder', { tool: 'qwen3_coder' }, code, tokens));
  rows.push(sentRow('prose on its way to the client', prose, tokens));
  rows.push(sentRow('a 9 KB call on its way to the client', long, tokens));
  return { bench: 'parsing', rows };
}

function row(line: string, setup: Setup, text: string, tokens: number): BenchRow {
  const pieces = text.match(new RegExp(`[\\s\\S]{1,${tokenLength}}`, 'g')) ?? [];
  const answers = Math.ceil(tokens / pieces.length);
  parse(setup, pieces, answers);
  const rounds = [1, 2, 3, 4, 5, 6, 7].map(() => {
    const from = performance.now();
    parse(setup, pieces, answers);
    return ((performance.now() - from) * 1000) / (answers * pieces.length);
  });
  // The round that other work on the machine disturbed least.
  return benchRow({ line, unit: 'µs per token', ours: Math.min(...rounds), target: 1 });
}

/** What the gateway does with a token of a chat: parses it and writes the delta of a chunk. */
function sentRow(line: string, text: string, tokens: number): BenchRow {
  const pieces = text.match(new RegExp(`[\\s\\S]{1,${tokenLength}}`, 'g')) ?? [];
  const answers = Math.ceil(tokens / pieces.length);
  const rounds = [1, 2, 3, 4, 5, 6, 7].map(() => {
    const from = performance.now();
    for (let i = 0; i < answers; i++) send(pieces);
    return ((performance.now() - from) * 1000) / (answers * pieces.length);
  });
  return benchRow({ line, unit: 'µs per token', ours: Math.min(...rounds), target: 1 });
}

function send(pieces: readonly string[]): void {
  const options = { tools: [], parallelToolCalls: true, structured: false, showReasoning: true, fillsContent: false };
  const wishes = {
    ...options,
    formats,
    toolChoice: { mode: 'auto' },
    thinking: null,
    continuesReasoning: null,
  } as const;
  const parser = createAnswerParser(wishes, 'format');
  let written = 0;
  const take = (): void => {
    for (const part of parser.take()) written += renderDelta(part, 'both').length;
  };
  for (const piece of pieces) {
    parser.push(piece);
    take();
  }
  parser.finish();
  take();
  if (written === 0) throw new Error('nothing was sent');
}

function parse(setup: Setup, pieces: readonly string[], answers: number): void {
  const counter = new Counter();
  for (let i = 0; i < answers; i++) {
    const parser = createParser(setup, counter);
    for (const piece of pieces) parser.push(piece);
    parser.finish();
  }
  if (counter.units === 0 && answers > 0) throw new Error('nothing was parsed');
}
