// Stands in for flechette's own list of batch types (build.mjs puts it in its place): a page's blocks hold
// these types only, as PROTOCOL.md says, and the readers of the others are left out of the bundle.

import {
  BinaryBatch, BoolBatch, DictionaryBatch, DirectBatch, LargeBinaryBatch, LargeUtf8Batch, Utf8Batch,
} from "../../node_modules/@uwdata/flechette/src/batch.js";
import { Type } from "../../node_modules/@uwdata/flechette/src/constants.js";

const READERS = {
  [Type.Int]: DirectBatch, [Type.Float]: DirectBatch, [Type.Timestamp]: DirectBatch, [Type.Bool]: BoolBatch,
  [Type.Dictionary]: DictionaryBatch, [Type.Utf8]: Utf8Batch, [Type.LargeUtf8]: LargeUtf8Batch,
  [Type.Binary]: BinaryBatch, [Type.LargeBinary]: LargeBinaryBatch,
};

export function batchType({ typeId }) {
  const reader = READERS[typeId];
  if (!reader) throw new Error(`a page's blocks hold no Arrow type ${typeId}`);
  return reader;
}
