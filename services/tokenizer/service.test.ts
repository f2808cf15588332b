import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { xxh3 } from '#core/tokens/xxh3.ts';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { TokenizerService as Contract } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import type { Discovery, Registration } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { tokenizerSettings } from './config.ts';
import { startTokenizer, type TokenizerService } from './service.ts';
import { bytesCard, worker } from './testing/models.ts';

const telemetry = quietTelemetry();

async function failure(promise: Promise<unknown>): Promise<StatorError> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  );
  if (error instanceof StatorError) return error;
  throw error;
}

const message = (role: string, text: string) => ({
  role,
  content: [{ part: { case: 'text' as const, value: text } }],
  plainText: true,
});

describe('the tokenizer service', () => {
  let folder: string;
  let discovery: Discovery;
  let service: TokenizerService;
  let registrations: Registration[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stator-tokenizer-'));
    discovery = await openDiscovery('memory:', { namespace: 'tokenizer-test', ttlSeconds: 10, telemetry });
    const config = defaultSettings(tokenizerSettings, {
      artifactCache: folder,
      maxTextBytes: 10_000,
      maxRenderMs: 500,
    });
    const shutdown = new AbortController().signal;
    service = await startTokenizer(config, { telemetry, discovery, shutdown, instanceId: 77n });
  });
  afterEach(async () => {
    await Promise.all(registrations.map((registration) => registration.withdraw()));
    registrations = [];
  });
  after(async () => {
    await service.stop();
    await discovery.close();
    await rm(folder, { recursive: true });
  });

  async function announce(instance: Instance): Promise<Registration> {
    const registration = await discovery.register(instance);
    registrations.push(registration);
    return registration;
  }

  /** Discovery tells of changes a turn later. */
  async function until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
  }

  async function serve(instance: Instance): Promise<Registration> {
    const registration = await announce(instance);
    const name = instance.cards[0]?.name ?? '';
    await until(() =>
      service.client.getTokenizer({ model: name }).then(
        () => true,
        () => false,
      ),
    );
    return registration;
  }

  const bytes = (text: string): number[] => Array.from(new TextEncoder().encode(text), (byte) => byte + 3);

  it('renders, encodes and hashes a conversation in one call, in process and over the wire alike', async () => {
    await serve(worker([bytesCard('m', { aliases: ['also-m'] })]));
    const request = {
      model: 'm',
      prompt: { case: 'chat' as const, value: { messages: [message('user', 'Grüß 😀')] } },
      returnText: true,
      cacheSalt: 'tenant',
    };
    const local = await service.client.preprocess(request);
    const text = '<|user|>Grüß 😀\n<|assistant|>';
    expect(local.text).to.equal(text);
    expect(local.tokenIds).to.deep.equal(bytes(text));
    expect(local.kvBlockSize).to.equal(4);
    const localHashes = unpackHashes(local.localHashes);
    expect(localHashes).to.have.length(Math.floor(bytes(text).length / 4));
    const first = new Uint8Array(Uint32Array.from(bytes(text).slice(0, 4)).buffer);
    const seed = BigInt.asUintN(64, 1337n + xxh3(new TextEncoder().encode('tenant'), 1n));
    expect(localHashes[0]).to.equal(xxh3(first, seed));
    const rpc = createRpcClient(Contract, { address: service.address }, telemetry);
    const remote = await rpc.client.preprocess({ ...request, model: 'also-m' });
    rpc.close();
    expect(remote.tokenIds).to.deep.equal(local.tokenIds);
    expect(remote.sequenceHashes).to.deep.equal(local.sequenceHashes);
  });

  it('encodes, counts, decodes and gives the token table', async () => {
    await serve(worker([bytesCard('m')]));
    const { encodings } = await service.client.encode({ model: 'm', texts: ['hé', ''], returnTokens: true });
    expect(encodings.map((encoding) => encoding.tokenIds)).to.deep.equal([bytes('hé'), []]);
    expect(encodings[0]?.tokens).to.deep.equal(['h', '\ufffd', '\ufffd']);
    const prompt = { case: 'text' as const, value: { text: 'four' } };
    expect((await service.client.countTokens({ model: 'm', prompt })).tokens).to.equal(4);
    const tokenIds = [1, ...bytes('hé'), 2];
    expect((await service.client.decode({ model: 'm', tokenIds })).text).to.equal('hé');
    expect((await service.client.decode({ model: 'm', tokenIds, skipSpecialTokens: false })).text).to.equal(
      '<s>hé</s>',
    );
    const full = await service.client.getTokenizer({ model: 'm' });
    expect(full.vocabSize).to.equal(259);
    expect(full.bosTokenId).to.equal(1);
    expect(full.table?.eosTokenIds).to.deep.equal([2]);
    const known = await service.client.getTokenizer({ model: 'm', knownDigest: full.digest });
    expect(known.table).to.equal(undefined);
  });

  it('refuses a prompt beyond the context length, or cuts it when asked', async () => {
    await serve(worker([bytesCard('m', { contextLength: 8 })]));
    const prompt = { case: 'text' as const, value: { text: 'ten bytes!' } };
    const error = await failure(service.client.preprocess({ model: 'm', prompt }));
    expect(error.code).to.equal('context_length_exceeded');
    expect(error.message).to.match(/maximum context length is 8 tokens. However, your prompt has 10 tokens/);
    expect(error.facts).to.deep.equal({ limit: 8, actual: 10 });
    const cut = await service.client.preprocess({ model: 'm', prompt, truncateTokens: 3 });
    expect(cut.tokenIds).to.deep.equal(bytes('ten'));
  });

  it('names what is wrong with a request', async () => {
    await serve(worker([bytesCard('m')]));
    const { client } = service;
    const chat = (value: object) => ({ model: 'm', prompt: { case: 'chat' as const, value } });
    const cases: [Promise<unknown>, string, string | undefined][] = [
      [
        client.preprocess({ model: 'unknown', prompt: { case: 'text', value: { text: 'a' } } }),
        'model_not_found',
        'model',
      ],
      [client.preprocess({ model: 'm' }), 'invalid_argument', 'prompt'],
      [client.preprocess({ model: 'm', prompt: { case: 'text', value: { text: '' } } }), 'invalid_argument', 'prompt'],
      [
        client.preprocess({ model: 'm', prompt: { case: 'tokens', value: { tokenIds: [5, 259] } } }),
        'invalid_argument',
        'prompt[1]',
      ],
      [client.preprocess(chat({ messages: [] })), 'invalid_argument', 'messages'],
      [
        client.preprocess(chat({ messages: [message('user', 'a')], templateArgsJson: '{' })),
        'invalid_argument',
        'chat_template_kwargs',
      ],
      [
        client.preprocess(chat({ messages: [message('user', 'a')], chatTemplate: '{% if %}' })),
        'invalid_argument',
        'chat_template',
      ],
      [
        client.preprocess(chat({ messages: [message('user', 'a')], chatTemplate: "{{ raise_exception('no') }}" })),
        'invalid_argument',
        'messages',
      ],
      [client.encode({ model: 'm', texts: [] }), 'invalid_argument', 'texts'],
      [client.encode({ model: 'm', texts: ['x'.repeat(10_001)] }), 'payload_too_large', 'prompt'],
      [client.decode({ model: 'm', tokenIds: [3, 4000] }), 'invalid_argument', 'token_ids[1]'],
    ];
    for (const [promise, code, field] of cases) {
      const error = await failure(promise);
      expect([error.code, error.field], error.message).to.deep.equal([code, field]);
    }
  });

  it('ends a template that would not end', async () => {
    await serve(worker([bytesCard('m')]));
    const chatTemplate = '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}';
    const prompt = { case: 'chat' as const, value: { messages: [message('user', 'a')], chatTemplate } };
    const error = await failure(service.client.preprocess({ model: 'm', prompt }));
    expect(error.message).to.include('took longer than 500 ms');
  });

  it('keeps models of one name but other content apart: the first one stays', async () => {
    const first = await serve(worker([bytesCard('m', { digest: 'one', contextLength: 100 })]));
    await announce(worker([bytesCard('m', { digest: 'two', contextLength: 4 })]));
    const prompt = { case: 'text' as const, value: { text: 'longer than four' } };
    await until(async () => (await telemetry.metrics.metrics()).includes('digest_conflicts_total 1'));
    expect((await service.client.preprocess({ model: 'm', prompt })).tokenIds).to.have.length(16);
    await first.withdraw();
    await until(() =>
      service.client.preprocess({ model: 'm', prompt }).then(
        () => false,
        () => true,
      ),
    );
    expect((await failure(service.client.preprocess({ model: 'm', prompt }))).code).to.equal('context_length_exceeded');
  });

  it('forgets a model with its last worker', async () => {
    const registration = await serve(worker([bytesCard('m')]));
    await registration.withdraw();
    await until(() =>
      service.client.getTokenizer({ model: 'm' }).then(
        () => false,
        () => true,
      ),
    );
    expect((await failure(service.client.getTokenizer({ model: 'm' }))).code).to.equal('model_not_found');
  });

  it('registers itself and leaves the artefact cache empty where nothing was fetched', async () => {
    expect(await readdir(folder)).to.deep.equal([]);
    expect(service.address).to.match(/^127\.0\.0\.1:\d+$/);
  });
});
