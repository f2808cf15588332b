import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder. */
export const projectRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** A path inside the repository. */
export function inProject(...parts: string[]): string {
  return path.join(projectRoot, ...parts);
}

/** The environment in which local tools run: this Node first, then the repository's own executables. */
export function toolEnvironment(): NodeJS.ProcessEnv {
  const folders = [path.dirname(process.execPath), inProject('node_modules/.bin'), process.env['PATH'] ?? ''];
  return { ...process.env, PATH: folders.join(path.delimiter) };
}
