import type { Agent as HttpAgent } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import type { Readable } from 'node:stream';
import type * as Sdk from '@aws-sdk/client-s3';
import type { Backend, BackendPut, Failure, OpenObject, Upload } from '../backend.ts';
import { readInto } from '../read-into.ts';
import type { ByteRange, ListPage, ObjectInfo } from '../store.ts';
import { classifyS3, DeleteFailed } from './classify.ts';
import { crc32Of, crc32Text } from './crc32-text.ts';
import { withExpiry } from './lifecycle.ts';

export interface S3Parts {
  readonly sdk: typeof Sdk;
  readonly client: Sdk.S3Client;
  readonly bucket: string;
  readonly agents: readonly (HttpAgent | HttpsAgent)[];
}

/** S3 and whatever speaks its protocol. Contents are held against CRC-32 by the service on the way in and by us on the way out. */
export class S3Backend implements Backend {
  readonly kind = 's3';
  readonly description: string;
  readonly deleteBatch = 1000;
  readonly #sdk: typeof Sdk;
  readonly #client: Sdk.S3Client;
  readonly #bucket: { readonly Bucket: string };
  readonly #agents: S3Parts['agents'];

  constructor(parts: S3Parts) {
    this.#sdk = parts.sdk;
    this.#client = parts.client;
    this.#bucket = { Bucket: parts.bucket };
    this.#agents = parts.agents;
    this.description = `s3://${parts.bucket}`;
  }

  async put(key: string, body: Uint8Array, crc32: number, put: BackendPut, signal: AbortSignal): Promise<void> {
    const command = new this.#sdk.PutObjectCommand({
      ...this.#bucket,
      Key: key,
      Body: body,
      ContentLength: body.length,
      ChecksumCRC32: crc32Text(crc32),
      Metadata: { ...put.metadata },
      ...(put.ifNoneMatch && { IfNoneMatch: '*' }),
    });
    await this.#client.send(command, { abortSignal: signal });
  }

  async beginUpload(key: string, put: BackendPut, signal: AbortSignal): Promise<Upload> {
    const object = { ...this.#bucket, Key: key };
    const begin = new this.#sdk.CreateMultipartUploadCommand({
      ...object,
      Metadata: { ...put.metadata },
      ChecksumAlgorithm: 'CRC32',
      ChecksumType: 'FULL_OBJECT',
    });
    const { UploadId } = await this.#client.send(begin, { abortSignal: signal });
    return this.#upload({ ...object, UploadId }, put.ifNoneMatch);
  }

  #upload(target: { Bucket: string; Key: string; UploadId: string | undefined }, ifNoneMatch: boolean): Upload {
    const sdk = this.#sdk;
    const parts = new Map<number, Sdk.CompletedPart>();
    return {
      part: async (PartNumber, Body, crc32, abortSignal) => {
        const ChecksumCRC32 = crc32Text(crc32);
        const part = { ...target, PartNumber, Body, ContentLength: Body.length, ChecksumCRC32 };
        const { ETag } = await this.#client.send(new sdk.UploadPartCommand(part), { abortSignal });
        parts.set(PartNumber, { PartNumber, ETag, ChecksumCRC32 });
      },
      complete: async (crc32, abortSignal) => {
        const Parts = [...parts.values()].sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0));
        const command = new sdk.CompleteMultipartUploadCommand({
          ...target,
          MultipartUpload: { Parts },
          ChecksumCRC32: crc32Text(crc32),
          ChecksumType: 'FULL_OBJECT',
          ...(ifNoneMatch && { IfNoneMatch: '*' }),
        });
        await this.#client.send(command, { abortSignal });
      },
      abort: async (abortSignal) => {
        await this.#client.send(new sdk.AbortMultipartUploadCommand(target), { abortSignal });
      },
    };
  }

  async open(key: string, range: ByteRange | undefined, signal: AbortSignal): Promise<OpenObject> {
    const Range = range === undefined ? undefined : `bytes=${range.offset}-${range.offset + range.length - 1}`;
    const command = new this.#sdk.GetObjectCommand({ ...this.#bucket, Key: key, ...(Range && { Range }) });
    const got = await this.#client.send(command, { abortSignal: signal });
    const body = got.Body as Readable;
    // Whoever drops an answer has its error already.
    body.on('error', () => undefined);
    const length = got.ContentLength ?? 0;
    const size = Number(/\/(\d+)$/.exec(got.ContentRange ?? '')?.[1] ?? length);
    return {
      info: infoOf(key, size, got),
      length,
      readInto: (targets) => readInto(body, targets, signal),
      discard: () => void body.destroy(),
    };
  }

  async head(key: string, signal: AbortSignal): Promise<ObjectInfo> {
    const command = new this.#sdk.HeadObjectCommand({ ...this.#bucket, Key: key });
    const head = await this.#client.send(command, { abortSignal: signal });
    return infoOf(key, head.ContentLength ?? 0, head);
  }

  async delete(keys: readonly string[], signal: AbortSignal): Promise<void> {
    const Delete = { Quiet: true, Objects: keys.map((Key) => ({ Key })) };
    const command = new this.#sdk.DeleteObjectsCommand({ ...this.#bucket, Delete });
    const { Errors = [] } = await this.#client.send(command, { abortSignal: signal });
    const failed = Errors.filter(({ Code }) => Code !== 'NoSuchKey');
    const [first] = failed;
    if (first !== undefined) throw new DeleteFailed(failed.length, first.Code ?? 'an unknown reason');
  }

  async list(
    prefix: string,
    { cursor, limit }: { cursor: string | undefined; limit: number },
    signal: AbortSignal,
  ): Promise<ListPage> {
    const command = new this.#sdk.ListObjectsV2Command({
      ...this.#bucket,
      Prefix: prefix,
      MaxKeys: limit,
      ...(cursor !== undefined && { ContinuationToken: cursor }),
    });
    const page = await this.#client.send(command, { abortSignal: signal });
    const objects = (page.Contents ?? []).map(({ Key = '', Size = 0, LastModified }) => {
      return { key: Key, size: Size, modifiedMs: LastModified?.getTime() ?? 0 };
    });
    return { objects, cursor: page.IsTruncated ? page.NextContinuationToken : undefined };
  }

  async folders(prefix: string, limit: number, signal: AbortSignal): Promise<string[]> {
    const found: string[] = [];
    for (let token: string | undefined; ; ) {
      const command = new this.#sdk.ListObjectsV2Command({
        ...this.#bucket,
        Prefix: prefix,
        Delimiter: '/',
        ...(token !== undefined && { ContinuationToken: token }),
      });
      const page = await this.#client.send(command, { abortSignal: signal });
      for (const { Prefix = '' } of page.CommonPrefixes ?? []) found.push(Prefix.slice(prefix.length, -1));
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (token === undefined || found.length >= limit) return found.slice(0, limit);
    }
  }

  /** Replaces our rule for the prefix; rules of others stay. Also ends uploads that were never finished. */
  async setExpiry(prefix: string, days: number, signal: AbortSignal): Promise<void> {
    const options = { abortSignal: signal };
    const present = await this.#client
      .send(new this.#sdk.GetBucketLifecycleConfigurationCommand(this.#bucket), options)
      .catch((error: unknown) => {
        if (error instanceof Error && error.name === 'NoSuchLifecycleConfiguration') return undefined;
        throw error;
      });
    const LifecycleConfiguration = { Rules: withExpiry(present?.Rules ?? [], prefix, days) };
    const command = new this.#sdk.PutBucketLifecycleConfigurationCommand({ ...this.#bucket, LifecycleConfiguration });
    await this.#client.send(command, options);
  }

  classify(thrown: unknown): Failure {
    return classifyS3(thrown);
  }

  close(): void {
    this.#client.destroy();
    for (const agent of this.#agents) agent.destroy();
  }
}

type Described = Pick<Sdk.HeadObjectOutput, 'ETag' | 'LastModified' | 'ChecksumCRC32' | 'Metadata'>;

function infoOf(key: string, size: number, from: Described): ObjectInfo {
  return {
    key,
    size,
    etag: from.ETag ?? '',
    modifiedMs: from.LastModified?.getTime() ?? 0,
    crc32: crc32Of(from.ChecksumCRC32),
    metadata: { ...from.Metadata },
  };
}
