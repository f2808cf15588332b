import { expect } from 'chai';
import { DataType, GRPCInferenceService, type ModelInferRequest } from '#gen/inference/kserve_pb.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { createLocalClient } from '#lib/rpc/local.ts';
import { startHarness, testCard } from '../testing/harness.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';
import { asking, outputOf, refusal, streamInput, tensorWorld, textInput } from '../testing/tensors.ts';
import { until } from '../testing/until.ts';
import { kserveHandlers } from './handlers.ts';

describe('KServe', () => {
  describe('describes', () => {
    it('the server, ready while a model is', async () => {
      await using gateway = await startHarness();
      const client = createLocalClient(GRPCInferenceService, kserveHandlers(gateway.context));
      expect((await client.serverLive({})).live).to.equal(true);
      expect((await client.serverReady({})).ready).to.equal(false);
      gateway.addWorker(1n, new ScriptedWorker());
      expect((await client.serverReady({})).ready).to.equal(true);
      const metadata = await client.serverMetadata({});
      expect(metadata.name).to.equal('stator');
      expect(metadata.version).to.match(/^\d+\.\d+/);
      gateway.drain();
      expect((await client.serverReady({})).ready).to.equal(false);
      expect((await client.modelReady({ name: 'test-model' })).ready).to.equal(false);
    });

    it('models by any of their names, and no other', async () => {
      await using world = await tensorWorld();
      const { client } = world;
      expect((await client.modelReady({ name: 'test-alias' })).ready).to.equal(true);
      expect((await client.modelReady({ name: 'test-model', version: '1' })).ready).to.equal(true);
      expect((await client.modelReady({ name: 'test-model', version: '2' })).ready).to.equal(false);
      expect((await client.modelReady({ name: 'other' })).ready).to.equal(false);
      const metadata = await client.modelMetadata({ name: 'test-alias' });
      expect(metadata).to.deep.include({ name: 'test-model', versions: ['1'], platform: 'stator' });
      const shown = [...metadata.inputs, ...metadata.outputs];
      expect(shown.map(({ name, datatype, shape }) => [name, datatype, ...shape])).to.deep.equal([
        ['text_input', 'BYTES', 1n],
        ['streaming', 'BOOL', 1n],
        ['text_output', 'BYTES', -1n],
        ['finish_reason', 'BYTES', -1n],
      ]);
      const { config } = await client.modelConfig({ name: 'test-model' });
      expect(config).to.include({ name: 'test-model', platform: 'stator', backend: 'stator', maxBatchSize: 0 });
      expect(config?.input.map(({ dataType, optional }) => [dataType, optional])).to.deep.equal([
        [DataType.TYPE_STRING, false],
        [DataType.TYPE_BOOL, true],
      ]);
      expect((await refusal(client.modelMetadata({ name: 'other' }))).code).to.equal('model_not_found');
      const version = await refusal(client.modelConfig({ name: 'test-model', version: '7' }));
      expect(version).to.include({ code: 'model_not_found', field: 'model_version' });
    });

    it('no model that neither completes nor embeds text', async () => {
      await using world = await tensorWorld();
      const { gateway, client } = world;
      const card = testCard({ name: 'scores', aliases: [] });
      const capabilities = card.capabilities && { ...card.capabilities, tasks: [Task.SCORE] };
      gateway.addWorker(2n, new ScriptedWorker(), { ...card, ...(capabilities ? { capabilities } : {}) });
      const asked = asking('Hi', { modelName: 'scores' });
      for (const refused of [client.modelMetadata({ name: 'scores' }), client.modelInfer(asked)])
        expect(await refusal(refused)).to.include({ code: 'unsupported', field: 'model_name' });
    });
  });

  describe('infers', () => {
    it('a whole text, with the id of the request', async () => {
      await using world = await tensorWorld();
      const { worker, client } = world;
      const response = await client.modelInfer(asking('Hi', { id: 'r-1' }));
      expect(response).to.include({ modelName: 'test-model', modelVersion: '1', id: 'r-1' });
      expect(outputOf(response, 'text_output')).to.deep.equal(['Hello']);
      expect(outputOf(response, 'finish_reason')).to.deep.equal(['stop']);
      expect(worker.sequences[0]?.request.tokenIds).to.have.length(2);
    });

    it('the same from raw contents, told in the same form', async () => {
      await using world = await tensorWorld();
      const { worker, client } = world;
      const raw = [Buffer.concat([Buffer.from([4, 0, 0, 0]), Buffer.from('žą')]), Buffer.from([0])];
      const inputs = [
        { ...textInput(''), contents: undefined, shape: [1n, 1n] },
        { ...streamInput(false, 'stream'), contents: undefined },
      ] as never;
      const response = await client.modelInfer(asking('', { inputs, rawInputContents: raw }));
      expect(response.outputs.map(({ contents }) => contents)).to.deep.equal([undefined, undefined]);
      const told = response.rawOutputContents.map((bytes) => Buffer.from(bytes).toString('latin1'));
      expect(told).to.deep.equal(['\x05\0\0\0Hello', '\x04\0\0\0stop']);
      expect(worker.sequences[0]?.request.tokenIds).to.have.length(4);
    });

    it('what the parameters ask for', async () => {
      await using world = await tensorWorld();
      const { worker, client } = world;
      const response = await client.modelInfer(
        asking(
          'Hi',
          { outputs: [{ name: 'finish_reason' }] },
          {
            max_tokens: { case: 'int64Param', value: 3n },
            temperature: { case: 'doubleParam', value: 0.5 },
            top_k: { case: 'uint64Param', value: 7n },
            ignore_eos: { case: 'boolParam', value: true },
            stop: { case: 'stringParam', value: '["x", 9]' },
            logit_bias: { case: 'stringParam', value: '{"5": 2}' },
            sequence_id: { case: 'int64Param', value: 12n },
            sequence_start: { case: 'boolParam', value: true },
            timeout: { case: 'int64Param', value: 5_000_000n },
          },
        ),
      );
      expect(response.outputs.map(({ name }) => name)).to.deep.equal(['finish_reason']);
      expect(outputOf(response, 'finish_reason')).to.deep.equal(['length']);
      const asked = worker.sequences[0]?.request;
      expect(asked?.stop).to.include({ maxTokens: 3, ignoreEos: true });
      expect(asked?.stop?.stopTokenIds).to.deep.equal([9]);
      expect(asked?.sampling).to.include({ temperature: 0.5, topK: 7 });
      expect(asked?.sampling?.logitBias).to.deep.equal({ 5: 2 });
    });

    it('several choices as elements of one tensor', async () => {
      await using world = await tensorWorld();
      const { client } = world;
      const response = await client.modelInfer(
        asking('Hi', {}, { n: { case: 'int64Param', value: 2n }, echo: { case: 'boolParam', value: true } }),
      );
      expect(outputOf(response, 'text_output')).to.deep.equal(['HiHello', 'HiHello']);
      expect(outputOf(response, 'finish_reason')).to.deep.equal(['stop', 'stop']);
    });

    it('nothing that it does not know, naming it', async () => {
      await using world = await tensorWorld();
      const { worker, client } = world;
      const cases: readonly (readonly [string, string, ModelInferRequest])[] = [
        ['model_not_found', 'model_name', asking('Hi', { modelName: 'nope' })],
        ['model_not_found', 'model_version', asking('Hi', { modelVersion: '3' })],
        ['invalid_argument', 'text_input', asking('', { inputs: [] })],
        ['invalid_argument', 'text_input', asking('', { inputs: [textInput('a'), textInput('b')] })],
        ['invalid_argument', 'image', asking('', { inputs: [{ ...textInput('a'), name: 'image' }] })],
        ['invalid_argument', 'text_input', asking('', { inputs: [{ ...textInput('a'), datatype: 'FP32' }] })],
        ['invalid_argument', 'text_input', asking('', { inputs: [{ ...textInput('a'), shape: [2n] }] })],
        ['invalid_argument', 'text_input', asking('', { inputs: [{ ...textInput('a'), contents: {} }] })],
        [
          'invalid_argument',
          'text_input',
          asking('', { inputs: [{ ...textInput(''), contents: { bytesContents: [Uint8Array.of(0xff)] } }] }),
        ],
        [
          'invalid_argument',
          'raw_input_contents',
          asking('a', { rawInputContents: [Uint8Array.of(0), Uint8Array.of(0)] }),
        ],
        ['invalid_argument', 'text_input', asking('a', { rawInputContents: [Uint8Array.of(9, 0, 0, 0, 65)] })],
        ['invalid_argument', 'text_input', asking('a', { rawInputContents: [Uint8Array.of(9)] })],
        [
          'unsupported',
          'text_input.shared_memory_region',
          asking('', {
            inputs: [
              {
                ...textInput('a'),
                parameters: { shared_memory_region: { parameterChoice: { case: 'stringParam', value: 'r' } } },
              },
            ],
          }),
        ],
        ['invalid_argument', 'logits', asking('a', { outputs: [{ name: 'logits' }] })],
        ['unsupported', 'streaming', asking('', { inputs: [textInput('a'), streamInput(true)] })],
        ['invalid_argument', 'parameters.colour', asking('a', {}, { colour: { case: 'int64Param', value: 1n } })],
        ['unsupported', 'parameters.priority', asking('a', {}, { priority: { case: 'uint64Param', value: 1n } })],
        [
          'invalid_argument',
          'parameters.temperature',
          asking('a', {}, { temperature: { case: 'doubleParam', value: 9 } }),
        ],
        ['invalid_argument', 'parameters.max_tokens', asking('a', {}, { max_tokens: { case: undefined } })],
        [
          'invalid_argument',
          'parameters.max_tokens',
          asking('a', {}, { max_tokens: { case: 'stringParam', value: '5' } }),
        ],
        ['invalid_argument', 'parameters.seed', asking('a', {}, { seed: { case: 'uint64Param', value: 2n ** 60n } })],
        [
          'invalid_argument',
          'parameters.logit_bias',
          asking('a', {}, { logit_bias: { case: 'stringParam', value: '{' } }),
        ],
      ];
      for (const [code, field, request] of cases) {
        const error = await refusal(client.modelInfer(request));
        expect(error, error.message).to.include({ code, field });
      }
      expect(worker.sequences).to.deep.equal([]);
    });

    it('within the gateway: cancelled at the worker when the call ends, refused while it drains', async () => {
      await using world = await tensorWorld({}, null);
      const { gateway, worker, client } = world;
      const abort = new AbortController();
      const pending = refusal(client.modelInfer(asking('Hi'), { signal: abort.signal }));
      const sequence = await worker.sequence(0);
      abort.abort();
      expect((await pending).code).to.equal('cancelled');
      await until(() => sequence.cancelled);
      await until(() => gateway.context.running.size === 0);
      gateway.drain();
      expect((await refusal(client.modelInfer(asking('Hi')))).code).to.equal('draining');
      const counted = await gateway.context.telemetry.metrics.metrics();
      expect(counted).to.match(/requests_total\{[^}]*endpoint="kserve"[^}]*error_type="cancelled"[^}]*\} 1/);
    });
  });
});
