import { create } from '@bufbuild/protobuf';
import {
  DataType,
  type ModelConfig,
  ModelConfigSchema,
  type ModelMetadataResponse,
  ModelMetadataResponseSchema,
} from '#gen/inference/kserve_pb.ts';
import { nameOf, onlyVersion, type TensorModel } from './models.ts';
import { vectorsOutput } from './vectors.ts';

/** Who runs models, in the words of this API. */
export const platform = 'stator';

interface TensorDescription {
  readonly name: string;
  readonly datatype: 'BYTES' | 'BOOL' | 'FP32';
  /** -1: any size. */
  readonly shape: readonly bigint[];
  readonly optional?: boolean;
}

interface Signature {
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
}

const ofText: Signature = {
  inputs: [
    { name: 'text_input', datatype: 'BYTES', shape: [1n] },
    { name: 'streaming', datatype: 'BOOL', shape: [1n], optional: true },
  ],
  outputs: [
    { name: 'text_output', datatype: 'BYTES', shape: [-1n] },
    { name: 'finish_reason', datatype: 'BYTES', shape: [-1n] },
  ],
};
const dataTypes = { BYTES: DataType.TYPE_STRING, BOOL: DataType.TYPE_BOOL, FP32: DataType.TYPE_FP32 };

function signatureOf({ model, makes }: TensorModel): Signature {
  if (makes === 'text') return ofText;
  const dimensions = model.entry.card.capabilities?.embeddingDimensions ?? 0;
  return {
    inputs: [{ name: 'text_input', datatype: 'BYTES', shape: [-1n] }],
    outputs: [{ name: vectorsOutput, datatype: 'FP32', shape: [-1n, dimensions === 0 ? -1n : BigInt(dimensions)] }],
  };
}

export function modelMetadata(model: TensorModel): ModelMetadataResponse {
  const { inputs, outputs } = signatureOf(model);
  const shown = ({ name, datatype, shape }: TensorDescription) => ({ name, datatype, shape: [...shape] });
  return create(ModelMetadataResponseSchema, {
    name: nameOf(model.model),
    versions: [onlyVersion],
    platform,
    inputs: inputs.map(shown),
    outputs: outputs.map(shown),
  });
}

export function modelConfig(model: TensorModel): ModelConfig {
  const { inputs, outputs } = signatureOf(model);
  return create(ModelConfigSchema, {
    name: nameOf(model.model),
    platform,
    backend: platform,
    input: inputs.map(({ name, datatype, shape, optional = false }) => ({
      name,
      dataType: dataTypes[datatype],
      dims: [...shape],
      optional,
    })),
    output: outputs.map(({ name, datatype, shape }) => ({ name, dataType: dataTypes[datatype], dims: [...shape] })),
  });
}
