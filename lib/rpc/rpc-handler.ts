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
}

/** Serves RPCs in all three protocols, everything else by the fallback. connect-node's own adapter prints to the console; this one logs. */
export function rpcHandler({ routes, fallback, log, ...options }: RpcHandlerOptions): NodeHandler {
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
