/** Ways to carry the session stream: worker side ← gateway side. */
export const variants = [
  'connect<-grpc-js',
  'connect<-connect',
  'grpc-js<-grpc-js',
  'grpc-js<-connect',
  'tcp<-tcp',
] as const;
export type Variant = (typeof variants)[number];

/** What production uses (docs/decisions/0002-session-transport.md). */
export const CHOSEN: Variant = 'connect<-grpc-js';
/** Frames written to a socket as they are, with no RPC, no slots and no acknowledgements: the floor. */
export const ANCHOR: Variant = 'tcp<-tcp';

export type WorkerTransport = 'connect' | 'grpc-js' | 'tcp';
export type GatewayTransport = 'grpc-js' | 'connect' | 'tcp';

export function workerOf(variant: Variant): WorkerTransport {
  return variant.split('<-')[0] as WorkerTransport;
}

export function gatewayOf(variant: Variant): GatewayTransport {
  return variant.split('<-')[1] as GatewayTransport;
}

/** What one run is. */
export interface Plan {
  readonly variant: Variant;
  /** Sequences at once. */
  readonly width: number;
  readonly stepMs: number;
  /** Steps before and within the measurement. */
  readonly warmupSteps: number;
  readonly steps: number;
}

export type ToParent = { kind: 'listening'; address: string } | { kind: 'done'; cpuMicros: number; tokens: number };
