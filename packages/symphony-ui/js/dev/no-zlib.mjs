// Where dev/data.mjs runs in a page there is no zlib, and no picture is made.
export const deflateSync = null;
export const crc32 = null;
