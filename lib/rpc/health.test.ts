import { create, createFileRegistry, createRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { expect } from 'chai';
import { ServerReflection, type ServerReflectionResponse } from '#gen/grpc/reflection/v1/reflection_pb.ts';
import { Health, HealthCheckResponse_ServingStatus as Status } from '#gen/health/v1/health_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { createRpcClient, type RpcClient } from './client.ts';
import { type RpcServer, startRpcServer } from './server.ts';

describe('health and reflection', () => {
  let server: RpcServer;
  let health: RpcClient<typeof Health>;
  let reflection: RpcClient<typeof ServerReflection>;

  beforeEach(async () => {
    const telemetry = quietTelemetry();
    server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: (router) => router.service(EngineService, {}),
      internalToken: 'secret',
    });
    health = createRpcClient(Health, { address: server.address }, telemetry);
    reflection = createRpcClient(ServerReflection, { address: server.address, internalToken: 'secret' }, telemetry);
  });

  afterEach(async () => {
    health.close();
    reflection.close();
    await server.stop(0);
  });

  it('checks the server and each service, without a token', async () => {
    for (const service of ['', EngineService.typeName])
      expect((await health.client.check({ service })).status).to.equal(Status.SERVING);
    server.setServing(false);
    expect((await health.client.check({})).status).to.equal(Status.NOT_SERVING);
    const failure = await health.client.check({ service: 'nobody.Service' }).catch((thrown: unknown) => thrown);
    expect(failure).to.be.instanceOf(StatorError).and.include({ code: 'not_found' });
    expect(Object.keys((await health.client.list({})).statuses)).to.include(EngineService.typeName);
  });

  it('lets changes be watched, until the server stops', async () => {
    const seen: Status[] = [];
    for await (const { status } of health.client.watch({})) {
      seen.push(status);
      if (seen.length === 1) server.setServing(false);
      else if (seen.length === 2) server.setServing(true);
      else if (seen.length === 3) void server.stop(60_000);
    }
    expect(seen).to.deep.equal([Status.SERVING, Status.NOT_SERVING, Status.SERVING, Status.NOT_SERVING]);
  });

  it('tells watchers of a service that is not served', async () => {
    const unknown = health.client.watch({ service: 'nobody.Service' })[Symbol.asyncIterator]();
    expect((await unknown.next()).value?.status).to.equal(Status.SERVICE_UNKNOWN);
  });

  async function ask(messageRequest: object): Promise<ServerReflectionResponse['messageResponse']> {
    async function* requests(): AsyncGenerator<object> {
      yield { messageRequest };
    }
    for await (const response of reflection.client.serverReflectionInfo(requests())) return response.messageResponse;
    throw new Error('no answer');
  }

  it('lists services', async () => {
    const answer = await ask({ case: 'listServices', value: '' });
    if (answer.case !== 'listServicesResponse') throw new Error('no list');
    expect(answer.value.service.map((service) => service.name)).to.deep.equal([
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'stator.engine.v1.EngineService',
    ]);
  });

  it('gives files from which a client that knew nothing can build the whole service', async () => {
    for (const value of [
      'stator.engine.v1.EngineService',
      'stator.engine.v1.EngineService.Session',
      'stator.engine.v1.StepFrame',
      'stator.engine.v1.FinishReason',
    ]) {
      const answer = await ask({ case: 'fileContainingSymbol', value });
      if (answer.case !== 'fileDescriptorResponse') throw new Error(`no file for ${value}`);
      const file = answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
      // Throws where a file is missing that another imports.
      const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: file.toReversed() }));
      if (value === 'stator.engine.v1.EngineService') {
        const service = createRegistry(registry).getService(value);
        expect(service?.methods.map((method) => method.name)).to.deep.equal(
          EngineService.methods.map((method) => method.name),
        );
      }
    }
    const byName = await ask({ case: 'fileByFilename', value: 'stator/engine/v1/session.proto' });
    expect(byName.case).to.equal('fileDescriptorResponse');
  });

  it('answers what it does not know as not found', async () => {
    for (const request of [
      { case: 'fileContainingSymbol', value: 'nobody.Service' },
      { case: 'fileByFilename', value: 'nobody.proto' },
      { case: 'allExtensionNumbersOfType', value: 'nobody.Message' },
    ])
      expect((await ask(request)).case).to.equal('errorResponse');
  });
});
