import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { Artifact_Kind, ArtifactSchema } from '#gen/stator/model/v1/model_pb.ts';
import { MockerEngine } from './engine.ts';
import { collect, rejection, startTestWorker } from './testing.ts';

const stop = { maxTokens: 8, ignoreEos: true };

describe('worker: models, adapters, embeddings, artefacts', () => {
  it('serves several models by name and alias', async () => {
    const engines = [
      new MockerEngine({ model: 'a', aliases: ['first'] }),
      new MockerEngine({ model: 'b', contextLength: 32 }),
    ];
    await using test = await startTestWorker({ engines });
    for (const model of ['a', 'first', 'b']) {
      expect((await collect(test.client.generate({ model, tokenIds: [50], stop }))).tokens).to.have.length(8);
    }
    const unnamed = await rejection(collect(test.client.generate({ tokenIds: [50], stop })));
    expect(unnamed).to.include({ code: 'invalid_argument', field: 'model' });
    const unknown = await rejection(collect(test.client.generate({ model: 'c', tokenIds: [50], stop })));
    expect(unknown).to.include({ code: 'model_not_found', field: 'model' });
    const long = await rejection(
      collect(test.client.generate({ model: 'b', tokenIds: new Array<number>(32).fill(50), stop })),
    );
    expect(long).to.include({ code: 'context_length_exceeded', field: 'token_ids' });
    const { load } = await test.client.getLoad({});
    expect(load?.ranks[0]?.totalKvBlocks).to.equal(2n * 16_384n);
    expect((await test.client.getLoad({ model: 'b' })).load?.ranks[0]?.totalKvBlocks).to.equal(16_384n);
  });

  it('refuses two models of one name', async () => {
    const engines = [new MockerEngine({ model: 'a' }), new MockerEngine({ model: 'b', aliases: ['a'] })];
    expect(await rejection(startTestWorker({ engines }))).to.include({ code: 'invalid_argument', field: 'model' });
  });

  it('loads, uses, lists and unloads adapters, and its registration follows', async () => {
    await using test = await startTestWorker();
    const adapter = { name: 'poet', uri: 'file:///none' };
    expect((await test.client.loadAdapter({ adapter })).alreadyLoaded).to.equal(false);
    expect((await test.client.loadAdapter({ adapter })).alreadyLoaded).to.equal(true);
    expect((await test.client.listAdapters({})).adapters.map(({ name }) => name)).to.deep.equal(['poet']);
    const { instance } = await test.client.getEngineInfo({});
    expect(instance?.cards[0]?.adapters.map(({ name }) => name)).to.deep.equal(['poet']);
    const plain = await collect(test.client.generate({ tokenIds: [50], stop }));
    const byModel = await collect(test.client.generate({ model: 'poet', tokenIds: [50], stop }));
    const byField = await collect(test.client.generate({ adapter: 'poet', tokenIds: [50], stop }));
    expect(byModel.tokens).to.deep.equal(byField.tokens);
    expect(byModel.tokens).to.not.deep.equal(plain.tokens);
    expect(await rejection(test.client.loadAdapter({ adapter: { name: 'synthetic' } }))).to.have.property(
      'code',
      'conflict',
    );
    await test.client.unloadAdapter({ name: 'poet' });
    const gone = await rejection(collect(test.client.generate({ adapter: 'poet', tokenIds: [50], stop })));
    expect(gone).to.include({ code: 'not_found', field: 'adapter' });
  });

  it('embeds and scores texts and tokens, and names what is wrong', async () => {
    await using test = await startTestWorker({ engine: { contextLength: 16 } });
    const { embeddings, promptTokens } = await test.client.embed({
      inputs: [{ text: 'abc' }, { tokenIds: [100, 101, 102] }, { text: 'other' }],
    });
    expect(embeddings[0]?.values).to.deep.equal(embeddings[1]?.values);
    expect(embeddings.map(({ index }) => index)).to.deep.equal([0, 1, 2]);
    expect(promptTokens).to.equal(11);
    const long = [{ text: 'x'.repeat(17) }];
    expect(await rejection(test.client.embed({ inputs: long }))).to.include({ field: 'inputs[0].token_ids' });
    expect((await test.client.embed({ inputs: long, truncate: true })).promptTokens).to.equal(16);
    expect(await rejection(test.client.embed({}))).to.include({ code: 'invalid_argument', field: 'inputs' });
    const { scores } = await test.client.score({
      query: { text: 'abc' },
      documents: [{ text: 'abc' }, { text: 'xyz' }],
    });
    expect(scores[0]).to.be.closeTo(1, 1e-5);
    expect(scores[1]).to.be.lessThan(0.9);
    expect(await rejection(test.client.classify({ inputs: [{ text: 'abc' }] }))).to.have.property(
      'code',
      'unimplemented',
    );
  });

  it('answers UNIMPLEMENTED for what its engine lacks', async () => {
    const engine = new MockerEngine({ embeddingDimensions: 0, meanOutputTokens: 0 });
    Object.defineProperty(engine, 'releaseHandoff', { value: undefined });
    await using test = await startTestWorker({ engines: [engine] });
    for (const call of [
      test.client.embed({ inputs: [{ text: 'abc' }] }),
      test.client.score({ query: { text: 'abc' }, documents: [{ text: 'abc' }] }),
      test.client.releaseHandoff({ handoffId: 'h' }),
    ])
      expect(await rejection(call)).to.have.property('code', 'unimplemented');
  });

  it('gives out the files that its card names, and no others', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'stator-artifact-'));
    try {
      const content = randomBytes(2_500_000);
      const file = path.join(folder, 'weights.bin');
      await writeFile(file, content);
      await writeFile(path.join(folder, 'secret.txt'), 'secret');
      const engine = new MockerEngine();
      const uri = pathToFileURL(file).href;
      const sha256 = createHash('sha256').update(content).digest();
      engine.card.artifacts = [
        create(ArtifactSchema, { kind: Artifact_Kind.WEIGHTS, name: 'weights.bin', uri, sha256 }),
      ];
      await using test = await startTestWorker({ engines: [engine] });
      const fetch = async (request: { name: string; offset?: bigint; length?: bigint }): Promise<Buffer> => {
        const chunks: Uint8Array[] = [];
        for await (const { data } of test.client.fetchArtifact(request)) chunks.push(data);
        for (const chunk of chunks) expect(chunk.length).to.be.at.most(1024 * 1024);
        return Buffer.concat(chunks);
      };
      expect((await fetch({ name: 'weights.bin' })).equals(content)).to.equal(true);
      const part = await fetch({ name: 'weights.bin', offset: 1_000_000n, length: 10n });
      expect(part.equals(content.subarray(1_000_000, 1_000_010))).to.equal(true);
      for (const name of ['secret.txt', '../weights.bin', file, '']) {
        expect(await rejection(fetch({ name })), name).to.include({ code: 'not_found', field: 'name' });
      }
      expect(await rejection(fetch({ name: 'weights.bin', offset: 2_500_001n }))).to.include({ field: 'offset' });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
