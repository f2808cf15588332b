import { open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Artifact } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ContextOf, EngineServiceImpl } from './handler.ts';

const chunkBytes = 1024 * 1024;

/** Streams a file that the card names; the name is looked up there and never becomes a path. */
export function fetchArtifact(contextOf: ContextOf): Pick<EngineServiceImpl, 'fetchArtifact'> {
  return {
    async *fetchArtifact(request, call) {
      const host = contextOf().models.find(request.model);
      const artifact = host.card.artifacts.find(({ name }) => name === request.name && name !== '');
      if (artifact === undefined)
        throw StatorError.notFound(
          `the card of ${host.card.name} names no artefact ${JSON.stringify(request.name.slice(0, 200))}`,
          { field: 'name' },
        );
      await using file = await open(pathOf(artifact), 'r').catch((cause: unknown) => {
        throw new StatorError('internal', `artefact ${artifact.name} cannot be opened`, { cause });
      });
      const { size } = await file.stat();
      const offset = Number(request.offset);
      if (offset > size) throw StatorError.invalid('offset', `offset ${offset} is beyond the file's ${size} bytes`);
      const end = request.length === 0n ? size : Math.min(size, offset + Number(request.length));
      for (let at = offset; at < end && !call.signal.aborted; ) {
        const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, end - at));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0)
          throw new StatorError('internal', `artefact ${artifact.name} became shorter while it was read`);
        at += bytesRead;
        yield { data: buffer.subarray(0, bytesRead) };
      }
    },
  };
}

function pathOf(artifact: Artifact): string {
  if (artifact.uri.startsWith('file://')) return fileURLToPath(artifact.uri);
  throw StatorError.unsupported(
    'name',
    `artefact ${artifact.name} is no file of this worker: get it from ${artifact.uri}`,
  );
}
