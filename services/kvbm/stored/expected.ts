import type { ExpectedHeader } from '#core/blocks/record/block-header.ts';
import type { Layout } from '../layout.ts';
import type { KnownNamespace } from '../namespace-book.ts';
import { wordsOf } from '../records.ts';

/** What the record of a block must say, whoever wrote it: namespace, model, layout and the prefix itself. */
export function identityOf(layout: Layout, namespace: KnownNamespace, digest: Uint32Array): ExpectedHeader {
  return {
    namespaceDigest: wordsOf(namespace.digest),
    modelDigest: namespace.modelCode,
    layout: layout.code,
    dtype: layout.dtypeCode,
    blockTokens: layout.blockTokens,
    digest,
  };
}
