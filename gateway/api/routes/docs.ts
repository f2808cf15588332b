import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, send, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import { buildOpenApi } from '../../openapi/document.ts';

const rendered = new WeakMap<GatewayContext, string>();

/** GET /openapi.json */
export function openApi(ctx: GatewayContext, exchange: Exchange): void {
  let document = rendered.get(ctx);
  if (document === undefined) {
    const internalToken = ctx.config.internalToken !== undefined;
    document = JSON.stringify(buildOpenApi({ keys: ctx.access.tenants.required, internalToken }));
    rendered.set(ctx, document);
  }
  sendJson(exchange, 200, document);
}

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Stator API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

const startScript = `window.ui = SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', validatorUrl: null });\n`;

/** Swagger UI sets styles from script; scripts, and everything else, come from here only. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
  "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const assets: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

/** GET /docs and what its page loads: Swagger UI from the package, nothing from elsewhere. */
export async function docsPage(_ctx: GatewayContext, exchange: Exchange, params: RouteParams): Promise<void> {
  const { response } = exchange;
  response.setHeader('content-security-policy', policy);
  response.setHeader('x-content-type-options', 'nosniff');
  response.setHeader('referrer-policy', 'no-referrer');
  const { asset: name = '' } = params;
  if (name === '') return send(exchange, 200, 'text/html; charset=utf-8', page);
  if (name === 'start.js') return send(exchange, 200, 'text/javascript; charset=utf-8', startScript);
  const contentType = assets[name];
  if (contentType === undefined)
    throw StatorError.notFound(`Route not found: ${exchange.method} /docs/${name.slice(0, 200)}`);
  response.setHeader('cache-control', 'public, max-age=3600');
  send(exchange, 200, contentType, await readAsset(name));
}

async function readAsset(name: string): Promise<Buffer> {
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  return readFile(join(folder, name));
}
