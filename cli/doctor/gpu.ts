import { createRequire } from 'node:module';
import { environment } from '#lib/config/environment.ts';
import { runCommand } from '../models/run-command.ts';
import { type Finding, ok, type Section, warn } from './check.ts';

const PROBE_MS = 20_000;

export async function gpuSection(): Promise<Section> {
  const gpu = await nvidia();
  if (gpu === undefined) return { name: 'gpu', findings: [ok('nvidia', 'no NVIDIA driver; models run on the CPU')] };
  return { name: 'gpu', findings: [gpu, await libcuda(), cudaPackage()] };
}

async function nvidia(): Promise<Finding | undefined> {
  const query = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
  const { status, output } = await runCommand('nvidia-smi', query, { env: environment.variables, timeoutMs: PROBE_MS });
  if (status === undefined) return undefined;
  const lines = output.trim().split('\n');
  if (status === 0) return ok('nvidia', lines.join('; '));
  return warn('nvidia', lines[0] ?? `nvidia-smi ended with ${status}`, 'Reload or reinstall the NVIDIA driver.');
}

async function libcuda(): Promise<Finding> {
  const { output } = await runCommand('ldconfig', ['-p'], { env: environment.variables, timeoutMs: PROBE_MS });
  const path = /libcuda\.so\.1 .*=> (\S+)/.exec(output)?.[1];
  if (path !== undefined) return ok('libcuda', path);
  return warn('libcuda', 'libcuda.so.1 is not in the linker cache', "Install the driver's libraries (libcuda1).");
}

function cudaPackage(): Finding {
  const name = `@node-llama-cpp/${process.platform}-${process.arch}-cuda`;
  try {
    createRequire(import.meta.url).resolve(name);
    return ok('llama.cpp for CUDA', name);
  } catch {
    return warn(
      'llama.cpp for CUDA',
      `${name} is not installed`,
      `The embedded engine uses the CPU until: npm i ${name}`,
    );
  }
}
