import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, queryOf, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import { FileStore } from '../files/file-store.ts';
import { newFileOf, readUpload } from '../files/upload.ts';
import { slotsOf } from '../files/upload-slots.ts';
import { pageAsked } from '../page.ts';

/** POST /v1/files */
export async function createFile(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  const release = slotsOf(ctx).take();
  try {
    const upload = await readUpload(exchange, ctx.config.maxFileMib * 1024 ** 2);
    const files = new FileStore(ctx.store);
    const content = upload.file.stream() as unknown as AsyncIterable<Uint8Array>;
    const file = await files.create(newFileOf(upload, ctx.config.fileDays), content);
    sendJson(exchange, 200, JSON.stringify(file));
  } finally {
    release();
  }
}

/** GET /v1/files */
export async function listFiles(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  const asked = pageAsked(exchange, { limit: 1000, most: 10_000 });
  const purpose = queryOf(exchange).get('purpose');
  const { items, hasMore } = await new FileStore(ctx.store).list(asked);
  const data = items.filter((file) => purpose === null || file.purpose === purpose);
  const ends = { first_id: data[0]?.id ?? null, last_id: items.at(-1)?.id ?? null };
  sendJson(exchange, 200, JSON.stringify({ object: 'list', data, ...ends, has_more: hasMore }));
}

/** GET /v1/files/{id} */
export async function getFile(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  sendJson(exchange, 200, JSON.stringify(await new FileStore(ctx.store).get(id)));
}

/** GET /v1/files/{id}/content */
export async function getFileContent(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  const files = new FileStore(ctx.store);
  const { bytes } = await files.get(id);
  const { response } = exchange;
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes });
  if (exchange.method === 'HEAD') response.end();
  else await pipeline(Readable.from(files.read(id)), response);
}

/** DELETE /v1/files/{id} */
export async function deleteFile(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  await new FileStore(ctx.store).delete(id);
  sendJson(exchange, 200, JSON.stringify({ id, object: 'file', deleted: true }));
}
