import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { pino } from 'pino';
import { gemmaCall } from '#core/grammar/calls/gemma.ts';
import { kimiCalls } from '#core/grammar/calls/kimi-k3.ts';
import { minimaxCalls } from '#core/grammar/calls/minimax-m3.ts';
import { pythonicList } from '#core/grammar/calls/pythonic.ts';
import { GbnfMatcher } from '#core/grammar/testing/matcher.ts';
import {
  FinishReason,
  GenerateRequestSchema,
  type GuidedDecoding,
  GuidedDecodingSchema,
} from '#gen/stator/engine/v1/generate_pb.ts';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import type { Finished, StepBatch } from '../common/engine.ts';
import { LlamacppEngine } from './engine.ts';
import { guidedGrammar } from './grammar.ts';
import { defaultOptions } from './options.ts';

type Constraint = Exclude<GuidedDecoding['constraint'], { case: undefined }>;

const schema = (value: unknown): Constraint => ({ case: 'jsonSchema', value: JSON.stringify(value) });
const tag = (format: unknown): Constraint => ({
  case: 'structuralTag',
  value: JSON.stringify({ type: 'structural_tag', format }),
});
const integer = { type: 'json_schema', json_schema: { type: 'integer', minimum: 10, maximum: 99 } };
const call = { type: 'tag', begin: '<tool_call>{"n": ', content: integer, end: '}</tool_call>' };

const tools = [
  {
    name: 'f',
    strict: true,
    parameters: {
      type: 'object',
      properties: {
        'from-date': { type: 'string', format: 'date' },
        unit: { type: ['string', 'null'], enum: ["it's", 'é"', null] },
        list: { type: 'array', items: { type: 'boolean' }, minItems: 1, maxItems: 2 },
      },
      required: ['from-date', 'unit', 'list'],
    },
  },
];

const constraints: Readonly<Record<string, Constraint>> = {
  'numbers within bounds': schema({ type: 'number', minimum: -2.5, exclusiveMaximum: 17.25 }),
  'strings of a format': schema({ type: 'string', format: 'date-time' }),
  'strings of a pattern': schema({ type: 'string', pattern: '^[^"\\\\-\\]x]{2}"\\n[\\u00e9日-本😀]$' }),
  'choices of any script': schema({ enum: ['é"\\\n', '日本', 'a-b]^'] }),
  'objects with optional members': schema({
    type: 'object',
    properties: { a: { type: 'boolean' }, 'b"': { type: 'null' } },
    minProperties: 0,
  }),
  'a recursive schema': schema({
    type: 'object',
    properties: { n: { anyOf: [{ $ref: '#' }, { type: 'null' }] } },
    required: ['n'],
  }),
  multiples: schema({ type: 'integer', multipleOf: 25 }),
  'a regular expression': { case: 'regex', value: '(?:[A-F]{2}-){2}\\d+(?:\\.\\d\\d)?' },
  choices: { case: 'choice', value: { $typeName: 'stator.engine.v1.Choices', choices: ['"yes"', 'no\t'] } },
  'an answer after thoughts, or at once': tag({
    type: 'or',
    elements: [
      {
        type: 'sequence',
        elements: [{ type: 'tag', begin: '<think>', content: { type: 'any_text' }, end: '</think>' }, integer],
      },
      integer,
    ],
  }),
  'text with calls': tag({ type: 'triggered_tags', triggers: ['<tool_call>'], tags: [call] }),
  'a call and nothing else': tag({
    type: 'tags_with_separator',
    tags: [call],
    separator: '\n',
    at_least_one: true,
    stop_after_first: true,
  }),
  'a grammar inside of a tag': tag({
    type: 'tag',
    begin: '[',
    content: { type: 'grammar', grammar: 'root ::= word (" " word)? # two\nword ::= [a-z"]{1,3}' },
    end: ']',
  }),
  'calls as Gemma 4, Llama 4, MiniMax M3 or Kimi K3 write them': tag({
    type: 'or',
    elements: [gemmaCall(tools), pythonicList(tools, false), minimaxCalls(tools, false), kimiCalls(tools, false)].map(
      (grammar) => ({ type: 'grammar', grammar }),
    ),
  }),
};

describe(`llamacpp worker: constraints in the engine${skippedBecause}`, function () {
  this.timeout(120_000);
  let engine: LlamacppEngine;
  let cacheDir: string;
  let onStep: (step: StepBatch) => void = () => {};

  before(async function () {
    if (smolLm2 === undefined) return this.skip();
    cacheDir = mkdtempSync(path.join(os.tmpdir(), 'stator-digests-'));
    const sizes = { contextLength: 256, kvTokens: 512, threads: 1, maxSequences: 1, flashAttention: false };
    engine = new LlamacppEngine(
      { ...defaultOptions, ...sizes, modelPath: smolLm2, cacheDir },
      pino({ level: 'silent' }),
    );
    const onFatal = (error: Error): never => {
      throw error;
    };
    await engine.start({ onStep: (step) => onStep(step), onFatal }, { signal: new AbortController().signal });
  });

  after(async () => {
    await engine?.stop();
    if (cacheDir !== undefined) rmSync(cacheDir, { recursive: true });
  });

  let next = 1;

  /** What the model says under a constraint, and whether it came to its end. */
  async function generate(constraint: Constraint, seed: bigint): Promise<{ text: string; ended: boolean }> {
    const handle = next++;
    const tokens: number[] = [];
    const finished = new Promise<Finished>((resolve) => {
      onStep = (step) => {
        for (const [entry, of] of step.handles.entries()) if (of === handle) tokens.push(step.tokenIds[entry] ?? 0);
        for (const end of step.finished) if (end.handle === handle) resolve(end);
      };
    });
    const tokenIds = [...(engine.text.encode?.('Say something: ') ?? [])];
    const request = create(GenerateRequestSchema, {
      tokenIds,
      sampling: { temperature: 1.5, seed },
      stop: { maxTokens: 40 },
      guided: { constraint },
    });
    engine.submit(handle, request);
    const { reason } = await finished;
    const { data, offsets } = engine.text.table;
    const text = Buffer.concat(tokens.map((token) => data.subarray(offsets[token], offsets[token + 1]))).toString();
    return { text, ended: reason === FinishReason.STOP };
  }

  for (const [name, constraint] of Object.entries(constraints)) {
    it(`keeps to ${name}`, async () => {
      const matcher = new GbnfMatcher(guidedGrammar(create(GuidedDecodingSchema, { constraint })));
      for (const seed of [1n, 2n]) {
        const { text, ended } = await generate(constraint, seed);
        if (ended) expect(matcher.matches(text), text).to.equal(true);
        else expect(text).to.not.equal('');
      }
    });
  }
});
