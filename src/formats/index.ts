/** Byte formats of sealed objects. Knows nothing of keys' names, HTTP or files. */
export { chunkedHeaderBytes, chunkedSegmentBytes, ChunkedOpener, ChunkedSealer } from './chunked.ts';
export { SegmentOpener, SegmentSealer, type OpenWindow, type StreamKey } from './segments.ts';
