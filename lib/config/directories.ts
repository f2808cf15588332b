import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { environment } from './environment.ts';

/** What Stator keeps for a user between runs: models, tools, discovery of this machine. By the XDG base directory rules. */
export function cacheDirectory(env: Readonly<Record<string, string | undefined>> = environment.variables): string {
  const configured = env['XDG_CACHE_HOME'];
  const home = configured !== undefined && isAbsolute(configured) ? configured : join(homedir(), '.cache');
  return join(home, 'stator');
}
