import { StatorError } from '#lib/errors/errors.ts';
import type { GgufFile } from './gguf-files.ts';
import { isConnectionError, refused } from './http-errors.ts';
import type { HubReference } from './reference.ts';
import type { ModelSources } from './sources.ts';

/** Offline machines fall through to another source after this long. */
const FIRST_ANSWER_MS = 5000;
const MAX_PAGES = 50;

interface TreeEntry {
  readonly type: string;
  readonly path: string;
  readonly size: number;
  readonly lfs?: { readonly oid: string; readonly size: number };
}

/** Files of a repository. Throws StatorError: `not_ready` if the hub cannot be reached, else what it refused. */
export async function listHubFiles(
  sources: ModelSources,
  { repo, revision }: HubReference,
  signal: AbortSignal | undefined,
): Promise<GgufFile[]> {
  const files: GgufFile[] = [];
  const first = `${sources.hub}/api/models/${repo}/tree/${encodeURIComponent(revision)}?recursive=true`;
  let page: string | undefined = first;
  for (let pages = 0; page !== undefined && pages < MAX_PAGES; pages++) {
    const response = await get(page, sources, signal);
    if (!response.ok) throw refused(response, page);
    for (const entry of (await response.json()) as TreeEntry[]) {
      if (entry.type === 'file')
        files.push({ path: entry.path, bytes: entry.lfs?.size ?? entry.size, sha256: entry.lfs?.oid });
    }
    page = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
  }
  return files;
}

export function hubFileUrl(sources: ModelSources, { repo, revision }: HubReference, path: string): string {
  return `${sources.hub}/${repo}/resolve/${encodeURIComponent(revision)}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

/** fetch drops the header when the hub redirects to another host, so that the token stays with the hub. */
export function hubHeaders({ hubToken }: ModelSources): Record<string, string> {
  return hubToken === undefined ? {} : { authorization: `Bearer ${hubToken}` };
}

async function get(url: string, sources: ModelSources, signal: AbortSignal | undefined): Promise<Response> {
  const timeout = AbortSignal.timeout(FIRST_ANSWER_MS);
  try {
    return await fetch(url, {
      headers: hubHeaders(sources),
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (!isConnectionError(error)) throw error;
    throw new StatorError('not_ready', `The Hugging Face hub (${sources.hub}) cannot be reached.`, { cause: error });
  }
}
