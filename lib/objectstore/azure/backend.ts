import { createHash } from 'node:crypto';
import type { Agent as HttpAgent } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import type { Readable } from 'node:stream';
import type { BlobGetPropertiesResponse, ContainerClient } from '@azure/storage-blob';
import type { Backend, BackendPut, Failure, OpenObject, Upload } from '../backend.ts';
import { readInto } from '../read-into.ts';
import type { ByteRange, ListPage, ObjectInfo } from '../store.ts';
import { classifyAzure, NoLifecycle } from './classify.ts';

/** Where our checksum of the whole content stands: Azure's own (MD5) is four times slower to compute. */
const CHECKSUM = 'stator_crc32';

/** Azure Blob Storage. Parts are held against MD5 by the service on the way in, contents against CRC-32 by us on the way out. */
export class AzureBackend implements Backend {
  readonly kind = 'azure';
  readonly description: string;
  /** One request each: the service's batches may fail in part and take no conditions. */
  readonly deleteBatch = 1;
  readonly #container: ContainerClient;
  readonly #agents: readonly (HttpAgent | HttpsAgent)[];

  constructor(container: ContainerClient, agents: readonly (HttpAgent | HttpsAgent)[]) {
    this.#container = container;
    this.#agents = agents;
    this.description = `azure://${container.containerName}`;
  }

  async put(key: string, body: Uint8Array, crc32: number, put: BackendPut, signal: AbortSignal): Promise<void> {
    await this.#container.getBlockBlobClient(key).upload(asBuffer(body), body.length, {
      abortSignal: signal,
      metadata: withChecksum(put, crc32),
      blobHTTPHeaders: { blobContentMD5: md5(body) },
      ...(put.ifNoneMatch && { conditions: { ifNoneMatch: '*' } }),
    });
  }

  /** Blocks that are never committed are dropped by the service after a week; there is nothing to begin or abort. */
  async beginUpload(key: string, put: BackendPut): Promise<Upload> {
    const blob = this.#container.getBlockBlobClient(key);
    const numbers: number[] = [];
    return {
      part: async (number, body, _crc32, abortSignal) => {
        const options = { abortSignal, transactionalContentMD5: md5(body) };
        await blob.stageBlock(blockId(number), asBuffer(body), body.length, options);
        if (!numbers.includes(number)) numbers.push(number);
      },
      complete: async (crc32, abortSignal) => {
        const blocks = numbers.sort((a, b) => a - b).map(blockId);
        const conditions = put.ifNoneMatch ? { conditions: { ifNoneMatch: '*' } } : {};
        await blob.commitBlockList(blocks, { abortSignal, metadata: withChecksum(put, crc32), ...conditions });
      },
      abort: async () => {},
    };
  }

  async open(key: string, range: ByteRange | undefined, signal: AbortSignal): Promise<OpenObject> {
    const blob = this.#container.getBlobClient(key);
    const got = await blob.download(range?.offset ?? 0, range?.length, { abortSignal: signal, maxRetryRequests: 0 });
    const body = got.readableStreamBody as Readable;
    // Whoever drops an answer has its error already.
    body.on('error', () => undefined);
    const length = got.contentLength ?? 0;
    const size = Number(/\/(\d+)$/.exec(got.contentRange ?? '')?.[1] ?? length);
    return {
      info: infoOf(key, size, got),
      length,
      readInto: (targets) => readInto(body, targets, signal),
      discard: () => void body.destroy(),
    };
  }

  async head(key: string, signal: AbortSignal): Promise<ObjectInfo> {
    const head = await this.#container.getBlobClient(key).getProperties({ abortSignal: signal });
    return infoOf(key, head.contentLength ?? 0, head);
  }

  async delete(keys: readonly string[], signal: AbortSignal): Promise<void> {
    for (const key of keys) await this.#container.getBlobClient(key).deleteIfExists({ abortSignal: signal });
  }

  async list(
    prefix: string,
    { cursor, limit }: { cursor: string | undefined; limit: number },
    signal: AbortSignal,
  ): Promise<ListPage> {
    const pages = this.#container.listBlobsFlat({ prefix, abortSignal: signal }).byPage({
      maxPageSize: limit,
      ...(cursor !== undefined && { continuationToken: cursor }),
    });
    const { value, done } = await pages.next();
    if (done === true) return { objects: [], cursor: undefined };
    const objects = value.segment.blobItems.map(({ name, properties }) => {
      return { key: name, size: properties.contentLength ?? 0, modifiedMs: properties.lastModified.getTime() };
    });
    return { objects, cursor: value.continuationToken || undefined };
  }

  async folders(prefix: string, limit: number, signal: AbortSignal): Promise<string[]> {
    const found: string[] = [];
    for await (const item of this.#container.listBlobsByHierarchy('/', { prefix, abortSignal: signal })) {
      if (item.kind === 'prefix') found.push(item.name.slice(prefix.length, -1));
      if (found.length >= limit) break;
    }
    return found;
  }

  async setExpiry(): Promise<void> {
    throw new NoLifecycle();
  }

  classify(thrown: unknown): Failure {
    return classifyAzure(thrown);
  }

  close(): void {
    for (const agent of this.#agents) agent.destroy();
  }
}

function withChecksum({ metadata }: BackendPut, crc32: number): Record<string, string> {
  return { ...metadata, [CHECKSUM]: crc32.toString(16).padStart(8, '0') };
}

type Described = Pick<BlobGetPropertiesResponse, 'etag' | 'lastModified' | 'metadata'>;

function infoOf(key: string, size: number, from: Described): ObjectInfo {
  const { [CHECKSUM]: checksum, ...metadata } = from.metadata ?? {};
  const crc32 = checksum === undefined ? undefined : Number.parseInt(checksum, 16);
  return { key, size, etag: from.etag ?? '', modifiedMs: from.lastModified?.getTime() ?? 0, crc32, metadata };
}

/** All of the same length, as the service demands. */
function blockId(number: number): string {
  return Buffer.from(String(number).padStart(8, '0')).toString('base64');
}

function md5(body: Uint8Array): Uint8Array {
  return createHash('md5').update(body).digest();
}

function asBuffer(body: Uint8Array): Buffer {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}
