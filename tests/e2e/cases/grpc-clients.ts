import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { inProject } from '../../../scripts/support/project.ts';
import { run } from '../../../scripts/support/run.ts';
import { findGoClient } from '../../support/go.ts';
import { findPython } from '../../support/python.ts';
import { generatePython } from '../../support/python-grpc.ts';
import { skip } from '../../support/skip.ts';
import { fresh } from './fresh.ts';
import type { GetStack } from './stack.ts';

interface Answer {
  readonly text: string;
  readonly tokenIds: readonly number[] | null;
  readonly finish: string;
  readonly outputTokens: number;
  readonly errorCode?: string;
}

type Client = (...args: string[]) => Promise<Answer>;

/** Clients in Go and Python made from the contracts: Chat on the gateway, Generate on the worker directly. */
export function grpcClientCases(stack: GetStack): void {
  describe('in Go', () => {
    let client: Client;
    before(function () {
      const binary = findGoClient() ?? skip(this, 'the Go client is not built');
      client = (...args) => answerOf(binary, args);
    });
    clientCases(stack, (...args) => client(...args), 'NotFound');
  });

  describe('in Python', () => {
    let client: Client;
    let folder: string | undefined;
    before(async function () {
      this.timeout(180_000);
      const python = findPython() ?? skip(this, 'the Python packages openai and grpcio-tools are not installed');
      folder = await mkdtemp(path.join(os.tmpdir(), 'stator-python-'));
      await generatePython(python, folder);
      const fixed = [inProject('tests/clients/python/grpc_client.py'), path.join(folder, 'gen')];
      client = (...args) => answerOf(python, [...fixed, ...args]);
    });
    after(async () => {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    });
    clientCases(stack, (...args) => client(...args), 'NOT_FOUND');
  });
}

function clientCases(stack: GetStack, client: Client, notFound: string): void {
  it('Chat on the gateway answers what REST answers', async () => {
    const { cluster, model } = stack();
    const question = 'What is the capital of France?';
    await fresh(stack());
    const answer = await client('chat', cluster.member('gateway').address, model, question);
    expect(answer.errorCode).to.equal(undefined);
    expect(answer.finish).to.be.oneOf(['FINISH_REASON_STOP', 'FINISH_REASON_LENGTH']);
    expect(answer.outputTokens).to.be.within(1, 16);
    await fresh(stack());
    const response = await fetch(`${cluster.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, messages: [{ role: 'user', content: question }], max_tokens: 16, temperature: 0 }),
    });
    const body = (await response.json()) as { choices: [{ message: { content: string } }] };
    expect(answer.text).to.equal(body.choices[0].message.content);
  });

  it('Chat with an unknown model is NOT_FOUND', async () => {
    const answer = await client('chat', stack().cluster.member('gateway').address, 'no-such-model', 'Hello');
    expect(answer.errorCode).to.equal(notFound);
  });

  it('Generate on the worker gives the tokens asked for, twice the same', async () => {
    const { worker } = stack();
    await fresh(stack());
    const first = await client('generate', worker, '8', '1,2,3,4');
    await fresh(stack());
    const second = await client('generate', worker, '8', '1,2,3,4');
    expect(first.errorCode).to.equal(undefined);
    expect(first.tokenIds).to.have.length(8);
    expect(first.finish).to.equal('FINISH_REASON_LENGTH');
    expect(first.tokenIds).to.deep.equal(second.tokenIds);
  });
}

async function answerOf(command: string, args: readonly string[]): Promise<Answer> {
  const { status, output } = await run(command, args, { timeoutMs: 120_000 });
  if (status !== 0) throw new Error(output);
  return JSON.parse(output.trim().split('\n').at(-1) ?? '') as Answer;
}
