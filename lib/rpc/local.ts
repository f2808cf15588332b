import { create, type DescMessage, type DescMethod, type DescService, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Client,
  createClient,
  createHandlerContext,
  type HandlerContext,
  type ServiceImpl,
  type StreamResponse,
  type Transport,
  type UnaryResponse,
} from '@connectrpc/connect';
import { StatorError } from '#lib/errors/errors.ts';
import { fromConnectError } from './errors.ts';
import { observeStream } from './streams.ts';

type LocalContext = ReturnType<typeof createHandlerContext>;
type Handler = (input: unknown, context: HandlerContext) => unknown;

/**
 * A client whose calls are function calls of the implementation: messages pass as they are, nothing is serialised. Deadlines,
 * cancellation and errors behave as over the wire: callers get StatorErrors, handlers get an aborted signal.
 */
export function createLocalClient<S extends DescService>(service: S, implementation: ServiceImpl<S>): Client<S> {
  const handlers: Readonly<Record<string, unknown>> = implementation;
  const handlerOf = (method: DescMethod): Handler => {
    const handler = handlers[method.localName];
    if (typeof handler !== 'function') throw new StatorError('unimplemented', `${method.name} is not implemented`);
    return handler.bind(implementation);
  };
  return createClient(service, localTransport(handlerOf));
}

function localTransport(handlerOf: (method: DescMethod) => Handler): Transport {
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const context = contextOf(method, signal, timeoutMs, header, contextValues);
      try {
        const output = await untilAborted(context, async () => handlerOf(method)(create(method.input, input), context));
        return {
          ...common(method, context),
          stream: false,
          message: create(method.output, output as MessageInitShape<typeof method.output>),
        } satisfies UnaryResponse;
      } catch (thrown) {
        throw toStatorError(thrown);
      } finally {
        context.abort();
      }
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const context = contextOf(method, signal, timeoutMs, header, contextValues);
      const messages = results(method, handlerOf(method), input, context);
      const settle = (thrown: unknown): unknown => {
        const error =
          thrown === undefined ? undefined : toStatorError(context.signal.aborted ? context.signal.reason : thrown);
        context.abort();
        return error;
      };
      return {
        ...common(method, context),
        stream: true,
        message: observeStream(messages, settle),
      } satisfies StreamResponse<typeof method.input, typeof method.output>;
    },
  };
}

async function* results<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { input: I; output: O },
  handler: Handler,
  input: AsyncIterable<MessageInitShape<I>>,
  context: LocalContext,
): AsyncGenerator<ReturnType<typeof create<O>>> {
  const requests = normalized(method.input, input);
  const request = method.methodKind === 'server_streaming' ? await single(requests) : requests;
  const output = handler(request, context);
  if (method.methodKind === 'client_streaming') {
    yield create(method.output, (await output) as MessageInitShape<O>);
    return;
  }
  for await (const message of output as AsyncIterable<MessageInitShape<O>>) yield create(method.output, message);
}

async function* normalized<I extends DescMessage>(
  schema: I,
  input: AsyncIterable<MessageInitShape<I>>,
): AsyncGenerator<ReturnType<typeof create<I>>> {
  for await (const message of input) yield create(schema, message);
}

async function single<T>(messages: AsyncIterable<T>): Promise<T> {
  for await (const message of messages) return message;
  throw new StatorError('invalid_argument', 'the request is missing');
}

/** The call's result, or what aborted it first: a handler need not watch its signal. */
async function untilAborted<T>(context: LocalContext, call: () => Promise<T>): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(context.signal.reason);
  if (context.signal.aborted) onAbort();
  context.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([call(), aborted]);
  } finally {
    context.signal.removeEventListener('abort', onAbort);
  }
}

function contextOf(
  method: DescMethod,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  header: HeadersInit | undefined,
  contextValues: HandlerContext['values'] | undefined,
): LocalContext {
  return createHandlerContext({
    service: method.parent,
    method,
    protocolName: 'local',
    requestMethod: 'POST',
    url: `local:///${method.parent.typeName}/${method.name}`,
    ...(signal !== undefined && { requestSignal: signal }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(header !== undefined && { requestHeader: header }),
    ...(contextValues !== undefined && { contextValues }),
  });
}

function common<M extends DescMethod>(
  method: M,
  context: LocalContext,
): { service: DescService; method: M; header: Headers; trailer: Headers } {
  return { service: method.parent, method, header: context.responseHeader, trailer: context.responseTrailer };
}

/** Foreign errors become `internal`, as they would over the wire, but keep their cause: caller and handler share a process. */
function toStatorError(thrown: unknown): StatorError {
  if (thrown instanceof Error && thrown.name === 'ConnectError') return fromConnectError(thrown);
  if (thrown instanceof Error && thrown.name === 'AbortError')
    return new StatorError('cancelled', thrown.message, { cause: thrown });
  return StatorError.from(thrown);
}
