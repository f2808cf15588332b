import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { findPackageJSON, stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';

export interface Asset {
  readonly contentType: string;
  readonly body: string;
}

const script = 'text/javascript; charset=utf-8';

/** Where the page finds the package that its modules name; the compiled page and its sources differ in one suffix. */
const importMap = JSON.stringify({ imports: { 'lit-html': '/console/vendor/lit-html.js' } });
const suffix = import.meta.filename.endsWith('.ts') ? 'ts' : 'js';

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stator console</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/console/style.css">
<script type="importmap">${importMap}</script>
<script type="module" src="/console/main.${suffix}"></script>
</head>
<body><div id="app"></div></body>
</html>
`;

/** Everything comes from here; the one script in the page is the import map, by its hash. */
export const pagePolicy =
  `default-src 'none'; script-src 'self' 'sha256-${createHash('sha256').update(importMap).digest('base64')}'; ` +
  "style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Modules of the page: nothing else below its folder is told to anybody. */
const modules = ['main', 'api', 'overview', 'request-view', 'sessions', 'playground', 'sse', 'topology', 'format'];

const known = new Map<string, Promise<Asset>>();

/** A file of the page by its name below /console/, '' for the page itself; undefined for anything else. */
export function assetOf(name: string): Promise<Asset> | undefined {
  const found = known.get(name);
  if (found !== undefined) return found;
  const asset = load(name);
  if (asset !== undefined) known.set(name, asset);
  return asset;
}

function load(name: string): Promise<Asset> | undefined {
  if (name === '') return Promise.resolve({ contentType: 'text/html; charset=utf-8', body: page });
  if (name === 'style.css') return styles();
  if (name === 'vendor/lit-html.js') return vendor();
  const stem = modules.find((module) => name === `${module}.${suffix}`);
  return stem === undefined ? undefined : pageModule(stem);
}

async function styles(): Promise<Asset> {
  const { style } = await import('./page/style.ts');
  return { contentType: 'text/css; charset=utf-8', body: style };
}

async function vendor(): Promise<Asset> {
  const manifest = findPackageJSON('lit-html', import.meta.url);
  if (manifest === undefined) throw new Error('the package lit-html is not installed');
  return { contentType: script, body: await readFile(join(dirname(manifest), 'lit-html.js'), 'utf8') };
}

async function pageModule(stem: string): Promise<Asset> {
  const text = await readFile(join(import.meta.dirname, 'page', `${stem}.${suffix}`), 'utf8');
  return { contentType: script, body: suffix === 'ts' ? stripTypeScriptTypes(text) : text };
}
