import { glob, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { inProject } from '../../scripts/support/project.ts';
import { run, runTool } from '../../scripts/support/run.ts';

/** Generates the Python clients of the contracts into a folder: buf compiles the contracts, grpcio-tools writes the code. */
export async function generatePython(python: string, folder: string): Promise<void> {
  const image = path.join(folder, 'contracts.binpb');
  const built = await runTool(inProject('node_modules/@bufbuild/buf/bin/buf'), ['build', '-o', image]);
  if (built.status !== 0) throw new Error(built.output);
  const files: string[] = [];
  for await (const file of glob('stator/**/*.proto', { cwd: inProject('proto') })) files.push(file);
  await mkdir(path.join(folder, 'gen'));
  const out = path.join(folder, 'gen');
  const options = [`--descriptor_set_in=${image}`, `--python_out=${out}`, `--grpc_python_out=${out}`];
  const generated = await run(python, ['-m', 'grpc_tools.protoc', ...options, ...files]);
  if (generated.status !== 0) throw new Error(generated.output);
}
