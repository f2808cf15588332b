import { type DescFile, type DescMessage, type DescService, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Code, type ServiceImpl } from '@connectrpc/connect';
import type {
  ServerReflection,
  ServerReflectionRequest,
  ServerReflectionResponseSchema,
} from '#gen/grpc/reflection/v1/reflection_pb.ts';

type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>['messageResponse']>;

/** grpc.reflection.v1 over the descriptors of the generated code, so that `grpcurl list` and `describe` work. */
export function reflection(services: readonly DescService[]): ServiceImpl<typeof ServerReflection> {
  const index = new DescriptorIndex(services);
  return {
    async *serverReflectionInfo(requests) {
      for await (const request of requests)
        yield { validHost: request.host, originalRequest: request, messageResponse: index.answer(request) };
    },
  };
}

class DescriptorIndex {
  readonly #services: readonly string[];
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();

  constructor(services: readonly DescService[]) {
    this.#services = services.map((service) => service.typeName).sort();
    for (const service of services) this.#addFile(service.file);
  }

  answer({ messageRequest }: ServerReflectionRequest): Answer {
    switch (messageRequest.case) {
      case 'listServices':
        return { case: 'listServicesResponse', value: { service: this.#services.map((name) => ({ name })) } };
      case 'fileByFilename':
        return fileAnswer(this.#files.get(messageRequest.value), `file ${messageRequest.value} is not known`);
      case 'fileContainingSymbol':
        return fileAnswer(this.#symbols.get(messageRequest.value), `symbol ${messageRequest.value} is not known`);
      case 'allExtensionNumbersOfType':
        return this.#symbols.has(messageRequest.value)
          ? { case: 'allExtensionNumbersResponse', value: { baseTypeName: messageRequest.value, extensionNumber: [] } }
          : errorAnswer(Code.NotFound, `type ${messageRequest.value} is not known`);
      case 'fileContainingExtension':
        return errorAnswer(Code.NotFound, 'there are no extensions');
      default:
        return errorAnswer(Code.InvalidArgument, 'message_request is required');
    }
  }

  #addFile(file: DescFile): void {
    // protobuf-es names files without their extension; reflection speaks of them as imports do.
    const name = file.proto.name;
    if (this.#files.has(name)) return;
    this.#files.set(name, file);
    for (const service of file.services) {
      this.#symbols.set(service.typeName, file);
      for (const method of service.methods) this.#symbols.set(`${service.typeName}.${method.name}`, file);
    }
    for (const message of file.messages) this.#addMessage(message, file);
    for (const symbol of file.enums) this.#symbols.set(symbol.typeName, file);
    for (const dependency of file.dependencies) this.#addFile(dependency);
  }

  #addMessage(message: DescMessage, file: DescFile): void {
    this.#symbols.set(message.typeName, file);
    for (const field of message.fields) this.#symbols.set(`${message.typeName}.${field.name}`, file);
    for (const symbol of message.nestedEnums) this.#symbols.set(symbol.typeName, file);
    for (const nested of message.nestedMessages) this.#addMessage(nested, file);
  }
}

/** The file with everything it imports, dependencies first. */
function fileAnswer(file: DescFile | undefined, missing: string): Answer {
  if (file === undefined) return errorAnswer(Code.NotFound, missing);
  const files = new Set<DescFile>();
  collect(file, files);
  const fileDescriptorProto = [...files].map((entry) => toBinary(FileDescriptorProtoSchema, entry.proto));
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto: fileDescriptorProto.reverse() } };
}

function collect(file: DescFile, files: Set<DescFile>): void {
  for (const dependency of file.dependencies) collect(dependency, files);
  files.add(file);
}

function errorAnswer(errorCode: Code, errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode, errorMessage } };
}
