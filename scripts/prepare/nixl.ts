// NIXL's libraries out of its Python package, and its C header out of its crate: neither is part of Stator.
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { nixlFolder, nixlPackage, nixlVersion } from '#lib/transfer/nixl/library.ts';
import { findNixl, findNixlHeader, nixlHeader } from '#tests/support/nixl.ts';
import { answers, run } from '../support/run.ts';

const FETCH_TIMEOUT_MS = 10 * 60_000;

/** Fetches the package, 69 MB, unless it is there. Returns why it could not be had, or undefined. */
export async function prepareNixl(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'NIXL exists for Linux only';
  if (findNixl() !== undefined) return undefined;
  const folder = nixlFolder();
  await mkdir(path.dirname(folder), { recursive: true });
  const work = await mkdtemp(`${folder}.`);
  try {
    const target = ['--no-deps', '--target', work, `${nixlPackage}==${nixlVersion}`];
    const pip = ['-m', 'pip', 'install', '--quiet', '--no-compile', '--disable-pip-version-check', ...target];
    const installed = await run('python3', pip, { timeoutMs: FETCH_TIMEOUT_MS });
    if (installed.status !== 0) return `pip install failed: ${installed.output.trim().split('\n').at(-1) ?? ''}`;
    // Expert-parallel kernels for GPUs, half of the package.
    await rm(path.join(work, 'nixl_ep_cu12'), { recursive: true, force: true });
    await rename(work, folder);
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Fetches the header through cargo, unless it is there. */
export async function prepareNixlHeader(): Promise<string | undefined> {
  if (findNixlHeader() !== undefined) return undefined;
  if (!(await answers('cargo', ['--version']))) return 'there is no cargo on this machine';
  const folder = path.dirname(nixlHeader());
  await mkdir(path.dirname(folder), { recursive: true });
  const work = await mkdtemp(`${folder}.`);
  try {
    const manifest = `[package]\nname = "oracle"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nnixl-sys = "=${nixlVersion}"\n`;
    await mkdir(path.join(work, 'src'));
    await writeFile(path.join(work, 'Cargo.toml'), manifest);
    await writeFile(path.join(work, 'src/lib.rs'), '');
    const fetched = await run('cargo', ['vendor', '--quiet', 'vendor'], { cwd: work, timeoutMs: FETCH_TIMEOUT_MS });
    const header = path.join(work, 'vendor/nixl-sys/wrapper.h');
    if (!existsSync(header)) return `cargo vendor failed: ${fetched.output.trim().split('\n').at(-1) ?? ''}`;
    await mkdir(folder, { recursive: true });
    await copyFile(header, nixlHeader());
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
