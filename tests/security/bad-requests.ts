import { gzipSync } from 'node:zlib';

/** A request that must be refused, and how. */
export interface BadRequest {
  readonly name: string;
  readonly path?: string;
  /** The body as it is, or changes to a good chat request. */
  readonly body?: string | Uint8Array;
  readonly change?: Readonly<Record<string, unknown>>;
  readonly headers?: Record<string, string>;
  readonly status: number;
  readonly param?: string | null;
  readonly says: RegExp;
}

const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;

export const badRequests: readonly BadRequest[] = [
  { name: 'an empty body', body: '', status: 400, says: /empty/ },
  { name: 'a body cut short', body: '{"model": "m", "messages": [', status: 400, says: /not valid JSON.*line 1/ },
  { name: 'text after the JSON', body: '{} {}', status: 400, says: /not valid JSON/ },
  { name: 'single quotes', body: "{'model': 'm'}", status: 400, says: /not valid JSON/ },
  { name: 'a number as body', body: '7', status: 400, says: /object/ },
  { name: 'an array as body', body: '[]', status: 400, says: /object/ },
  { name: 'null as body', body: 'null', status: 400, says: /object/ },
  { name: 'twenty thousand nested arrays', body: deep, status: 400, says: /object|JSON/ },
  {
    name: 'invalid UTF-8',
    body: Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d),
    status: 400,
    says: /UTF-8/,
  },
  { name: 'a NUL byte', body: '{"model": "m\u0000"', status: 400, says: /not valid JSON/ },
  {
    name: 'another media type',
    body: '{}',
    headers: { 'content-type': 'text/plain' },
    status: 415,
    says: /Content-Type/,
  },
  {
    name: 'a body that is not packed as it says',
    body: '{}',
    headers: { 'content-encoding': 'gzip' },
    status: 400,
    says: /not valid gzip/,
  },
  {
    name: 'a body packed in an unknown way',
    body: '{}',
    headers: { 'content-encoding': 'compress' },
    status: 415,
    says: /Content-Encoding/,
  },
  {
    name: 'a bomb',
    body: gzipSync(Buffer.alloc(64 * 1024 ** 2, ' ')),
    headers: { 'content-encoding': 'gzip' },
    status: 413,
    says: /limit of 1 MiB/,
  },
  { name: 'a body over the limit', body: `{"model": "${'m'.repeat(1_200_000)}"}`, status: 413, says: /limit of 1 MiB/ },
  { name: 'no model', change: { model: undefined }, status: 400, param: 'model', says: /model/ },
  { name: 'a number as model', change: { model: 7 }, status: 400, param: 'model', says: /string/ },
  { name: 'an unknown model', change: { model: 'no-such-model' }, status: 404, says: /no-such-model/ },
  { name: 'no messages', change: { messages: undefined }, status: 400, param: 'messages', says: /messages/ },
  { name: 'an empty list of messages', change: { messages: [] }, status: 400, param: 'messages', says: /messages/ },
  { name: 'messages as text', change: { messages: 'hello' }, status: 400, param: 'messages', says: /array/ },
  { name: 'null as message', change: { messages: [null] }, status: 400, param: 'messages[0]', says: /messages\[0\]/ },
  {
    name: 'an unknown role',
    change: { messages: [{ role: 'king', content: 'x' }] },
    status: 400,
    param: 'messages[0].role',
    says: /role/,
  },
  {
    name: 'a number as content',
    change: { messages: [{ role: 'user', content: 7 }] },
    status: 400,
    param: 'messages[0].content',
    says: /content/,
  },
  { name: 'a temperature of 99', change: { temperature: 99 }, status: 400, param: 'temperature', says: /2/ },
  { name: 'a negative temperature', change: { temperature: -1 }, status: 400, param: 'temperature', says: /0/ },
  { name: 'text as temperature', change: { temperature: 'hot' }, status: 400, param: 'temperature', says: /number/ },
  {
    name: 'a temperature beyond doubles',
    body: '{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
    status: 400,
    param: 'temperature',
    says: /temperature/,
  },
  { name: 'a top_p of 2', change: { top_p: 2 }, status: 400, param: 'top_p', says: /1/ },
  { name: 'no tokens', change: { max_tokens: 0 }, status: 400, param: 'max_tokens', says: /1/ },
  { name: 'minus one token', change: { max_tokens: -1 }, status: 400, param: 'max_tokens', says: /1/ },
  { name: 'half a token', change: { max_tokens: 1.5 }, status: 400, param: 'max_tokens', says: /int/ },
  {
    name: 'more tokens than numbers',
    change: { max_tokens: 1e300 },
    status: 400,
    param: 'max_tokens',
    says: /max_tokens/,
  },
  { name: 'no choices', change: { n: 0 }, status: 400, param: 'n', says: /1/ },
  { name: 'a million choices', change: { n: 1_000_000 }, status: 400, param: 'n', says: /128/ },
  {
    name: 'thirty-three stop strings',
    change: { stop: Array(33).fill('x') },
    status: 400,
    param: 'stop',
    says: /stop/,
  },
  { name: 'an empty stop string', change: { stop: '' }, status: 400, param: 'stop', says: /stop/ },
  { name: 'a bias of 1000', change: { logit_bias: { 5: 1000 } }, status: 400, param: 'logit_bias.5', says: /100/ },
  { name: 'a bias of a word', change: { logit_bias: { word: 1 } }, status: 400, says: /logit_bias/ },
  { name: 'stream as text', change: { stream: 'yes' }, status: 400, param: 'stream', says: /boolean/ },
  {
    name: 'stream options without stream',
    change: { stream_options: { include_usage: true } },
    status: 400,
    param: 'stream_options',
    says: /stream/,
  },
  { name: 'a field that no API has', change: { temprature: 1 }, status: 400, param: 'temprature', says: /temprature/ },
  {
    name: '__proto__',
    body: '{"__proto__": {"polluted": true}, "model": "m", "messages": [{"role": "user", "content": "x"}]}',
    status: 400,
    says: /__proto__|model/,
  },
  {
    name: 'top_logprobs without logprobs',
    change: { top_logprobs: 3 },
    status: 400,
    param: 'top_logprobs',
    says: /logprobs/,
  },
  {
    name: 'a prompt beyond the context',
    change: { messages: [{ role: 'user', content: 'word '.repeat(200_000) }] },
    status: 400,
    says: /context|tokens/,
  },
  {
    name: 'embeddings of nothing',
    path: '/v1/embeddings',
    body: '{"model": "m", "input": []}',
    status: 400,
    param: 'input',
    says: /input/,
  },
  { name: 'an unknown path', path: '/v1/nothing', body: '{}', status: 404, says: /\/v1\/nothing/ },
  { name: 'a path with a bad escape', path: '/v1/%ff', body: '{}', status: 404, says: /Route not found/ },
  { name: 'POST where GET belongs', path: '/v1/models', body: '{}', status: 405, says: /GET/ },
];
