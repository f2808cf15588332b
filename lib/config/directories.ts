import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { environment } from './environment.ts';

type Variables = Readonly<Record<string, string | undefined>>;

/** What Stator keeps for a user between runs: models, tools, discovery of this machine. By the XDG base directory rules. */
export function cacheDirectory(env: Variables = environment.variables): string {
  return baseDirectory(env['XDG_CACHE_HOME'], '.cache');
}

/** What a user would miss: stored responses, files and batches. By the same rules. */
export function dataDirectory(env: Variables = environment.variables): string {
  return baseDirectory(env['XDG_DATA_HOME'], join('.local', 'share'));
}

function baseDirectory(configured: string | undefined, byDefault: string): string {
  const base = configured !== undefined && isAbsolute(configured) ? configured : join(homedir(), byDefault);
  return join(base, 'stator');
}
