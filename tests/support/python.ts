import { existsSync } from 'node:fs';
import path from 'node:path';
import { toolsDirectory } from './etcd-binary.ts';

/** Where the virtual environment of the tests lies. */
export function pythonFolder(): string {
  return path.join(toolsDirectory(), 'py');
}

export function pythonOf(folder: string): string {
  return path.join(folder, 'bin', 'python');
}

/** Python with the client packages, or undefined where they could not be installed. */
export function findPython(): string | undefined {
  const ready = existsSync(path.join(pythonFolder(), 'requirements.installed'));
  return ready ? pythonOf(pythonFolder()) : undefined;
}
