import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { createTokenTable } from '#core/tokens/token-table.ts';
import { PreprocessRequestSchema, TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { post } from '../../support/http.ts';
import { generateDirectly } from '../../support/reference.ts';
import { fresh } from './fresh.ts';
import { expectLogitsWithinTolerance } from './logit-tolerance.ts';
import type { GetStack, Stack } from './stack.ts';

const CONCURRENT = 8;
const MAX_TOKENS = 32;

/** Text through the whole stack equals what the engine gives when it is driven directly. */
export function equalityCases(stack: GetStack): void {
  it('of one greedy answer with the engine driven directly', async () => {
    const question = 'What is the capital of France?';
    await fresh(stack());
    expect(await throughStack(stack(), question)).to.equal(await directly(stack(), question));
  });

  it(`of ${CONCURRENT} requests at once, byte for byte or, with llama.cpp, within the tolerance of its logits`, async () => {
    const questions = Array.from(
      { length: CONCURRENT },
      (_, index) => `Question number ${index}: ${'é漢🙂'.repeat(index)}?`,
    );
    // llama.cpp adds in another order when sequences share a batch, so its text may part at a near tie.
    if (stack().engine === 'llamacpp') return expectLogitsWithinTolerance(stack(), questions);
    const answers = await Promise.all(questions.map((question) => throughStack(stack(), question)));
    for (const [index, question] of questions.entries())
      expect(answers[index]).to.equal(await directly(stack(), question));
  });
}

async function throughStack({ cluster, model }: Stack, question: string): Promise<string> {
  const body = { model, messages: [{ role: 'user', content: question }], max_tokens: MAX_TOKENS, temperature: 0 };
  const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
  expect(answer.status, answer.text).to.equal(200);
  return (JSON.parse(answer.text) as { choices: [{ message: { content: string } }] }).choices[0].message.content;
}

async function directly(stack: Stack, question: string): Promise<string> {
  const target = { address: stack.cluster.member('tokenizer').address };
  const { client, close } = createRpcClient(TokenizerService, target, quietTelemetry());
  try {
    const chat = {
      messages: [{ role: 'user', plainText: true, content: [{ part: { case: 'text' as const, value: question } }] }],
    };
    const request = create(PreprocessRequestSchema, { model: stack.model, prompt: { case: 'chat', value: chat } });
    const { tokenIds } = await client.preprocess(request);
    const { table } = await client.getTokenizer({ model: stack.model });
    if (table === undefined) throw new Error('the tokenizer has no table');
    const detokenizer = new Detokenizer(createTokenTable(table), { specialTokens: false });
    const output = await generateDirectly(stack, tokenIds, MAX_TOKENS);
    return output.map((id) => detokenizer.push(id)).join('') + detokenizer.end();
  } finally {
    close();
  }
}
