// Cost of preparing prompts: encoding with each library at hand, the prefix cache, rendering with our engine and with the npm one.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Template } from '@huggingface/jinja';
import { Registry } from 'prom-client';
import { compileTemplate } from '#core/chat/template.ts';
import { type Data, dict } from '#core/chat/value.ts';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { createTokenTable } from '#core/tokens/token-table.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import { tokenizerMetrics } from '#services/tokenizer/metrics.ts';
import { SegmentCache } from '#services/tokenizer/segment-cache.ts';
import { packagedCard, packagedFile } from '#services/tokenizer/testing/models.ts';
import { CachedEncoder } from '#services/tokenizer/text-encoder.ts';
import { loadHuggingFace } from '#services/tokenizer/vocabularies/hugging-face.ts';
import type { Vocabulary } from '#services/tokenizer/vocabulary.ts';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '../report.ts';
import { freshChats, freshText } from './texts.ts';

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const calls = quick ? 60 : 600;
  const files = {
    tokenizerJson: packagedFile('qwen3', 'tokenizer.json'),
    tokenizerConfig: packagedFile('qwen3', 'tokenizer_config.json'),
  };
  const vocabulary = await loadHuggingFace(files, packagedCard('qwen3'));
  const rows = [
    ...(await encoding(vocabulary, calls)),
    ...rendering(calls),
    ...(await detokenising(vocabulary, quick ? 200_000 : 5_000_000)),
    hashing(quick ? 20 : 200),
  ];
  return { bench: 'tokenizer', rows };
}

/** Every text is encoded once: all fast tokenizers remember words, so that repeats would measure the memory. */
async function encoding(vocabulary: Vocabulary, calls: number): Promise<BenchRow[]> {
  const plain = (text: string) => vocabulary.encoder.encode(text);
  const script = scriptEncoder();
  const rows: BenchRow[] = [];
  const sizes = [
    { name: 'chat of 60 tokens', texts: freshChats(calls, 1) },
    { name: '1 KB', texts: freshText(calls, 1024, 2) },
    { name: '16 KB', texts: freshText(Math.ceil(calls / 10), 16 * 1024, 3) },
  ];
  for (const { name, texts } of sizes) {
    const half = texts.length >> 1;
    const ours = await microseconds(texts.slice(0, half), plain);
    const anchor = await microseconds(texts.slice(half), async (text) => script(text));
    rows.push(
      benchRow({ line: `encode ${name}: tokenizers (native) vs @lenml/tokenizers (script)`, unit: 'µs', ours, anchor }),
    );
  }
  rows.push(await growingChat(vocabulary, Math.ceil(calls / 10)));
  return rows;
}

/** A conversation of 20 turns whose next turn is encoded, everything before it cached. */
async function growingChat(vocabulary: Vocabulary, calls: number): Promise<BenchRow> {
  const cache = new SegmentCache({ maxBytes: 64 << 20, metrics: tokenizerMetrics(new Registry()) });
  const encoder = new CachedEncoder(vocabulary, cache, 'q');
  const [cold, warm]: [number[], number[]] = [[], []];
  for (let i = 0; i < calls; i++) {
    const turns = freshChats(20, 1000 + i);
    const history = turns.slice(0, 19).join('\n');
    await encoder.encode(history);
    const text = `${history}\n${turns[19]}`;
    warm.push(await elapsedUs(() => encoder.encode(text)));
    cold.push(await elapsedUs(() => vocabulary.encoder.encode(text)));
  }
  const line = 'encode turn 20 of a chat: prefix cache vs none';
  return benchRow({ line, unit: 'µs', ours: median(warm), anchor: median(cold), target: median(cold) });
}

function scriptEncoder(): (text: string) => unknown {
  const { TokenizerLoader } = createRequire(import.meta.url)('@lenml/tokenizers');
  const json = (name: 'tokenizer.json' | 'tokenizer_config.json') =>
    JSON.parse(readFileSync(packagedFile('qwen3', name), 'utf8'));
  const tokenizer = TokenizerLoader.fromPreTrained({
    tokenizerJSON: json('tokenizer.json'),
    tokenizerConfig: json('tokenizer_config.json'),
  });
  return (text) => tokenizer.encode(text, { add_special_tokens: false });
}

function rendering(calls: number): BenchRow[] {
  const source: string = JSON.parse(readFileSync(packagedFile('qwen3', 'tokenizer_config.json'), 'utf8')).chat_template;
  const [ours, library] = [compileTemplate(source), new Template(source)];
  const limits = { now: new Date(0), nowMs: () => performance.now(), maxMs: 10_000, maxOutputLength: 10_000_000 };
  return [1, 101].map((count) => {
    const messages = Array.from({ length: count }, (_, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: `Message ${i}.`,
    }));
    const context = dict({
      messages: messages.map((message) => dict(message)) as Data,
      tools: null,
      add_generation_prompt: true,
    });
    const render = (): string => ours.render(context, limits);
    const renderLibrary = (): string => library.render({ messages, tools: null, add_generation_prompt: true });
    if (render() !== renderLibrary()) throw new Error('the two engines disagree');
    return benchRow({
      line: `render Qwen3's template, ${count} messages: ours vs @huggingface/jinja`,
      unit: 'µs',
      ours: repeated(render, calls),
      anchor: repeated(renderLibrary, calls),
      target: repeated(renderLibrary, calls),
    });
  });
}

function repeated(work: () => unknown, calls: number): number {
  for (let i = 0; i < 200; i++) work();
  const times: number[] = [];
  for (let i = 0; i < calls; i++) {
    const from = performance.now();
    work();
    times.push((performance.now() - from) * 1000);
  }
  return median(times);
}

async function detokenising(vocabulary: Vocabulary, tokens: number): Promise<BenchRow[]> {
  const table = createTokenTable({ ...vocabulary.data, eosTokenIds: [] });
  const ids = await vocabulary.encoder.encode(freshText(1, 64 * 1024, 4).join(''));
  const detokenizer = new Detokenizer(table, { specialTokens: false });
  let length = 0;
  const from = performance.now();
  for (let i = 0; i < tokens; i++) length += detokenizer.push(ids[i % ids.length] ?? 0).length;
  const ours = ((performance.now() - from) * 1000) / tokens;
  if (length === 0) throw new Error('nothing was decoded');
  return [benchRow({ line: 'detokenise a token', unit: 'µs', ours, target: 0.5 })];
}

function hashing(calls: number): BenchRow {
  const ids = Uint32Array.from({ length: 131_072 }, (_, i) => i * 7919);
  const perCall = repeated(() => hashBlocks(ids, 64, { cacheSalt: '', adapter: '' }), calls);
  return benchRow({ line: 'hash the blocks of 131072 tokens', unit: 'µs', ours: perCall, target: 1000 });
}

async function microseconds(texts: readonly string[], encode: (text: string) => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (const text of texts) times.push(await elapsedUs(() => encode(text)));
  return median(times);
}

async function elapsedUs(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return (performance.now() - from) * 1000;
}
