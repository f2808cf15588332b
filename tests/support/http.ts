import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { expect } from 'chai';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** An error body in OpenAI's shape. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

/** Posts a body as it is. */
export async function post(
  url: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: body as BodyInit,
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** The error of an answer that must be one: right shape, a message that says something. */
export function errorOf(answer: Answer): ErrorBody['error'] {
  expect(answer.headers.get('content-type'), answer.text).to.match(/^application\/json/);
  const { error } = JSON.parse(answer.text) as ErrorBody;
  expect(error.message).to.be.a('string').with.length.greaterThan(10);
  expect(error.type).to.be.a('string').that.is.not.empty;
  expect(error.code).to.be.a('string').that.is.not.empty;
  expect(error).to.have.property('param');
  return error;
}

/** Sends bytes on a fresh connection and resolves with everything that comes back until the server closes it. */
export function sendRaw(address: string, bytes: string | Uint8Array, timeoutMs = 10_000): Promise<string> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve) => {
    const socket = connect(Number(port), host);
    let got = '';
    socket.on('data', (chunk) => {
      got += chunk.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(got));
    socket.setTimeout(timeoutMs, () => socket.destroy());
    socket.end(bytes);
  });
}

/** A GET whose header block is as large as asked. */
export function getWithHeaderBytes(url: string, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url, { headers: { 'x-padding': 'p'.repeat(bytes) }, agent: false }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    sent.on('error', reject);
    sent.end();
  });
}
