import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { MissingTool } from '#bench/report.ts';

const source = path.join(import.meta.dirname, 'harness');

/** Builds the Rust side with cargo, outside the repository, unless it is there; returns the program. */
export async function buildHarness(folder: string, say: (line: string) => void): Promise<string> {
  const target = path.join(folder, 'target');
  await mkdir(target, { recursive: true });
  const manifest = path.join(source, 'Cargo.toml');
  const args = ['build', '--release', '--locked', '--quiet', '--manifest-path', manifest, '--target-dir', target];
  say('building the Rust side (about a minute the first time) …');
  await cargo(args);
  return path.join(target, 'release', 'kvindex-harness');
}

async function cargo(args: readonly string[]): Promise<void> {
  const child = spawn('cargo', args, { cwd: source, stdio: ['ignore', 'inherit', 'inherit'] });
  const [code] = await once(child, 'exit').catch((cause: unknown) => {
    throw new MissingTool(
      'This benchmark compares with the crate dynamo-kv-router. It needs cargo of Rust 1.85 or newer, and crates.io once. ' +
        "Install it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh",
      { cause },
    );
  });
  if (code !== 0) throw new Error(`cargo ${args.join(' ')} ended with ${String(code)}; its messages are above.`);
}
