import { expect } from 'chai';
import fc from 'fast-check';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { errorOf, post } from '../support/http.ts';

const RUNS = 400;
const paths = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings'] as const;
const fields = [
  'messages',
  'prompt',
  'input',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'n',
  'stop',
  'stream',
  'stream_options',
  'logprobs',
  'top_logprobs',
  'seed',
  'logit_bias',
  'frequency_penalty',
  'presence_penalty',
  'tools',
  'tool_choice',
  'response_format',
  'nvext',
  'user',
  'min_tokens',
  'ignore_eos',
  'echo',
  'encoding_format',
  'dimensions',
  'model',
  'chat_template_kwargs',
] as const;

/** A valid request with some fields replaced by anything that JSON can say. */
const mutatedRequest = fc.record({
  path: fc.constantFrom(...paths),
  changes: fc.dictionary(fc.constantFrom(...fields), fc.jsonValue({ maxDepth: 4 }), { maxKeys: 4 }),
});

/** A valid request whose text is cut, doubled or sprinkled with bytes. */
const mutatedText = fc.record({
  path: fc.constantFrom(...paths),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  bytes: fc.uint8Array({ maxLength: 8 }),
  drop: fc.integer({ min: 0, max: 40 }),
});

describe('fuzzed requests', function () {
  this.timeout(180_000);
  let cluster: Cluster;
  let model: string;

  before(async () => {
    cluster = await startCluster({ workers: [{ engine: 'mocker' }], gateway: { bodyLimitMib: 1 } });
    model = (await cluster.listsModels(1))[0] ?? '';
  });

  after(() => cluster?.stop());

  const goodRequest = (path: (typeof paths)[number]): Record<string, unknown> => {
    if (path === '/v1/embeddings') return { model, input: 'hello' };
    const common = { model, max_tokens: 2 };
    return path === '/v1/completions'
      ? { ...common, prompt: 'hi' }
      : { ...common, messages: [{ role: 'user', content: 'hi' }] };
  };

  it('with fields of any JSON value are answered or refused, never a fault of the server', async () => {
    await fc.assert(
      fc.asyncProperty(mutatedRequest, async ({ path, changes }) => {
        // Without a bound on its own output an accepted request would run to the end of the context.
        await judge(path, JSON.stringify({ ...goodRequest(path), ...changes, max_tokens: 2 }));
      }),
      { numRuns: RUNS, seed: 1 },
    );
  });

  it('with damaged text are answered or refused, never a fault of the server', async () => {
    await fc.assert(
      fc.asyncProperty(mutatedText, async ({ path, at, bytes, drop }) => {
        const good = Buffer.from(JSON.stringify(goodRequest(path)));
        const place = Math.floor(at * good.length);
        await judge(path, Buffer.concat([good.subarray(0, place), bytes, good.subarray(place + drop)]));
      }),
      { numRuns: RUNS, seed: 2 },
    );
  });

  async function judge(path: string, body: string | Uint8Array): Promise<void> {
    const answer = await post(`${cluster.url}${path}`, body);
    const shown = `${answer.status} for ${Buffer.from(body).toString('latin1')}: ${answer.text}`;
    if (answer.status === 200) return;
    // An engine without embeddings says so: 501 is an answer about the model, not a fault.
    expect(answer.status === 501 || (answer.status >= 400 && answer.status < 500), shown).to.equal(true);
    errorOf(answer);
  }
});
