import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelSet } from '#core/models/model-sets.ts';
import type { Artifact } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { FetchArtifact } from './fetch.ts';

/** Most bytes of a file that is fetched whole: tokenizer files are far smaller, weights are never fetched here. */
const maxFileBytes = 256n * 1024n * 1024n;

/** The files of models: a worker's own where this machine has them, else copies by content in the cache folder. */
export class ArtifactStore {
  readonly #folder: string;
  readonly #fetch: FetchArtifact;
  /** Digests of local files that were checked, by path, size and time. */
  readonly #checked = new Map<string, string>();

  constructor(o: { folder: string; fetch: FetchArtifact }) {
    this.#folder = o.folder;
    this.#fetch = o.fetch;
  }

  /** Path of a file with the artefact's content. Throws `not_ready` when no worker can give it. */
  async locate(model: ModelSet, artifact: Artifact, signal: AbortSignal): Promise<string> {
    return (await this.local(artifact)) ?? (await this.#fromWorkers(model, artifact, signal));
  }

  /** The file that the artefact's URI names, if this machine has it with the same content. */
  async local(artifact: Artifact): Promise<string | null> {
    const path = await this.localOfSize(artifact);
    if (path === null || artifact.sha256.length === 0) return path;
    const found = await stat(path);
    return (await this.#digest(path, `${path} ${found.size} ${found.mtimeMs}`)) === hex(artifact.sha256) ? path : null;
  }

  /** The same, told by its size alone: hashing weights takes minutes. */
  async localOfSize(artifact: Artifact): Promise<string | null> {
    if (!artifact.uri.startsWith('file://')) return null;
    const path = fileURLToPath(artifact.uri);
    const found = await stat(path).catch(() => null);
    return found !== null && BigInt(found.size) === artifact.sizeBytes ? path : null;
  }

  /** Writes a file of the cache under a temporary name first, so that nobody sees half of it. */
  async write(name: string, fill: (path: string) => Promise<void>): Promise<string> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const path = join(this.#folder, name);
    const temporary = `${path}.${randomUUID()}`;
    try {
      await fill(temporary);
      await rename(temporary, path);
    } finally {
      await rm(temporary, { force: true });
    }
    return path;
  }

  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Bytes of a part of a file from the first worker that gives them. */
  async read(model: ModelSet, artifact: Artifact, length: bigint, signal: AbortSignal): Promise<Uint8Array> {
    const range = { model: model.name, name: artifact.name, offset: 0n, length };
    let failure: unknown;
    for (const { instance: worker } of model.workers.values()) {
      try {
        return await collect(this.#fetch(worker, range, signal), Number(length === 0n ? maxFileBytes : length));
      } catch (error) {
        signal.throwIfAborted();
        failure = error;
      }
    }
    if (failure instanceof StatorError) throw failure;
    throw new StatorError('not_ready', `No worker gives ${artifact.name} of ${model.name}.`, { cause: failure });
  }

  async #fromWorkers(model: ModelSet, artifact: Artifact, signal: AbortSignal): Promise<string> {
    if (artifact.sha256.length !== 32) throw notReady(model, artifact, 'its digest is not known yet');
    const name = hex(artifact.sha256);
    const cached = this.path(name);
    if ((await stat(cached).catch(() => null)) !== null && (await sha256(cached)) === name) return cached;
    if (artifact.sizeBytes > maxFileBytes) throw notReady(model, artifact, 'it is too large for a tokenizer');
    const bytes = await this.read(model, artifact, 0n, signal);
    if (createHash('sha256').update(bytes).digest('hex') !== name)
      throw notReady(model, artifact, 'its content differs');
    return this.write(name, (path) => writeWhole(path, bytes));
  }

  async #digest(path: string, version: string): Promise<string> {
    const known = this.#checked.get(version);
    if (known !== undefined) return known;
    const digest = await sha256(path);
    if (this.#checked.size > 256) this.#checked.clear();
    this.#checked.set(version, digest);
    return digest;
  }
}

function notReady(model: ModelSet, artifact: Artifact, why: string): StatorError {
  return new StatorError('not_ready', `${artifact.name} of ${model.name} cannot be used: ${why}.`);
}

async function collect(pieces: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const piece of pieces) {
    parts.push(piece);
    length += piece.length;
    if (length > limit) throw new StatorError('backend_protocol', 'A worker sent more bytes than it was asked for.');
  }
  return Buffer.concat(parts);
}

async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
  } finally {
    await file.close();
  }
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
