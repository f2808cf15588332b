import type { DescService } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import type { RunningRequests } from '../http/running-requests.ts';
import type { Access, Admission, RequestFacts } from './access.ts';
import { type Call, within } from './caller.ts';
import type { Credentials } from './tenants.ts';

type Method = (request: never, context: HandlerContext) => unknown;

export interface Guard<S extends DescService> {
  readonly access: Access;
  readonly running: RunningRequests;
  /** Methods that no model works for: they ask for a valid key, and count for no limit. */
  readonly plain: readonly (keyof S['method'])[];
}

/** The handlers of a service for callers who may call, within their limits and the gateway's: as REST requests are treated. */
export function guardRpc<S extends DescService>(
  { access, running, plain }: Guard<S>,
  service: S,
  handlers: ServiceImpl<S>,
): ServiceImpl<S> {
  const guarded: Record<string, Method> = {};
  for (const { localName, methodKind } of service.methods) {
    const method = (handlers as Record<string, Method>)[localName];
    if (method === undefined) continue;
    if (plain.includes(localName)) {
      guarded[localName] = (request, context) => authenticated(access, context, () => method(request, context));
    } else if (methodKind === 'unary') {
      guarded[localName] = (request, context) =>
        running.run(() => admitted(access, context, () => method(request, context)));
    } else {
      guarded[localName] = (request, context) =>
        counted(running, () => stream(access, context, () => method(request, context) as AsyncIterable<unknown>));
    }
  }
  return guarded as ServiceImpl<S>;
}

async function* counted(running: RunningRequests, work: () => AsyncIterable<unknown>): AsyncGenerator {
  const leave = running.enter();
  try {
    yield* work();
  } finally {
    leave();
  }
}

/** Runs work as a call of whoever sends these headers, within its limits. */
export async function admitted<T>(access: Access, context: HandlerContext, work: () => Promise<T> | T): Promise<T> {
  const admission = await admit(access, context);
  try {
    const answer = await within(admission.call, work);
    admission.end(null);
    return answer;
  } catch (thrown) {
    admission.end(thrown);
    throw thrown;
  }
}

/** Runs work that counts for no limit, as whoever sends these headers. */
export function authenticated<T>(access: Access, context: HandlerContext, work: () => T): Promise<Awaited<T>> {
  return access.as(credentialsOf(context), factsOf(context), work);
}

async function* stream(access: Access, context: HandlerContext, work: () => AsyncIterable<unknown>): AsyncGenerator {
  const { call, end } = await admit(access, context);
  let outcome: unknown = null;
  try {
    yield* asCaller(call, work);
  } catch (thrown) {
    outcome = thrown;
    throw thrown;
  } finally {
    end(outcome);
  }
}

/** A generator runs where its reader asks for more, so every step is made as the caller. */
async function* asCaller(call: Call, work: () => AsyncIterable<unknown>): AsyncGenerator {
  const parts = within(call, () => work()[Symbol.asyncIterator]());
  try {
    for (;;) {
      const part = await within(call, () => parts.next());
      if (part.done === true) return;
      yield part.value;
    }
  } finally {
    await within(call, () => parts.return?.());
  }
}

function admit(access: Access, context: HandlerContext): Promise<Admission> {
  return access.admit(credentialsOf(context), factsOf(context));
}

function credentialsOf({ requestHeader }: HandlerContext): Credentials {
  return { authorization: requestHeader.get('authorization') ?? '', apiKey: requestHeader.get('x-api-key') ?? '' };
}

function factsOf({ service, method, requestHeader }: HandlerContext): RequestFacts {
  const requestId = requestHeader.get('x-request-id')?.slice(0, 128) ?? '';
  return { requestId, method: 'POST', path: `/${service.typeName}/${method.name}`, remoteAddress: '' };
}
