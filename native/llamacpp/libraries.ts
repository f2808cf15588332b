import { createRequire } from 'node:module';
import path from 'node:path';

const resolve = createRequire(import.meta.url).resolve;

/** Release of the packages that carry llama.cpp's prebuilt libraries, and of the headers the addon is compiled with. */
export const librariesVersion = '3.22.1';

function platformName(): string {
  return `${process.platform === 'darwin' ? 'mac' : process.platform}-${process.arch}`;
}

/** Folder with libllama and ggml's CPU back ends. Throws an Error that says which package is missing. */
export function findLibraries(): string {
  const found = findPackage(`@node-llama-cpp/${platformName()}`, platformName());
  if (found !== undefined) return found;
  const name = `@node-llama-cpp/${platformName()}@${librariesVersion}`;
  throw new Error(`llama.cpp has no prebuilt libraries here: the package ${name} is not installed.`);
}

/** File of ggml's CUDA back end, where its package is installed. It needs the CUDA 13 runtime and a driver. */
export function findCudaLibrary(): string | undefined {
  const folder = findPackage(`@node-llama-cpp/${platformName()}-cuda`, `${platformName()}-cuda`);
  return folder === undefined ? undefined : path.join(folder, 'libggml-cuda.so');
}

function findPackage(name: string, bins: string): string | undefined {
  try {
    return path.join(path.dirname(resolve(name)), '..', 'bins', bins);
  } catch {
    return undefined;
  }
}
