import { tokenCheck } from '#lib/rpc/interceptors/auth.ts';
import type { HttpHandler } from '#lib/rpc/server.ts';
import type { RouterConfig } from '../config.ts';
import type { RouterContext } from '../context.ts';
import { catalogRoutes } from './catalog.ts';
import { createRest } from './http.ts';
import { indexRoutes } from './index-routes.ts';
import { selectionRoutes } from './selection.ts';
import { streamRoutes } from './streams.ts';
import { WorkerCatalog } from './workers.ts';

/** The router's REST interface, for runtimes that choose workers here and send the requests themselves. docs/router-api.md. */
export function routerRest(context: RouterContext, config: RouterConfig): HttpHandler {
  const { internalToken, restBodyLimitMib } = config;
  const catalog = new WorkerCatalog((id) => context.workers.has(id));
  const isRight = internalToken === undefined ? () => true : tokenCheck(internalToken);
  return createRest({
    routes: [
      ...selectionRoutes(context, catalog),
      ...catalogRoutes(context, catalog),
      ...streamRoutes(context),
      ...indexRoutes(context),
    ],
    maxBodyBytes: restBodyLimitMib * 1024 * 1024,
    authorized: isRight,
  });
}
