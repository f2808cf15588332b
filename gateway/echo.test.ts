import { expect } from 'chai';
import { completion } from './api/schemas/responses.ts';
import type { ErrorBody } from './testing/answers.ts';
import { encodeBytes } from './testing/byte-tokenizer.ts';
import { type Harness, startHarness, testCard } from './testing/harness.ts';
import { ScriptedWorker } from './testing/scripted-worker.ts';

interface Logprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

interface Completion {
  readonly choices: { readonly text: string; readonly logprobs: Logprobs | null }[];
}

const asked = { model: 'test-model', prompt: 'Grüß', echo: true, logprobs: 1, max_tokens: 2 };

async function gatewayWith(promptLogprobs: boolean): Promise<Harness> {
  const gateway = await startHarness();
  const card = testCard();
  if (card.capabilities !== undefined) card.capabilities.promptLogprobs = promptLogprobs;
  const worker = new ScriptedWorker((sequence) => {
    const positions = encodeBytes('rüß').map((tokenId) => {
      const chosen = { tokenId, logprob: -1, rank: 1 };
      return { chosen, top: [chosen] };
    });
    sequence.prefilled(0, { promptLogprobs: sequence.request.output?.promptLogprobs === undefined ? [] : positions });
    sequence.tokens('ok');
    sequence.finish();
  });
  gateway.addWorker(1n, worker, card);
  return gateway;
}

describe('repeated prompts with log-probabilities', () => {
  it('tell those of the prompt, the first token without any', async () => {
    await using gateway = await gatewayWith(true);
    const body = (await (await gateway.post('/v1/completions', asked)).json()) as Completion;
    completion.parse(body);
    const [choice] = body.choices;
    expect(choice?.text).to.equal('Grüßok');
    const {
      tokens,
      token_logprobs: logprobs,
      top_logprobs: tops,
      text_offset: offsets,
    } = choice?.logprobs ?? ({} as Logprobs);
    expect(tokens).to.have.length(8);
    expect(logprobs).to.deep.equal([null, -1, -1, -1, -1, -1, -0.5, -0.5]);
    expect(tops[0]).to.equal(null);
    expect(tops[1]).to.deep.equal({ r: -1 });
    expect(offsets[0]).to.equal(0);
    expect(offsets).to.deep.equal(offsets.toSorted((a, b) => a - b));
  });

  it('tell the same in a stream', async () => {
    await using gateway = await gatewayWith(true);
    const whole = (await (await gateway.post('/v1/completions', asked)).json()) as Completion;
    const text = await (await gateway.post('/v1/completions', { ...asked, stream: true })).text();
    const chunks = text
      .split('\n\n')
      .filter((event) => event.startsWith('data: {'))
      .map((event) => JSON.parse(event.slice(6)) as Completion);
    for (const chunk of chunks) completion.parse({ usage: null, ...chunk });
    const parts = chunks
      .flatMap(({ choices }) => choices.map(({ logprobs }) => logprobs))
      .filter((part) => part !== null);
    const joined = {
      tokens: parts.flatMap(({ tokens }) => tokens),
      token_logprobs: parts.flatMap(({ token_logprobs: one }) => one),
      top_logprobs: parts.flatMap(({ top_logprobs: one }) => one),
      text_offset: parts.flatMap(({ text_offset: one }) => one),
    };
    expect(joined).to.deep.equal(whole.choices[0]?.logprobs);
  });

  it('are refused where the engine has none of the prompt', async () => {
    await using gateway = await gatewayWith(false);
    const response = await gateway.post('/v1/completions', asked);
    expect(response.status).to.equal(400);
    expect(((await response.json()) as ErrorBody).error).to.include({ param: 'echo', code: 'unsupported' });
  });
});
