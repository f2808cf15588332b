import {
  Code,
  ConnectError,
  type ConnectRouter,
  type ConnectRouterOptions,
  createConnectRouter,
} from '@connectrpc/connect';
import {
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import type { Logger } from 'pino';
import type { HttpRequest, HttpResponse } from './default-http.ts';

export type NodeHandler = (req: HttpRequest, res: HttpResponse) => void;

export interface RpcHandlerOptions extends ConnectRouterOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly fallback: NodeHandler;
  readonly log: Logger;
  /** Milliseconds in which the message of a call with one message must have come; unset: any. */
  readonly messageTimeoutMs?: number | undefined;
}

/** Serves RPCs in all three protocols, everything else by the fallback. connect-node's own adapter prints to the console; this one logs. */
export function rpcHandler({ routes, fallback, log, messageTimeoutMs, ...options }: RpcHandlerOptions): NodeHandler {
  // Compressed requests are read; answers are never worth compressing: token ids hardly shrink and every frame would wait.
  const router = createConnectRouter({
    ...options,
    acceptCompression: [compressionGzip],
    compressMinBytes: 0xffff_ffff,
  });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (req, res) => {
    const handler = handlers.get((req.url ?? '').split('?', 1)[0] ?? '');
    if (handler === undefined) {
      serve(fallback, log, req, res);
      return;
    }
    const hasOneMessage = ['unary', 'server_streaming'].includes(handler.method.methodKind);
    if (messageTimeoutMs !== undefined && hasOneMessage) limitMessage(req, res, messageTimeoutMs);
    // Called within the promise chain, because a request without a usable authority makes it throw.
    Promise.resolve()
      .then(() => handler(universalRequestFromNodeRequest(req, res, undefined, undefined)))
      .then((response) => universalResponseToNodeResponse(response, res))
      .catch((thrown: unknown) => {
        const level = ConnectError.from(thrown).code === Code.Internal ? 'warn' : 'debug';
        log[level]({ err: thrown, rpc: handler.requestPath }, 'answer could not be written');
        if (res.headersSent) {
          res.destroy();
          return;
        }
        res.statusCode = 400;
        res.end();
      });
  };
}

/** Ends a call whose message does not come: it costs the client nothing to leave it open, and the server a stream. */
function limitMessage(req: HttpRequest, res: HttpResponse, timeoutMs: number): void {
  if (req.complete) return;
  const timer = setTimeout(() => {
    if (!req.complete) res.destroy();
  }, timeoutMs);
  timer.unref();
  const clear = (): void => clearTimeout(timer);
  req.once('end', clear);
  res.once('close', clear);
}

/** A handler that throws fails its own request: what a stranger asks must not end the process. */
function serve(handler: NodeHandler, log: Logger, req: HttpRequest, res: HttpResponse): void {
  try {
    handler(req, res);
  } catch (thrown) {
    log.error({ err: thrown }, 'request handler failed');
    if (!res.headersSent) res.statusCode = 500;
    res.end();
  }
}
