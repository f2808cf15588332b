import { expect } from 'chai';
import OpenAI from 'openai';
import { inProject } from '../../../scripts/support/project.ts';
import { run } from '../../../scripts/support/run.ts';
import { findPython } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';
import type { GetStack } from './stack.ts';

/** Embeddings through the official packages, which ask for base64 and decode it. */
export function embeddingCases(stack: GetStack): void {
  it('come in order and are the same as base64 and as numbers', async () => {
    const { cluster, model } = stack();
    const client = new OpenAI({ baseURL: `${cluster.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const input = ['one text', 'another text', 'one text'];
    const packed = await client.embeddings.create({ model, input });
    const plain = await client.embeddings.create({ model, input, encoding_format: 'float' });
    expect(packed.data.map(({ index }) => index)).to.deep.equal([0, 1, 2]);
    const [first, second, third] = packed.data.map(({ embedding }) => embedding);
    expect(first).to.have.length.greaterThan(0);
    expect(first).to.deep.equal(third);
    expect(first).not.to.deep.equal(second);
    expect(norm(first ?? [])).to.be.closeTo(1, 1e-3);
    expect(plain.data[1]?.embedding.map(Math.fround)).to.deep.equal(second?.map(Math.fround));
    expect(packed.usage.prompt_tokens).to.be.greaterThan(0);
  });

  it('reach the official Python package', async function () {
    const python = findPython() ?? skip(this, 'the Python packages openai and grpcio-tools are not installed');
    const { cluster, model } = stack();
    const script = inProject('tests/clients/python/embed_openai.py');
    const { status, output } = await run(python, [script, `${cluster.url}/v1`, model]);
    if (status !== 0) throw new Error(output);
    const found = JSON.parse(output.trim().split('\n').at(-1) ?? '') as { packed: number[][]; plain: number[] };
    expect(found.packed).to.have.length(2);
    expect(found.packed[0]?.map(Math.fround)).to.deep.equal(found.plain.map(Math.fround));
  });
}

function norm(values: readonly number[]): number {
  return Math.hypot(...values);
}
