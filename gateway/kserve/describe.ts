import { create } from '@bufbuild/protobuf';
import {
  DataType,
  type ModelConfig,
  ModelConfigSchema,
  type ModelMetadataResponse,
  ModelMetadataResponseSchema,
} from '#gen/inference/kserve_pb.ts';
import { onlyVersion } from './models.ts';

/** Who runs models, in the words of this API. */
export const platform = 'stator';

interface TensorDescription {
  readonly name: string;
  readonly datatype: 'BYTES' | 'BOOL';
  readonly shape: bigint;
  readonly optional?: boolean;
}

const inputs: readonly TensorDescription[] = [
  { name: 'text_input', datatype: 'BYTES', shape: 1n },
  { name: 'streaming', datatype: 'BOOL', shape: 1n, optional: true },
];
const outputs: readonly TensorDescription[] = [
  { name: 'text_output', datatype: 'BYTES', shape: -1n },
  { name: 'finish_reason', datatype: 'BYTES', shape: -1n },
];
const dataTypes = { BYTES: DataType.TYPE_STRING, BOOL: DataType.TYPE_BOOL };

export function modelMetadata(name: string): ModelMetadataResponse {
  const shown = ({ name: tensor, datatype, shape }: TensorDescription) => ({ name: tensor, datatype, shape: [shape] });
  return create(ModelMetadataResponseSchema, {
    name,
    versions: [onlyVersion],
    platform,
    inputs: inputs.map(shown),
    outputs: outputs.map(shown),
  });
}

export function modelConfig(name: string): ModelConfig {
  return create(ModelConfigSchema, {
    name,
    platform,
    backend: platform,
    input: inputs.map(({ name: tensor, datatype, shape, optional = false }) => ({
      name: tensor,
      dataType: dataTypes[datatype],
      dims: [shape],
      optional,
    })),
    output: outputs.map(({ name: tensor, datatype, shape }) => ({
      name: tensor,
      dataType: dataTypes[datatype],
      dims: [shape],
    })),
  });
}
