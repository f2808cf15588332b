import { createHash } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import type { ModelSet } from '#core/models/model-sets.ts';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { Artifact_Kind, ArtifactSchema, ModelCardSchema, TokenizerSpec_Source } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import { loadVocabulary } from '../models/loader.ts';
import { worker } from '../testing/models.ts';
import type { FetchArtifact, FetchRange } from './fetch.ts';
import { ggufHeadLength } from './gguf-head.ts';
import { ArtifactStore } from './store.ts';

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
const never = new AbortController().signal;

/** A worker that serves one file, and remembers what it was asked. */
function serving(path: string): { fetch: FetchArtifact; asked: FetchRange[] } {
  const asked: FetchRange[] = [];
  const fetch: FetchArtifact = async function* (_worker: Instance, range) {
    asked.push(range);
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const length = Math.min(Number(range.length) || size, size);
      const { buffer } = await file.read(Buffer.alloc(length), 0, length, Number(range.offset));
      for (let at = 0; at < length; at += 1 << 20) yield buffer.subarray(at, Math.min(at + (1 << 20), length));
    } finally {
      await file.close();
    }
  };
  return { fetch, asked };
}

describe('artefacts', () => {
  let folder: string;
  let cache: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stator-artifacts-'));
    cache = join(folder, 'cache');
  });
  afterEach(() => rm(folder, { recursive: true }));

  function modelWith(
    init: Parameters<typeof create<typeof ArtifactSchema>>[1],
    source: TokenizerSpec_Source,
  ): ModelSet {
    const card = create(ModelCardSchema, {
      name: 'm',
      digest: new Uint8Array(32),
      artifacts: [init ?? {}],
      tokenizer: { source },
    });
    const instance = worker([card]);
    return { name: 'm', card, workers: new Map([[instance.instanceId, { instance, card }]]) };
  }

  function describeFile(path: string, bytes: Uint8Array) {
    const kind = Artifact_Kind.TOKENIZER_JSON;
    const uri = pathToFileURL(path).href;
    return create(ArtifactSchema, {
      kind,
      uri,
      name: 'f.json',
      sizeBytes: BigInt(bytes.length),
      sha256: sha256(bytes),
    });
  }

  it('uses a local file of the same content, and nothing else', async () => {
    const bytes = Buffer.from('{"a": 1}');
    const path = join(folder, 'f.json');
    await writeFile(path, bytes);
    const store = new ArtifactStore({ folder: cache, fetch: serving(path).fetch });
    const artifact = describeFile(path, bytes);
    expect(await store.local(artifact)).to.equal(path);
    expect(await store.local({ ...artifact, sha256: sha256(Buffer.from('other')) })).to.equal(null);
    expect(await store.local({ ...artifact, sizeBytes: 9n })).to.equal(null);
    expect(await store.local({ ...artifact, uri: 'hf:org/repo/f.json' })).to.equal(null);
  });

  it('fetches a file once, checks it, and keeps it by its digest', async () => {
    const bytes = Buffer.alloc(3_000_000, 'x');
    const path = join(folder, 'f.json');
    await writeFile(path, bytes);
    const { fetch, asked } = serving(path);
    const store = new ArtifactStore({ folder: cache, fetch });
    const artifact = { ...describeFile(path, bytes), uri: 'file:///elsewhere/f.json' };
    const model = modelWith(artifact, TokenizerSpec_Source.TOKENIZER_JSON);
    const found = await store.locate(model, artifact, never);
    expect(found).to.equal(join(cache, Buffer.from(sha256(bytes)).toString('hex')));
    expect((await readFile(found)).equals(bytes)).to.equal(true);
    await store.locate(model, artifact, never);
    expect(asked).to.have.length(1);
    await writeFile(found, 'damaged');
    await store.locate(model, artifact, never);
    expect((await readFile(found)).equals(bytes)).to.equal(true);
  });

  it('refuses content that is not what the card says, and leaves nothing behind', async () => {
    const path = join(folder, 'f.json');
    await writeFile(path, 'tampered');
    const store = new ArtifactStore({ folder: cache, fetch: serving(path).fetch });
    const artifact = { ...describeFile(path, Buffer.from('original')), uri: 'file:///elsewhere' };
    const error = await store.locate(modelWith(artifact, TokenizerSpec_Source.TOKENIZER_JSON), artifact, never).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(StatorError).with.property('message').that.includes('its content differs');
    expect(await readdir(cache).catch(() => [])).to.deep.equal([]);
  });

  it('tells a GGUF head from what is cut off or foreign', () => {
    expect(() => ggufHeadLength(Buffer.from('not a gguf file'))).to.throw(SyntaxError, 'not a GGUF file');
    expect(ggufHeadLength(Buffer.from('GGUF'))).to.equal(null);
    expect(() => ggufHeadLength(Buffer.from('GGUF\x09\0\0\0'))).to.throw(SyntaxError, 'version 9');
  });

  const withModel = smolLm2 === undefined ? describe.skip : describe;
  withModel(`a GGUF vocabulary${skippedBecause}`, () => {
    it('is the same from the file and from its head, fetched from a worker', async () => {
      const path = smolLm2 ?? '';
      const { size } = await stat(path);
      const { fetch, asked } = serving(path);
      const store = new ArtifactStore({ folder: cache, fetch });
      const artifact = create(ArtifactSchema, {
        kind: Artifact_Kind.WEIGHTS,
        uri: pathToFileURL(path).href,
        name: 'm.gguf',
        sizeBytes: BigInt(size),
        sha256: new Uint8Array(32).fill(7),
      });
      const here = await loadVocabulary(modelWith(artifact, TokenizerSpec_Source.GGUF), store, never);
      expect(asked).to.deep.equal([]);
      const away = { ...artifact, uri: 'file:///elsewhere/m.gguf' };
      const there = await loadVocabulary(modelWith(away, TokenizerSpec_Source.GGUF), store, never);
      expect(asked.map((range) => range.length)).to.deep.equal([8_388_608n]);
      const text = '<|im_start|>user\nGrüße, 東京 😀!<|im_end|>\n';
      expect(await there.encoder.encode(text)).to.deep.equal(await here.encoder.encode(text));
      expect(there.digest).to.deep.equal(here.digest);
      expect(there.specialTexts.eos).to.equal('<|im_end|>');
      expect(there.chatTemplate).to.include('SmolLM');
      const [sparse = ''] = await readdir(cache);
      expect((await stat(join(cache, sparse))).size).to.equal(size);
      for (const vocabulary of [here, there]) vocabulary.close();
    });
  });
});
