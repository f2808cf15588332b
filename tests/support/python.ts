import { existsSync } from 'node:fs';
import path from 'node:path';
import { toolsDirectory } from './etcd-binary.ts';

/** A virtual environment in the user's cache. */
export interface Venv {
  readonly folder: string;
  /** What it holds: a file of the repository. */
  readonly requirements: string;
  readonly flags: readonly string[];
}

const clients = 'tests/clients/python';
export const venvs = {
  /** Official clients of the APIs. */
  official: { folder: path.join(toolsDirectory(), 'py'), requirements: `${clients}/requirements.txt`, flags: [] },
  /** Agent frameworks. */
  agents: {
    folder: path.join(toolsDirectory(), 'py-agents'),
    requirements: `${clients}/agents/requirements.txt`,
    flags: ['--no-deps'],
  },
  /** Triton's client, which needs older versions than the official ones. */
  triton: {
    folder: path.join(toolsDirectory(), 'py-triton'),
    requirements: `${clients}/triton/requirements.txt`,
    flags: [],
  },
  aiperf: {
    folder: path.join(toolsDirectory(), 'py-aiperf'),
    requirements: `${clients}/aiperf/requirements.txt`,
    flags: ['--no-deps'],
  },
  schemathesis: {
    folder: path.join(toolsDirectory(), 'py-schemathesis'),
    requirements: 'tests/conformance/schemathesis/requirements.txt',
    flags: [],
  },
} as const satisfies Readonly<Record<string, Venv>>;

export function pythonOf(folder: string): string {
  return path.join(folder, 'bin', 'python');
}

/** There once everything is installed: what was asked for. */
export function venvStamp(folder: string): string {
  return path.join(folder, 'requirements.installed');
}

/** Python with the official client packages, or undefined where they could not be installed. */
export function findPython(): string | undefined {
  const { folder } = venvs.official;
  return existsSync(venvStamp(folder)) ? pythonOf(folder) : undefined;
}
