import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { expect } from 'chai';
import fc from 'fast-check';
import { FinishReason, PositionLogprobsSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import {
  SessionResponseSchema,
  SlotFinishedSchema,
  SlotLogprobsSchema,
  SlotPrefilledSchema,
  StepFrameSchema,
} from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { FrameReader } from './frame-reader.ts';
import { FrameRing } from './frame-ring.ts';
import { FrameWriter } from './frame-writer.ts';
import { varintSize, writeVarint } from './varint.ts';

const uint32 = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xffff_ffff }));
const anyFrame = fc.record({
  number: fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  tokens: fc.array(fc.tuple(uint32, uint32), { maxLength: 400 }),
  prefilled: fc.array(fc.record({ slot: uint32, cachedTokens: uint32 }), { maxLength: 3 }),
  finished: fc.array(fc.record({ slot: uint32, stopTokenId: uint32 }), { maxLength: 3 }),
  logprobs: fc.array(fc.tuple(uint32, uint32), { maxLength: 3 }),
});
type AnyFrame = typeof anyFrame extends fc.Arbitrary<infer T> ? T : never;

/** The frame as the generated code writes it. */
function reference(frame: AnyFrame): ReturnType<typeof create<typeof StepFrameSchema>> {
  return create(StepFrameSchema, {
    number: BigInt(frame.number),
    slots: frame.tokens.map(([slot]) => slot),
    tokenIds: frame.tokens.map(([, tokenId]) => tokenId),
    prefilled: frame.prefilled,
    finished: frame.finished.map((finished) => ({ ...finished, reason: FinishReason.STOP })),
    logprobs: frame.logprobs.map(([entry, tokenId]) => ({ entry, position: { chosen: { tokenId, logprob: -1 } } })),
  });
}

function fill(writer: FrameWriter, frame: AnyFrame): void {
  const whole = reference(frame);
  for (const [slot, tokenId] of frame.tokens) writer.addToken(slot, tokenId);
  writer.prefilled.push(...whole.prefilled.map((item) => create(SlotPrefilledSchema, item)));
  writer.finished.push(...whole.finished.map((item) => create(SlotFinishedSchema, item)));
  writer.logprobs.push(...whole.logprobs.map((item) => create(SlotLogprobsSchema, item)));
}

describe('step frames', () => {
  it('are written as the generated code reads them, writer and columns reused', () => {
    const writer = new FrameWriter();
    fc.assert(
      fc.property(anyFrame, (frame) => {
        fill(writer, frame);
        const response = fromBinary(SessionResponseSchema, Buffer.concat([Buffer.of(0x12), writer.take(frame.number)]));
        expect(response.message.value).to.deep.equal(reference(frame));
        expect(writer.empty).to.equal(true);
      }),
    );
  });

  it('are read as the generated code writes them', () => {
    const reader = new FrameReader();
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const whole = reference(frame);
        const bytes = toBinary(
          SessionResponseSchema,
          create(SessionResponseSchema, { message: { case: 'frame', value: whole } }),
        );
        expect(reader.read(bytes)).to.equal(true);
        expect(reader.number).to.equal(frame.number);
        expect([...reader.slots.subarray(0, reader.tokens)]).to.deep.equal(whole.slots);
        expect([...reader.tokenIds.subarray(0, reader.tokens)]).to.deep.equal(whole.tokenIds);
        expect(reader.prefilled).to.deep.equal(whole.prefilled);
        expect(reader.finished).to.deep.equal(whole.finished);
        expect(reader.logprobs).to.deep.equal(whole.logprobs);
      }),
    );
  });

  it('skips fields of newer versions', () => {
    const writer = new FrameWriter();
    writer.addToken(3, 4);
    const [, ...known] = writer.take(1);
    const unknown = [((99 << 3) & 0x7f) | 0x80, (99 << 3) >> 7, 5, ((98 << 3) & 0x7f) | 0x82, (98 << 3) >> 7, 2, 1, 2];
    const reader = new FrameReader();
    expect(reader.read(Uint8Array.of(0x12, known.length + unknown.length, ...unknown, ...known))).to.equal(true);
    expect([reader.number, reader.tokens, reader.slots[0], reader.tokenIds[0]]).to.deep.equal([1, 1, 3, 4]);
  });

  it('refuses what is malformed, and never anything else happens', () => {
    const reader = new FrameReader();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          reader.read(Uint8Array.of(0x12, ...bytes));
        } catch (thrown) {
          const byGeneratedCode = thrown instanceof Error && !(thrown instanceof StatorError);
          if (!byGeneratedCode) expect((thrown as StatorError).code).to.equal('backend_protocol');
        }
      }),
      { numRuns: 1000 },
    );
    expect(() => reader.read(Uint8Array.of(0x12, 5, 0x12, 9, 1))).to.throw(StatorError, /malformed/);
  });

  it('leaves other messages to the generated code', () => {
    const welcome = create(SessionResponseSchema, { message: { case: 'welcome', value: { sessionId: 'a' } } });
    expect(new FrameReader().read(toBinary(SessionResponseSchema, welcome))).to.equal(false);
  });

  it('has log-probabilities that need no token of the same message type', () => {
    const position = create(PositionLogprobsSchema, { chosen: { tokenId: 1, logprob: -2, rank: 1 } });
    const writer = new FrameWriter();
    writer.logprobs.push(create(SlotLogprobsSchema, { entry: writer.addToken(0, 1), position }));
    const reader = new FrameReader();
    reader.read(Buffer.concat([Buffer.of(0x12), writer.take(1)]));
    expect(reader.logprobs[0]?.position).to.deep.equal(position);
  });
});

describe('varints', () => {
  it('have the size that writing takes, for every safe integer', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.maxSafeNat(), fc.nat(0xffff_ffff), fc.constantFrom(0, 127, 128, 2 ** 31, 2 ** 35 - 1)),
        (value) => {
          const bytes = new Uint8Array(16);
          const end = writeVarint(bytes, 0, value);
          expect(end).to.equal(varintSize(value));
          let read = 0;
          for (let at = end - 1; at >= 0; at--) read = read * 128 + ((bytes[at] ?? 0) & 0x7f);
          expect(read).to.equal(value);
        },
      ),
    );
  });
});

describe('frame ring', () => {
  it('finds every unacknowledged frame by its number and counts its bytes', () => {
    const operation = fc.oneof(fc.constant('push' as const), fc.nat(400));
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 400 }), (operations) => {
        const ring = new FrameRing();
        let newest = 0;
        let acknowledged = 0;
        for (const next of operations) {
          if (next === 'push') ring.push({ number: ++newest, bytes: new Uint8Array(newest % 7), ended: [] });
          else {
            ring.acknowledge(next);
            acknowledged = Math.max(acknowledged, Math.min(next, newest));
          }
          expect([ring.newest, ring.acknowledged]).to.deep.equal([newest, acknowledged]);
          expect(ring.get(acknowledged)).to.equal(undefined);
          expect(ring.get(newest + 1)).to.equal(undefined);
          if (newest > acknowledged) expect(ring.get(acknowledged + 1)?.number).to.equal(acknowledged + 1);
          const kept = ring.after(0);
          expect(kept.map((frame) => frame.number)).to.deep.equal(
            Array.from({ length: newest - acknowledged }, (_, i) => acknowledged + 1 + i),
          );
          expect(ring.bytes).to.equal(kept.reduce((sum, frame) => sum + frame.bytes.length, 0));
        }
      }),
    );
  });
});
