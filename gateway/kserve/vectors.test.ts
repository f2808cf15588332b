import { expect } from 'chai';
import { DataType, type ModelInferResponse } from '#gen/inference/kserve_pb.ts';
import { addVectors, asking, refusal, tensorWorld, textInput } from '../testing/tensors.ts';

const modelName = 'vectors';

function texts(...all: string[]) {
  const shape = [BigInt(all.length)];
  return { ...textInput(''), shape, contents: { bytesContents: all.map((text) => Buffer.from(text)) } };
}

function raw(...all: string[]): Uint8Array {
  return Buffer.concat(
    all.flatMap((text) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(text));
      return [length, Buffer.from(text)];
    }),
  );
}

function told({ outputs }: ModelInferResponse) {
  return outputs.map(({ name, datatype, shape, contents }) => [name, datatype, shape, contents?.fp32Contents]);
}

describe('KServe: vectors', () => {
  it('are described with their size', async () => {
    await using world = await tensorWorld();
    addVectors(world.gateway);
    const metadata = await world.client.modelMetadata({ name: modelName });
    expect(metadata.inputs).to.have.length(1);
    expect(metadata.inputs[0]).to.deep.include({ name: 'text_input', datatype: 'BYTES', shape: [-1n] });
    expect(metadata.outputs[0]).to.deep.include({ name: 'embeddings', datatype: 'FP32', shape: [-1n, 4n] });
    const { config } = await world.client.modelConfig({ name: modelName });
    expect(config?.output[0]).to.deep.include({ dataType: DataType.TYPE_FP32, dims: [-1n, 4n] });
  });

  it('are a row for each text, in their order', async () => {
    await using world = await tensorWorld();
    addVectors(world.gateway);
    const inputs = [texts('Hi', 'three')] as never;
    const response = await world.client.modelInfer(asking('', { modelName, inputs, id: 'r-1' }));
    expect(response).to.include({ modelName, modelVersion: '1', id: 'r-1' });
    expect(told(response)).to.deep.equal([['embeddings', 'FP32', [2n, 4n], [2, 0, 3, 4, 5, 0, 3, 4]]]);
    expect(response.rawOutputContents).to.deep.equal([]);
  });

  it('come raw where the texts did, and in a stream', async () => {
    await using world = await tensorWorld();
    addVectors(world.gateway);
    const inputs = [{ ...texts(), shape: [2n, 1n], contents: undefined }] as never;
    const request = asking('', { modelName, inputs, rawInputContents: [raw('ž', 'abc')], id: 'a' });
    const whole = await world.client.modelInfer(request);
    const streamed: ModelInferResponse[] = [];
    for await (const { inferResponse } of world.client.modelStreamInfer(
      (async function* () {
        yield request;
      })(),
    ))
      if (inferResponse !== undefined) streamed.push(inferResponse);
    expect(streamed).to.have.length(1);
    for (const response of [whole, ...streamed]) {
      expect(told(response)).to.deep.equal([['embeddings', 'FP32', [2n, 4n], undefined]]);
      const bytes = Buffer.from(response.rawOutputContents[0] ?? []);
      const values = Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
      expect(values).to.deep.equal([2, 0, 3, 4, 3, 0, 3, 4]);
    }
  });

  it('have the components that are asked for, of as many tokens', async () => {
    await using world = await tensorWorld();
    addVectors(world.gateway);
    const parameters = {
      dimensions: { case: 'int64Param', value: 3n },
      truncate_prompt_tokens: { case: 'int64Param', value: 4n },
    } as const;
    const response = await world.client.modelInfer(asking('longer text', { modelName }, parameters));
    expect(told(response)[0]?.[2]).to.deep.equal([1n, 3n]);
    expect(response.outputs[0]?.contents?.fp32Contents.map((value) => Math.round(value * 10))).to.deep.equal([8, 0, 6]);
  });

  it('are refused for what they cannot be, by name', async () => {
    await using world = await tensorWorld();
    addVectors(world.gateway);
    const flag = { name: 'streaming', datatype: 'BOOL', shape: [1n], contents: { boolContents: [true] } };
    const half = Buffer.from([9, 0, 0, 0, 1]);
    const cases: [Parameters<typeof asking>[1], Parameters<typeof asking>[2], string][] = [
      [{ inputs: [texts(), flag] as never }, {}, 'text_input'],
      [{ inputs: [texts('a'), flag] as never }, {}, 'streaming'],
      [{ inputs: [{ ...texts('a'), shape: [2n] }] as never }, {}, 'text_input'],
      [{ inputs: [{ ...texts('a'), shape: [1n, 2n] }] as never }, {}, 'text_input'],
      [{ inputs: [{ ...texts('a'), datatype: 'FP32' }] as never }, {}, 'text_input'],
      [{ inputs: [texts('a', '')] as never }, {}, 'text_input[1]'],
      [{ inputs: [] }, {}, 'text_input'],
      [{ inputs: [{ ...texts('a'), contents: undefined }] as never, rawInputContents: [half] }, {}, 'text_input'],
      [{ outputs: [{ name: 'text_output' }] as never }, {}, 'text_output'],
      [{}, { max_tokens: { case: 'int64Param', value: 3n } }, 'parameters.max_tokens'],
      [{}, { stop: { case: 'stringParam', value: 'x' } }, 'parameters.stop'],
      [{}, { dimensions: { case: 'int64Param', value: 9n } }, 'parameters.dimensions'],
      [{}, { dimensions: { case: 'int64Param', value: 0n } }, 'parameters.dimensions'],
    ];
    for (const [more, parameters, field] of cases) {
      const refused = await refusal(world.client.modelInfer(asking('a', { modelName, ...more }, parameters)));
      expect([refused.code, refused.field], refused.message).to.deep.equal(['invalid_argument', field]);
    }
  });
});
