import { existsSync } from 'node:fs';
import path from 'node:path';
import { toolsDirectory } from './etcd-binary.ts';

/** Where the compiled Go client lies. */
export function goClient(): string {
  return path.join(toolsDirectory(), 'bin', 'stator-go-client');
}

/** The compiled Go client, or undefined where it could not be built. */
export function findGoClient(): string | undefined {
  return existsSync(`${goClient()}.sources`) ? goClient() : undefined;
}
