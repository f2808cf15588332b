import { expect } from 'chai';
import fc from 'fast-check';
import type { ErrorBody } from '../testing/answers.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { nvext } from './schemas/nvext.ts';

/** The same requests each time. */
const seed = 20_261_121;

const fields = [
  'model',
  'messages',
  'prompt',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'n',
  'max_tokens',
  'max_completion_tokens',
  'min_tokens',
  'stop',
  'stop_token_ids',
  'stream',
  'stream_options',
  'logprobs',
  'top_logprobs',
  'logit_bias',
  'seed',
  'tools',
  'tool_choice',
  'response_format',
  'guided_json',
  'guided_choice',
  'guided_grammar',
  'chat_template_kwargs',
  'thinking',
  'reasoning_effort',
  'nvext',
  'user',
  'metadata',
  'echo',
  'best_of',
  'input',
  'dimensions',
  'encoding_format',
  '__proto__',
  'constructor',
  'functions',
  'prompt_logprobs',
  'continue_final_message',
  'add_generation_prompt',
  'system',
  'stop_sequences',
  'output_config',
  'cache_control',
  'instructions',
  'previous_response_id',
  'background',
  'store',
  'text',
  'reasoning',
  'include',
  'truncation',
  'text_1',
  'documents',
  'tokens',
] as const; // prettier-ignore

const innerFields = [
  'priority',
  'osl',
  'latency_sensitivity',
  'required_taints',
  'preferred_taints',
  'allowed_worker_ids',
  'mode',
  'temperature',
  'ttft_target',
  'session_id',
  'action',
  'type',
  'url',
  '__proto__',
] as const; // prettier-ignore

const headerNames = [
  'x-dynamo-worker-instance-id',
  'x-stator-prefill-instance-id',
  'x-data-parallel-rank',
  'x-prefill-dp-rank',
  'x-dynamo-request-priority',
  'x-dynamo-request-strict-priority',
  'x-tenant-id',
  'x-dynamo-session-id',
  'x-claude-code-agent-id',
  'x-dynamo-session-final',
  'x-dynamo-meta-policy-class',
  'x-dynamo-meta-__proto__',
  'x-stator-meta-',
  'x-stator-timeout-ms',
] as const; // prettier-ignore

const user = { role: 'user', content: 'Hi' };
const bases: readonly (readonly [string, object])[] = [
  ['/v1/chat/completions', { model: 'test-model', messages: [user], max_tokens: 4 }],
  ['/v1/completions', { model: 'test-model', prompt: 'Hi', max_tokens: 4 }],
  ['/v1/embeddings', { model: 'test-model', input: 'Hi' }],
  ['/v1/messages', { model: 'test-model', messages: [user], max_tokens: 4 }],
  ['/v1/messages/count_tokens', { model: 'test-model', messages: [user] }],
  ['/v1/responses', { model: 'test-model', input: 'Hi', max_output_tokens: 4 }],
  ['/v1/score', { model: 'test-model', text_1: 'a', text_2: 'b' }],
  ['/v1/rerank', { model: 'test-model', query: 'a', documents: ['b'] }],
  ['/v1/classify', { model: 'test-model', input: 'a' }],
  ['/tokenize', { model: 'test-model', prompt: 'a' }],
  ['/detokenize', { model: 'test-model', tokens: [1] }],
  ['/v1/batches', { input_file_id: 'x', endpoint: '/v1/completions', completion_window: '24h' }],
];

/** Values that real clients get wrong, beside any JSON. */
const value = fc.oneof(
  { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 4 }) },
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    -1,
    1,
    2,
    0.5,
    1e308,
    -1e308,
    2 ** 53,
    '',
    'x',
    [],
    {},
    [null],
    [[]],
    [''],
    [1, 'a'],
    [user],
    [user, {}],
    { type: 'json_object' },
    { include_usage: true },
    { type: 'function', function: { name: 'f' } },
    [{ role: 'assistant', tool_calls: [{ id: '', type: 'function', function: { name: 'f', arguments: '{' } }] }],
    { token_data: [0] },
    [{ type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' }],
    [
      { type: 'reasoning', summary: [] },
      { role: 'assistant', content: [] },
    ],
    [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a' }] }],
    [{ role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] }],
    [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }],
    { format: { type: 'json_schema', name: 'x', schema: {} } },
    { 'a.b': { c: [{}] } },
    '\ud800',
    'a'.repeat(10_000),
  ), // prettier-ignore
);

describe('any request body', () => {
  let gateway: Harness;

  before(async () => {
    gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
  });

  after(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function check(
    path: string,
    body: string,
    headers: Record<string, string> = {},
    also: readonly number[] = [],
  ): Promise<void> {
    const response = await gateway.post(path, body, { headers: { ...headers, 'content-type': 'application/json' } });
    const text = await response.text();
    expect(response.status, `${path} ${body.slice(0, 500)}\n${text}`).to.satisfy(
      (status: number) => [200, 501, ...also].includes(status) || (status >= 400 && status < 500),
    );
    if (response.status === 200) return;
    const { error } = JSON.parse(text) as ErrorBody;
    expect(error.message.length, text).to.be.greaterThan(5);
  }

  it('is answered or refused with a message, never with a fault of the server', async () => {
    const mutation = fc.array(fc.tuple(fc.constantFrom(...fields), value), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...bases), mutation, async ([path, base], changes) => {
        await check(path, JSON.stringify({ ...base, ...Object.fromEntries(changes) }));
      }),
      { numRuns: 1000, seed },
    );
  }).timeout(180_000);

  it('may ask anything of routing, in its body and in its headers', async () => {
    const nvextField = fc.constantFrom(...Object.keys(nvext.shape));
    const inner = fc.dictionary(fc.constantFrom(...innerFields), value, { maxKeys: 3 });
    const wishes = fc.dictionary(nvextField, fc.oneof(value, inner), { minKeys: 1, maxKeys: 4 });
    const text = fc.oneof(
      fc.constantFrom(
        '0',
        '1',
        '-1',
        '4294967295',
        '4294967296',
        '18446744073709551616',
        'true',
        ' ',
        'Bearer x',
        '1.5',
      ),
      fc.string({ maxLength: 20 }).map((any) => any.replace(/[^\x20-\x7e]/g, '?')),
    );
    // No worker is there for most pins and taints, and no time in a millisecond.
    const headers = fc.dictionary(fc.constantFrom(...headerNames), text, { maxKeys: 3 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...bases), wishes, headers, async ([path, base], asked, said) => {
        await check(path, JSON.stringify({ ...base, nvext: asked }), said, [503, 504]);
      }),
      { numRuns: 1000, seed },
    );
  }).timeout(180_000);

  it('is refused where its text is damaged', async () => {
    const damaged = fc
      .tuple(fc.constantFrom(...bases), fc.nat(), fc.string({ unit: 'binary', maxLength: 3 }), fc.nat({ max: 5 }))
      .map(([[path, base], at, insert, remove]) => {
        const text = JSON.stringify(base);
        const place = at % text.length;
        return [path, text.slice(0, place) + insert + text.slice(place + remove)] as const;
      });
    await fc.assert(
      fc.asyncProperty(damaged, ([path, body]) => check(path, body)),
      { numRuns: 500, seed },
    );
  }).timeout(180_000);

  it('may be nested as deep as it likes', async () => {
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    for (const field of ['messages', 'prompt', 'chat_template_kwargs', 'guided_json', 'unknown']) {
      await check(
        '/v1/chat/completions',
        `{"model":"test-model","messages":[{"role":"user","content":"x"}],"${field}":${deep}}`,
      );
    }
    const object = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
    await check(
      '/v1/chat/completions',
      `{"model":"test-model","messages":[{"role":"user","content":"x"}],"chat_template_kwargs":${object}}`,
    );
  }).timeout(180_000);
});
