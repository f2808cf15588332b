import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface CollectedSpan {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly attributes: Attributes;
  readonly events: readonly { readonly name: string; readonly attributes: Attributes }[];
}

type Attributes = Readonly<Record<string, string | number | boolean>>;

/** A collector that keeps the spans that processes send it as OTLP over HTTP with JSON bodies. */
export interface OtlpSink extends AsyncDisposable {
  readonly url: string;
  readonly spans: readonly CollectedSpan[];
}

interface ExportRequest {
  readonly resourceSpans?: readonly {
    readonly resource: { readonly attributes: readonly KeyValue[] };
    readonly scopeSpans: readonly { readonly spans: readonly ExportedSpan[] }[];
  }[];
}

interface ExportedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly attributes?: readonly KeyValue[];
  readonly events?: readonly { readonly name: string; readonly attributes?: readonly KeyValue[] }[];
}

interface KeyValue {
  readonly key: string;
  readonly value: {
    readonly stringValue?: string;
    readonly boolValue?: boolean;
    readonly doubleValue?: number;
    readonly intValue?: number | string;
  };
}

export async function startOtlpSink(): Promise<OtlpSink> {
  const spans: CollectedSpan[] = [];
  const server = createServer((request, response) => {
    void readBody(request).then((body) => {
      collect(JSON.parse(body) as ExportRequest, spans);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`,
    spans,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function collect(message: ExportRequest, spans: CollectedSpan[]): void {
  for (const { resource, scopeSpans } of message.resourceSpans ?? []) {
    const service = String(attributesOf(resource.attributes)['service.name'] ?? '');
    for (const { name, traceId, spanId, parentSpanId = '', ...span } of scopeSpans.flatMap((scope) => scope.spans)) {
      const events = (span.events ?? []).map((event) => ({
        name: event.name,
        attributes: attributesOf(event.attributes),
      }));
      spans.push({ service, name, traceId, spanId, parentSpanId, attributes: attributesOf(span.attributes), events });
    }
  }
}

function attributesOf(pairs: readonly KeyValue[] = []): Attributes {
  return Object.fromEntries(
    pairs.map(({ key, value: { stringValue, boolValue, doubleValue, intValue } }) => [
      key,
      stringValue ?? boolValue ?? doubleValue ?? Number(intValue),
    ]),
  );
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
